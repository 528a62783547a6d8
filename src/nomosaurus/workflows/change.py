"""What a change did to a model: figures, params, losses and names, before and after.

It needs nothing but Python, since the job that comments on a pull request installs nothing. That
job gets the content from code that nobody has reviewed yet: so what travels is values, each
checked when it is read, and the words around them are of this module.
"""

import json
import math
import re
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Any

from nomosaurus.evaluation.estimate import Comparison, Estimate
from nomosaurus.evaluation.figures import CATALOGUE

NAMES_SHOWN = 20
LONGEST_NAME = 60  # characters that are shown
MOST_PARAMS = 60
POINTS = 40  # epochs of a learning curve that are drawn
MOST_BYTES = 500_000
LARGEST = 1e100  # no figure comes near it, and arithmetic with it stays finite
KEY = re.compile(r"[a-z0-9_.]{1,60}")
COMMIT = re.compile(r"[0-9a-f]{40}")

FIGURES = (
    *("perplexity", "gain_nats", "memory_gain_nats"),
    *("novelty", "validity", "uniqueness_at_10k", "recall_at_1m"),
    *("memorisation", "nearest_distance", "js_3gram", "length_wasserstein", "calibration_error"),
)
"""The figures of metrics/evaluate_details.json that are shown, in this order."""
COUNTS = ("names_train", "names_validation", "names_test", "vocabulary_size")
"""Of metrics/prepare.json."""


class ChangeError(ValueError):
    """What was read is not a change, as `from_json` takes it."""


@dataclass(frozen=True)
class Side:
    """A model with what its pipeline wrote; what a checkout has not is empty.

    Attributes:
        commit: 40 hexadecimal digits.
        model: SHA-256 of the model file, hexadecimal.
        figures: By their keys in metrics/evaluate_details.json.
        counts: By their keys in metrics/prepare.json.
        params: By section.key, as text.
        validation: Loss on the validation names after each epoch, in nats per character.
        names: The first of samples/names.csv.
    """

    commit: str
    model: str
    figures: dict[str, Estimate] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    validation: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Change:
    """Two models, and whether one is better.

    Attributes:
        paired: The later model as the challenger; None where they could not be compared on the
            same names.
        why_not_paired: The reason, one of `UNPAIRED`; empty where they were.
    """

    before: Side
    after: Side
    paired: Comparison | None = None
    why_not_paired: str = ""

    @property
    def verdict(self) -> str:
        """Whether the difference is real, in a sentence."""
        if self.before.model and self.before.model == self.after.model:
            return "The model is the same, byte for byte."
        if not self.paired:
            why = UNPAIRED.get(self.why_not_paired, UNPAIRED["no model"])
            return f"The two models were not compared on the same names: {why}."
        gain, names = self.paired.gain, f"on the same {self.paired.names:,} held-out names"
        costs = (
            f"{self.paired.challenger:.4f} nats per character against {self.paired.champion:.4f}"
        )
        if gain.low is None or gain.high is None:
            return f"Too few held-out names to tell a difference from chance: {costs} {names}."
        how, by = ("Better", gain.known) if gain.known >= 0 else ("Worse", -gain.known)
        interval = (
            f"{names}, gain {gain.value:.4f}, 95 % interval {gain.low:.4f} to {gain.high:.4f}"
        )
        if gain.low > 0 or gain.high < 0:
            return f"**{how}** by {by:.4f} nats per character, beyond chance: {costs} {interval}."
        return f"**No difference** beyond chance: {costs} {interval}."

    def as_json(self) -> str:
        """For `from_json`."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"

    def as_markdown(self) -> str:
        """For a pull request: verdict, figures, params, learning curves and names."""
        before, after = self.before, self.after
        parts = [
            f"{self.verdict}\n\nBefore is {_code(before.commit[:7])}, after "
            f"{_code(after.commit[:7])}; figures are of held-out names."
        ]
        parts += [table for table in (self._figures(), self._params()) if table]
        if before.model != after.model or not before.model:
            parts += [part for part in (self._curves(), self._names()) if part]
        return "\n\n".join(parts) + "\n"

    def _figures(self) -> str:
        rows: list[tuple[str, ...]] = []
        for key in FIGURES:
            old, new = self.before.figures.get(key), self.after.figures.get(key)
            if old or new:
                label = CATALOGUE[key].label
                rows.append((label, _shown(old), _shown(new), _difference(old, new)))
        for key in COUNTS:
            counts = self.before.counts.get(key), self.after.counts.get(key)
            if counts[0] != counts[1]:
                values = ("" if value is None else f"{value:,.0f}" for value in counts)
                rows.append((key.replace("_", " "), *values, "changed"))
        if not rows:
            return ""
        note = (
            "In brackets are 95 % intervals. *Apart* means that they do not overlap, *overlap* "
            "that chance may have made the difference; the line at the top, which compares name "
            "by name, sees far smaller ones."
        )
        return _table(("", "before", "after", ""), rows) + f"\n\n{note}"

    def _params(self) -> str:
        old, new = self.before.params, self.after.params
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if not keys:
            return "No param changed." if new else ""
        rows = [
            (_code(key), *(_code(side.get(key, "")) for side in (old, new)))
            for key in keys[:MOST_PARAMS]
        ]
        return _table(("param", "before", "after"), rows)

    def _curves(self) -> str:
        old, new = self.before.validation, self.after.validation
        if not old or not new:
            return ""
        last = max(len(old), len(new))
        epochs = sorted({round(1 + i * (last - 1) / (POINTS - 1)) for i in range(POINTS)})
        lines = [[side[min(epoch, len(side)) - 1] for epoch in epochs] for side in (old, new)]
        low, high = (pick(pick(line) for line in lines) for pick in (min, max))
        colours = '{"xyChart": {"plotColorPalette": "#9a9a9a, #0b6e99"}}'
        chart = [
            "```mermaid",
            f'%%{{init: {{"themeVariables": {colours}}}}}%%',
            "xychart-beta",
            '  title "Loss on validation names (nats per character)"',
            f'  x-axis "epoch" 1 --> {max(last, 2)}',
            f'  y-axis "nats" {math.floor(low * 10) / 10:g} --> {math.ceil(high * 10) / 10:g}',
            *(f"  line [{', '.join(f'{value:.4f}' for value in line)}]" for line in lines),
            "```",
        ]
        ends = f"Grey: before, {len(old):,} epochs. Blue: after, {len(new):,}."
        flat = " The shorter one is drawn on flat." if len(old) != len(new) else ""
        return "\n".join(chart) + f"\n\n{ends}{flat}"

    def _names(self) -> str:
        old, new = self.before.names[:NAMES_SHOWN], self.after.names[:NAMES_SHOWN]
        if not new:
            return ""
        pairs = zip_longest(old, new, fillvalue="")
        rows = [tuple(_code(name) for name in pair) for pair in pairs]
        return _table(("names before", "names after"), rows)


UNPAIRED = {
    "no model": "the model before is not available",
    "format": "the model before has a file format that this code does not read",
    "learnt": "one of them learnt names that are held out now",
    "prepared": "there are no prepared data of the model after",
}
"""Why two models were not compared on the same names."""


def from_json(text: str) -> Change:
    """Read a change, and trust nothing in it.

    Raises:
        ChangeError: If it is not what `as_json` writes, or longer than it could be.
    """
    if len(text.encode("utf-8", errors="replace")) > MOST_BYTES:
        raise ChangeError(f"is longer than {MOST_BYTES:,} bytes")
    try:
        content = json.loads(text)
        paired = content["paired"]
        if paired is not None:
            paired = Comparison(
                int(_finite(paired["names"])),
                _finite(paired["challenger"]),
                _finite(paired["champion"]),
                _figure(paired["gain"]),
            )
        before, after = _side(content["before"]), _side(content["after"])
        return Change(before, after, paired, _text(content["why_not_paired"]))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ChangeError(f"is not a change: {type(error).__name__}: {error}") from None


def _side(content: dict[str, Any]) -> Side:
    return Side(
        commit=_matching(COMMIT, content["commit"]),
        model=_matching(re.compile(r"[0-9a-f]{64}|"), content["model"]),
        figures={_matching(KEY, key): _figure(value) for key, value in content["figures"].items()},
        counts={_matching(KEY, key): _finite(value) for key, value in content["counts"].items()},
        params={_matching(KEY, key): _text(value) for key, value in content["params"].items()},
        validation=[_finite(value) for value in _list(content["validation"])],
        names=[_text(name) for name in _list(content["names"])],
    )


def _figure(content: dict[str, Any]) -> Estimate:
    low, high = (None if content[end] is None else _finite(content[end]) for end in ("low", "high"))
    return Estimate(_finite(content["value"]), low, high)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ChangeError(f"{value!r} is not a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ChangeError(f"{value!r} is not text")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ChangeError(f"{value!r} is not a list")
    return value


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if not pattern.fullmatch(_text(value)):
        raise ChangeError(f"{value!r} does not match {pattern.pattern}")
    return value


def _number(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 10 else f"{value:.4f}"


def _shown(figure: Estimate | None) -> str:
    if figure is None:
        return ""
    if figure.low is None or figure.high is None:
        return _number(figure.known)
    return f"{_number(figure.known)} ({_number(figure.low)} to {_number(figure.high)})"


def _difference(old: Estimate | None, new: Estimate | None) -> str:
    if not old or not new:
        return ""
    if old == new:
        return "same"
    gain = new.known - old.known
    step = ("+" if gain >= 0 else "") + _number(gain)
    if old.low is None or old.high is None or new.low is None or new.high is None:
        return step
    apart = new.low > old.high or new.high < old.low
    return f"{step}, {'**apart**' if apart else 'overlap'}"


def _code(text: str) -> str:
    """Text as code, in which Markdown and HTML mean nothing and nobody is notified."""
    shown = "".join(c if c.isprintable() else " " for c in text.replace("`", "'"))
    shown = shown[:LONGEST_NAME] + ("…" if len(shown) > LONGEST_NAME else "")
    return f"`{shown.replace('|', chr(92) + '|')}`" if shown.strip() else ""


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
