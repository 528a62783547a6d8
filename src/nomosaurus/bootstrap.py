"""Figures with their intervals, by resampling names."""

# N names, M quantities compared on the same names, R bootstrap samples

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

LEAST_NAMES = 10
"""With fewer names the bootstrap says too little of chance, and gives no interval."""


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


def resamples(num_names: int, num_samples: int, seed: int) -> Iterator[np.ndarray]:
    """As many names drawn with replacement, R times: their rows, shape (N,)."""
    generator = np.random.default_rng(seed)
    for _ in range(num_samples):
        yield generator.integers(num_names, size=num_names)


def interval(samples: np.ndarray) -> tuple[float | None, float | None]:
    """From the 2.5th to the 97.5th percentile; None for an end that is not finite."""
    with np.errstate(invalid="ignore"):  # between two infinite samples lies no number
        ends = np.percentile(samples, [2.5, 97.5]).tolist()
    low, high = (end if math.isfinite(end) else None for end in ends)
    return low, high


def bootstrap_ratios(
    sums: np.ndarray, counts: np.ndarray, num_samples: int, seed: int
) -> list[Estimate]:
    """Corpus ratios, Σ sums / Σ counts, with percentile intervals over names.

    Efron (1979). All M quantities are resampled with the same names, so the
    difference of two is a paired comparison when it is given as a quantity itself.

    Args:
        sums: What each name adds to each quantity, shape (M, N).
        counts: What each name adds to the count, shape (N,).
        num_samples: R.
        seed: Start of the resampling.

    Returns:
        An estimate a quantity; without intervals if there are fewer than 10 names, and
        without a value where the count is 0.
    """
    if not counts.sum():
        return [Estimate(None)] * len(sums)
    values = [float(value) for value in sums.sum(axis=1) / counts.sum()]
    if len(counts) < LEAST_NAMES:
        return [Estimate(value) for value in values]
    with np.errstate(divide="ignore", invalid="ignore"):  # a sample's count may be 0
        ratios = np.stack(
            [
                sums[:, rows].sum(axis=1) / counts[rows].sum()
                for rows in resamples(len(counts), num_samples, seed)
            ]
        )  # (R, M)
    return [
        Estimate(value, *interval(column)) for value, column in zip(values, ratios.T, strict=True)
    ]
