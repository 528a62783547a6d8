"""A request for names, and a tally of what was drawn."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import regex
from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator

from nomosaurus.errors import SamplingError, shortened
from nomosaurus.params import SampleParams, SampleSettings, rule_broken

SECONDS_FOR_A_MATCH = 0.1
"""A regular expression that takes longer on one name would take for ever on a million, and the
memory of one that calls itself grows with the time."""
MOST_REPEATED = 1_000_000
"""Characters of a regular expression, counted as often as its {n} repeat them: it is compiled to
as many."""

REASONS = {
    "too_long": "too long",
    "too_short": "too short",
    "malformed": "no name by the list's own rules",
    "listed": "on the list",
    "repeated": "drawn before",
    "avoided": "to be avoided",
    "offensive": "offensive",
    "unmatched": "without a match",
    "too_near": "too near a learnt or avoided name",
    "unnatural": "above max_bits",
}
"""Why a drawn name may be left out, in the order in which it is asked."""


class Request(SampleSettings):
    """Which names are wanted; `SampleSettings` has the settings, their ranges and defaults.

    Names appear with the probabilities that the model, at this temperature, gives them among all
    names that meet the request: filters decide which names can appear, not their relative odds.

    Raises:
        SamplingError: Naming the setting, its rule and the value.
    """

    @classmethod
    def from_params(cls, params: SampleParams) -> Self:
        """What the section `sample` of params.yaml asks for; an empty `given` there is none."""
        values = params.model_dump(exclude={"count"})
        return cls(**values | {"given": params.given or None})

    @model_validator(mode="wrap")
    @classmethod
    def refuse_in_one_line(cls, settings: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Turn pydantic's error into the library's one-line error."""
        try:
            return handler(settings)
        except ValidationError as error:
            raise SamplingError(rule_broken(error, cls)) from None


@dataclass
class Tally:
    """How many names were drawn, kept, and left out by reason, a key of `REASONS`.

    Attributes:
        share_used: The probability of all names that will not come again, kept or left out,
            of 1 for what the request's prefix, temperature, top_k and top_p allow. None where
            names are drawn with replacement.
    """

    drawn: int = 0
    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    share_used: float | None = None

    def __str__(self) -> str:
        reasons = ", ".join(
            f"{self.left_out[reason]:,} {words}"
            for reason, words in REASONS.items()
            if self.left_out[reason]
        )
        text = f"{self.drawn:,} drawn, {self.kept:,} kept"
        if reasons:
            text += f"; left out: {reasons}"
        if self.share_used is not None:
            text += f"; they hold {self.share_used:.2%} of the probability of what can be drawn"
        return text


class Wording:
    """The part of a request about a name's letters: what to match and to avoid, and `clean`.

    Attributes:
        avoided: The names to avoid, without the patterns.
    """

    def __init__(self, request: Request, *, lowercase: bool) -> None:
        """Compile a request; where names are lower-cased, `match` ignores case.

        Raises:
            SamplingError: If `match` is not a regular expression.
        """
        self._match = _compiled(request.match, lowercase=lowercase) if request.match else None
        self._is_offensive: Callable[[str], bool] | None = None
        if request.clean:
            try:
                from nomosaurus.generation.offensive import is_offensive
            except ImportError as error:
                raise SamplingError(
                    f"clean needs the packages badwords-py and jellyfish ({error}); install them "
                    "with pip (badwords-py has to be compiled, with Rust, from Python 3.14 on)"
                ) from None
            self._is_offensive = is_offensive
        entries = [entry for entry in map(_folded, request.avoid) if entry]
        self.avoided = [name for name in request.avoid if _folded(name) and "*" not in name]
        self._names = frozenset(entry for entry in entries if "*" not in entry)
        patterns = [_pattern(entry) for entry in entries if "*" in entry]
        self._patterns = regex.compile("|".join(patterns), regex.DOTALL) if patterns else None

    def reason_against(self, name: str) -> str | None:
        """`avoided`, `offensive`, `unmatched`, or None if the name is wanted.

        Raises:
            SamplingError: If matching takes too long on one name, or too much memory.
        """
        folded = _folded(name)
        if folded in self._names or (self._patterns and self._patterns.fullmatch(folded)):
            return "avoided"
        if self._is_offensive and self._is_offensive(name):
            return "offensive"
        if self._match is None:
            return None
        try:
            found = self._match.search(name, timeout=SECONDS_FOR_A_MATCH)
        except (TimeoutError, MemoryError, RecursionError):
            raise SamplingError(
                f"match took more than {SECONDS_FOR_A_MATCH:g} seconds on {shortened(name)}, got "
                f"{shortened(self._match.pattern)}; write it without nested repetitions, and "
                "without what calls itself"
            ) from None
        return None if found else "unmatched"


def _compiled(match: str, *, lowercase: bool) -> regex.Pattern[str]:
    """A regular expression; where names are lower-cased, it ignores case.

    Raises:
        SamplingError: If it is none, or one that is too large or too deep.
    """
    times = math.prod(max(1, int(digits)) for digits in re.findall(r"\{([0-9]+)", match))
    if len(match) * times > MOST_REPEATED:
        raise SamplingError(f"match must repeat fewer characters, got {shortened(match)}")
    try:
        return regex.compile(match, regex.IGNORECASE if lowercase else 0)
    except (RecursionError, MemoryError):
        raise SamplingError(f"match must not nest so deep, got {shortened(match)}") from None
    except (regex.error, ValueError, OverflowError) as error:
        raise SamplingError(
            f"match must be a regular expression, got {shortened(match)}: {error}"
        ) from None


def _pattern(entry: str) -> str:
    """A regular expression for an entry whose * stand for any characters.

    Of the parts between two * the first place will do, so none is looked for again: without that
    each * would multiply the time by the length of the name.
    """
    first, *others, last = map(regex.escape, entry.split("*"))
    return first + "".join(f"(?>.*?{part})" for part in others) + f".*{last}"


def _folded(text: str) -> str:
    """White space and case do not tell two names apart that are to be avoided."""
    return " ".join(text.split()).casefold()
