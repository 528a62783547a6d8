"""Figures with their intervals, by resampling names."""

# N names, M quantities compared on the same names, R bootstrap samples

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nomosaurus.evaluation.estimate import Estimate

LEAST_NAMES = 10
"""With fewer names the bootstrap says too little of chance, and gives no interval."""


def interval(samples: np.ndarray) -> tuple[float | None, float | None]:
    """From the 2.5th to the 97.5th percentile; None for an end that is not finite."""
    with np.errstate(invalid="ignore"):  # between two infinite samples lies no number
        ends = np.percentile(samples, [2.5, 97.5]).tolist()
    low, high = (end if math.isfinite(end) else None for end in ends)
    return low, high


@dataclass(frozen=True)
class Bootstrap:
    """Resampling of names (Efron 1979): R times, always the same ones.

    Attributes:
        num_samples: R.
        seed: Start of the resampling.
    """

    num_samples: int
    seed: int

    def generator(self) -> np.random.Generator:
        """At its start."""
        return np.random.default_rng(self.seed)

    def resamples(self, num_names: int) -> Iterator[np.ndarray]:
        """As many names drawn with replacement, R times: their rows, shape (N,)."""
        generator = self.generator()
        for _ in range(self.num_samples):
            yield generator.integers(num_names, size=num_names)

    def ratios(self, sums: np.ndarray, counts: np.ndarray) -> list[Estimate]:
        """Corpus ratios, Σ sums / Σ counts, with percentile intervals over names.

        All M quantities are resampled with the same names, so the difference of two is a
        paired comparison when it is given as a quantity itself.

        Args:
            sums: What each name adds to each quantity, shape (M, N).
            counts: What each name adds to the count, shape (N,).

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
                    for rows in self.resamples(len(counts))
                ]
            )  # (R, M)
        return [
            Estimate(value, *interval(column))
            for value, column in zip(values, ratios.T, strict=True)
        ]
