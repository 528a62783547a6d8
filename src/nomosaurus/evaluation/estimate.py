"""A figure with its interval; nothing but the standard library, so that every job can read one."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A figure and what is known of its uncertainty.

    Attributes:
        value: None where it is not defined, as the distance of names where there is no name.
        low, high: The 95 % bootstrap interval; None where there is none, or too few names.
        floor: What a perfect model would come to on lists of this size, since chance alone
            keeps some figures above 0; None for a figure that has no such value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    floor: float | None = None

    @property
    def known(self) -> float:
        """The value of a figure that is defined.

        Raises:
            ValueError: If it is not.
        """
        if self.value is None:
            raise ValueError("a figure without a value")
        return self.value

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """The same under an increasing function, such as exp from nats to perplexity."""
        return Estimate(
            *(
                None if part is None else function(part)
                for part in (self.value, self.low, self.high, self.floor)
            )
        )

    def against(self, other: float) -> str:
        """Where the interval lies: above a value, below, around it; unknown without one."""
        if self.low is None or self.high is None:
            return "unknown"
        return "above" if self.low > other else "below" if self.high < other else "around"


@dataclass(frozen=True)
class Comparison:
    """Two models on the same test names; nats per character, the ends counted.

    Attributes:
        names: How many.
        challenger, champion: What each costs.
        gain: What the challenger saves, paired.
    """

    names: int
    challenger: float
    champion: float
    gain: Estimate
