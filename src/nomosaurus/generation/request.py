"""What a person asks for when names are generated, and what became of what was drawn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import regex

from nomosaurus.errors import SamplingError
from nomosaurus.params import SampleParams

SECONDS_FOR_A_MATCH = 1.0
"""A regular expression that takes longer on one name would take for ever on a million."""

REASONS = {
    "too_long": "too long",
    "too_short": "too short",
    "malformed": "no name by the list's own rules",
    "listed": "on the list",
    "repeated": "drawn before",
    "avoided": "to be avoided",
    "unmatched": "without a match",
    "too_near": "too near a learnt name",
}
"""Why a drawn name may be left out, in the order in which it is asked."""


@dataclass(frozen=True)
class Request:
    """Which names are wanted; without any of it, the model's own distribution.

    Names come with the probabilities that the model, at this temperature, gives them among all
    names that meet the request: prefix, lengths and the rest change which names come, not how
    likely one is against another.

    Attributes:
        seed: Same seed, same names.
        temperature: Below 1 bolder on the likely, above 1 wilder; 0.01 to 100.
        top_k: Draw each character from the k most likely; 0 for all.
        top_p: Draw from the most likely that together reach this probability; 1 for all.
        prefix: What every name begins with.
        min_length: The fewest characters, 1 or more.
        max_length: The most characters; 0 for as many as a name of the list may have.
        match: A regular expression that is found in every name; empty for any name.
        avoid: Names not wanted; in each, `*` stands for any characters.
        min_distance: The fewest edits from every training name; 0 for any.
        new: Leave out names that are on the list.
        unique: Leave out names that came before: drawn without replacement.
        given: The category of every name; over all categories if it is not given.
    """

    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    prefix: str = ""
    min_length: int = 1
    max_length: int = 0
    match: str = ""
    avoid: Sequence[str] = ()
    min_distance: int = 0
    new: bool = False
    unique: bool = False
    given: str | None = None

    @classmethod
    def from_params(cls, params: SampleParams) -> "Request":
        """What the section `sample` of params.yaml asks for; an empty `given` there is none."""
        values = params.model_dump(exclude={"count"})
        return cls(**values | {"given": params.given or None})

    def __post_init__(self) -> None:
        """Refuse lengths and distances that no name can have.

        Raises:
            SamplingError: Naming the setting, its rule and the value.
        """
        if self.min_length < 1:
            raise SamplingError(f"min_length must be 1 or more, got {self.min_length}")
        if self.max_length < 0:
            raise SamplingError(f"max_length must be 0 (no limit) or more, got {self.max_length}")
        if 0 < self.max_length < self.min_length:
            raise SamplingError(
                f"max_length must be at least min_length, got {self.max_length} "
                f"with min_length {self.min_length}"
            )
        if self.min_distance < 0:
            raise SamplingError(f"min_distance must be 0 or more, got {self.min_distance}")


@dataclass
class Tally:
    """What became of the names that were drawn.

    Attributes:
        drawn: All of them.
        kept: Those that met the request.
        left_out: The others, by reason, a key of `REASONS`.
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
    """The part of a request that is about a name's letters: what to match and to avoid."""

    def __init__(self, request: Request, *, lowercase: bool) -> None:
        """Compile it.

        Args:
            request: What is asked for.
            lowercase: Whether names are lower-cased, so that case means nothing in `match`.

        Raises:
            SamplingError: If `match` is not a regular expression.
        """
        try:
            flags = regex.IGNORECASE if lowercase else 0
            self._match = regex.compile(request.match, flags) if request.match else None
        except regex.error as error:
            raise SamplingError(
                f"match must be a regular expression, got {request.match!r}: {error}"
            ) from None
        entries = [entry for entry in map(_folded, request.avoid) if entry]
        self._names = frozenset(entry for entry in entries if "*" not in entry)
        patterns = [
            ".*".join(regex.escape(part) for part in entry.split("*"))
            for entry in entries
            if "*" in entry
        ]
        self._patterns = regex.compile("|".join(patterns), regex.DOTALL) if patterns else None

    def reason_against(self, name: str) -> str | None:
        """`avoided`, `unmatched`, or None if nothing speaks against the name.

        Raises:
            SamplingError: If matching takes more than a second on one name.
        """
        folded = _folded(name)
        if folded in self._names or (self._patterns and self._patterns.fullmatch(folded)):
            return "avoided"
        try:
            if self._match and not self._match.search(name, timeout=SECONDS_FOR_A_MATCH):
                return "unmatched"
        except TimeoutError:
            raise SamplingError(
                f"match took more than {SECONDS_FOR_A_MATCH:g} second on {name!r}, "
                f"got {self._match.pattern!r}; write it without nested repetitions"
            ) from None
        return None


def _folded(text: str) -> str:
    """White space and case do not tell two names apart that are to be avoided."""
    return " ".join(text.split()).casefold()
