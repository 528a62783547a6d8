"""Names drawn for evaluation, and what is measured on them."""

# N names

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.generation.generator import valid_name
from nomosaurus.generation.nearest import NearestNames
from nomosaurus.generation.sampling import Drawing, draw_samples
from nomosaurus.model.trained import TrainedModel
from nomosaurus.names.dataset import EncodedNames

SAMPLES = 10_000
"""The number that `novelty_at_10k`, `uniqueness_at_10k` and `validity` speak of."""


@dataclass(frozen=True)
class Drawn:
    """Names drawn for evaluation: temperature 1, nothing restricted or filtered out.

    Attributes:
        is_valid: Which of the first 10,000 draws ended by themselves, are not empty, and
            would be kept unchanged if they stood on the list; shape (10,000,).
        is_truncated: Which of them were cut off at the length limit; shape (10,000,).
        valid: The first valid names, 10,000 if the first 20,000 draws hold as many.
    """

    is_valid: np.ndarray
    is_truncated: np.ndarray
    valid: list[str]


def draw_for_evaluation(model: TrainedModel, seed: int) -> Drawn:
    """Draw the names that the sampled metrics are computed on."""
    drawing = Drawing(max_length=model.recipe.data.max_length)
    is_valid, is_truncated = np.zeros((2, SAMPLES), dtype=bool)
    valid: list[str] = []
    for i, sample in enumerate(islice(draw_samples(model.mixture, drawing, seed), 2 * SAMPLES)):
        name = valid_name(model, sample)
        if i < SAMPLES:
            is_valid[i] = name is not None
            is_truncated[i] = not sample.ended
        if name is not None:
            valid.append(name)
        if i + 1 >= SAMPLES and len(valid) >= SAMPLES:
            break
    return Drawn(is_valid, is_truncated, valid[:SAMPLES])


def uniqueness(valid: Sequence[str], k: int) -> float | None:
    """Different names among the first k valid ones, over k (MOSES, Polykovskiy 2020).

    None where there are fewer than k.
    """
    return len(set(valid[:k])) / k if len(valid) >= k else None


def sampled_novelty(valid: Sequence[str], train: Set[str], k: int) -> float | None:
    """Different names not in train, over different names, of the first k valid ones (MOSES).

    It grows with the number of samples, so that number belongs to its name. None where there
    are fewer than k.
    """
    different = set(valid[:k])
    return len(different - train) / len(different) if len(valid) >= k else None


def nearest_distance(
    model: TrainedModel, drawn: EncodedNames, held_out: EncodedNames, bootstrap: Bootstrap
) -> Estimate:
    """Mean Damerau-Levenshtein distance to the nearest training name, in characters.

    One edit adds, drops or changes a character, or swaps two. Much below the floor, the
    held-out names' own distance, a model writes training names with a letter changed (Meehan
    et al. 2020 call it data copying).

    Args:
        model: It holds the training names.
        drawn: Different names that are not training names, as the held-out ones are; that
            training names are drawn too is what `novelty` tells.
        held_out: Names that the model never saw.
        bootstrap: For the interval.
    """
    nearest = NearestNames(model.train)
    _, distances = nearest.rows(drawn)
    (estimate,) = bootstrap.ratios(distances.T, np.ones(len(drawn)))
    _, of_held_out = nearest.rows(held_out)
    return replace(estimate, floor=float(of_held_out.mean()))
