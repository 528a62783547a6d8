"""Whether a model is right as often as it is sure: of what it finds likeliest to come next."""

# N names, P events of all names, M bins, R bootstrap samples

import numpy as np
import pandas as pd

from nomosaurus.evaluation.bootstrap import LEAST_NAMES, Bootstrap, interval
from nomosaurus.evaluation.estimate import Estimate

BINS = 15
"""Of one width, from 0 to 1, as in Guo et al. (2017)."""


def calibration(events: pd.DataFrame, bootstrap: Bootstrap) -> tuple[Estimate, pd.DataFrame]:
    """The expected calibration error, and the reliability table that it sums up.

    Guo et al. (2017), equation 3: events (letters, ends and unknown characters) fall into 15
    bins by the confidence of the likeliest next character; the error is the mean over all
    events of how far their bin's accuracy is from its mean confidence. On few events it is
    above 0 by chance alone: the floor is its mean if each likeliest character came with just
    the probability that it was given. It has no interval: resampling adds that chance once
    more, and what then is taken off leaves an interval that misses a true 0 too often.

    Args:
        events: As `event_costs` gives them.
        bootstrap: For the intervals, and for as many tries of chance.

    Returns:
        The error, 0 to 1, and a row a bin that has events: `up_to`, its upper end; `events`,
        how many; their mean `confidence`; their `accuracy`, the share in which the likeliest
        character came; and its 95 % interval over names, `low` and `high`, if
        at least 10 names have events there.
    """
    confidence = events["confidence"].to_numpy()  # (P,)
    is_correct = events["correct"].to_numpy()  # (P,)
    number = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # (P,)
    names, row = np.unique(events["name"], return_inverse=True)

    def by_name(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(row * BINS + number, values, minlength=len(names) * BINS)
        return sums.reshape(-1, BINS)  # (N, M)

    counts, right = by_name(np.ones(len(events))), by_name(is_correct)
    per_bin = counts.sum(axis=0)  # (M,)
    sure = by_name(confidence).sum(axis=0)  # (M,)

    def error(right: np.ndarray) -> float:
        return float(np.abs(right - sure).sum() / len(events))

    generator = bootstrap.generator()
    by_chance = [
        error(np.bincount(number, generator.random(len(events)) < confidence, minlength=BINS))
        for _ in range(bootstrap.num_samples)
    ]
    estimate = Estimate(error(right.sum(axis=0)), floor=float(np.mean(by_chance)))
    used = np.flatnonzero(per_bin)
    table = pd.DataFrame(
        {
            "up_to": (used + 1) / BINS,
            "events": per_bin[used].astype(int),
            "confidence": sure[used] / per_bin[used],
            "accuracy": right.sum(axis=0)[used] / per_bin[used],
            "low": np.nan,
            "high": np.nan,
        }
    )
    enough = np.flatnonzero((counts > 0).sum(axis=0)[used] >= LEAST_NAMES)
    if len(enough):
        samples = np.stack(
            [
                np.stack([part[rows].sum(axis=0) for part in (right, counts)])
                for rows in bootstrap.resamples(len(names))
            ]
        )  # (R, 2, M)
        for place in enough:
            came, count = samples[:, :, used[place]].T  # (R,)
            table.loc[place, ["low", "high"]] = interval(came[count > 0] / count[count > 0])
    return estimate, table
