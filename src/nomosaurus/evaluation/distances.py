"""How far the names that a model draws are from those it learnt, beside held-out names.

A small sample is far from any list by chance alone: 100 names have few of the 3-grams that
1,000 have. So samples of one size are compared with the training names: of drawn names and, as
the floor, of held-out names, which are as near as names of the same kind can be expected to be.
"""

# N names, P events of all names, F features of all names, G different features,
# R samples of names

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import jensenshannon  # type: ignore[import-untyped]
from scipy.stats import wasserstein_distance  # type: ignore[import-untyped]

from nomosaurus.evaluation.bootstrap import LEAST_NAMES, Bootstrap, interval
from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import BOUNDARY_ID

MOST_COMPARED = 1_000
"""Names in a sample that is compared with the training names, at most."""


class Features(NamedTuple):
    """What names are made of.

    Attributes:
        values: Each n-gram's number, or each name's length; shape (F,).
        rows: The name that each belongs to, shape (F,).
    """

    values: np.ndarray
    rows: np.ndarray


def name_lengths(names: EncodedNames) -> Features:
    """The length of each name, in characters."""
    return Features(names.lengths, np.arange(len(names)))


def ngrams(n: int, vocab_size: int, names: EncodedNames) -> Features:
    """All n characters in a row, the boundaries before and after a name among them.

    The boundary before a name counts only together with what follows it, as it is always
    there. All characters that no training name has count as one. Of "ab" the 1-grams are a, b
    and the end; the 2-grams ^a, ab and b$; the 3-grams ^ab and ab$.

    Args:
        n: 1 to 3, so that an n-gram's number fits 64 bits for a vocabulary of any script.
        vocab_size: V, the boundary included.
        names: The names.
    """
    # The symbol before a name's first is the end of the name before: a boundary, as it should be.
    symbols = np.concatenate((np.full(n - 1, BOUNDARY_ID), names.targets))
    values = np.zeros(names.num_events, dtype=np.int64)  # (P,)
    for i in range(n):
        values = values * (vocab_size + 1) + symbols[i : i + len(values)]
    inside = names.event_places >= n - 2  # (P,), those that reach no further back than that
    return Features(values[inside], names.event_rows[inside])


def js_distance(p: np.ndarray, q: np.ndarray, values: np.ndarray) -> float:
    """The Jensen-Shannon distance, 0 to 1; of the values only whether they are the same matters."""
    return float(jensenshannon(p, q, base=2))


def wasserstein(p: np.ndarray, q: np.ndarray, values: np.ndarray) -> float:
    """The Wasserstein-1 distance, in the unit of the values."""
    return float(wasserstein_distance(values, values, p, q))


def distances_from_training(
    train: EncodedNames,
    drawn: EncodedNames,
    held_out: EncodedNames,
    vocab_size: int,
    bootstrap: Bootstrap,
) -> dict[str, Estimate]:
    """Of n-grams and of lengths, between samples of names and the training names.

    `js_1gram`, `js_2gram`, `js_3gram`: Jensen-Shannon distances, 0 to 1. `length_wasserstein`:
    in characters. A sample has as many names as are held out, 1,000 at most. A value is the
    mean over samples of drawn names; 95 % of these samples lie in the interval, so a floor
    outside of it tells drawn names from real ones. The floor is the mean over samples of
    held-out names, or the one value where a sample takes them all.

    Args:
        train: The training names.
        drawn: Names from the model, repeats and training names included.
        held_out: Names that the model never saw.
        vocab_size: V, the boundary included.
        bootstrap: How many samples, R, and their start; they are drawn without replacement.

    Returns:
        An estimate each; without values if there is no drawn name.
    """
    kinds: dict[str, tuple[Callable[[EncodedNames], Features], Callable[..., float]]] = {
        f"js_{n}gram": (partial(ngrams, n, vocab_size), js_distance) for n in (1, 2, 3)
    }
    kinds["length_wasserstein"] = (name_lengths, wasserstein)
    size = min(len(drawn), len(held_out), MOST_COMPARED)
    if not size:
        return dict.fromkeys(kinds, Estimate(None))
    estimates = {}
    for key, (features_of, distance) in kinds.items():
        of_train = features_of(train)
        of_drawn, floor = (
            _sampled(
                distance,
                of_train.values,
                features_of(names),
                _samples(names, size, bootstrap),
            )
            for names in (drawn, held_out)
        )
        ends = interval(of_drawn) if size >= LEAST_NAMES else (None, None)
        estimates[key] = Estimate(float(of_drawn.mean()), *ends, float(floor.mean()))
    return estimates


def _samples(names: EncodedNames, size: int, bootstrap: Bootstrap) -> Iterator[np.ndarray]:
    """Whether each name is in the sample, shape (N,), R times; once if all always are."""
    generator = bootstrap.generator()
    for _ in range(bootstrap.num_samples if size < len(names) else 1):
        is_in = np.zeros(len(names), dtype=bool)
        is_in[generator.permutation(len(names))[:size]] = True
        yield is_in


def _sampled(
    distance: Callable[..., float],
    train: np.ndarray,
    features: Features,
    samples: Iterator[np.ndarray],
) -> np.ndarray:
    """The distance of each sample from the training names, shape (R,)."""
    values, numbers = np.unique(np.concatenate((train, features.values)), return_inverse=True)

    def shares(numbers: np.ndarray) -> np.ndarray:
        return np.bincount(numbers, minlength=len(values)) / len(numbers)  # (G,)

    of_train, numbers = shares(numbers[: len(train)]), numbers[len(train) :]
    return np.array(
        [distance(of_train, shares(numbers[is_in[features.rows]]), values) for is_in in samples]
    )
