"""The learnt names that are nearest to others."""

# N names

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from rapidfuzz import process
from rapidfuzz.distance import OSA, DamerauLevenshtein

from nomosaurus.model.trained import ScoredName, TrainedModel
from nomosaurus.names.dataset import EncodedNames

DISTANCES_AT_ONCE = 4_000_000
"""How many distances between names are held in memory."""


@dataclass(frozen=True)
class Neighbour:
    """A learnt name, and its Damerau-Levenshtein distance in characters."""

    name: str
    distance: int


class NearestNames:
    """Finds the nearest of some training names.

    Attributes:
        train: These names, each once; `rows` gives rows of it.
    """

    def __init__(self, train: EncodedNames) -> None:
        self.train = train.distinct()
        self._spelt = _spelt(self.train)

    def rows(self, names: EncodedNames, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the training names nearest to each, and their distances.

        Damerau-Levenshtein, unrestricted, counted in characters. Among equally near ones the
        first of the list. An unknown character is like none of a training name.

        Returns:
            Both of shape (names, count); fewer columns if there are fewer training names.
        """
        spelt, train = _spelt(names), self._spelt
        count = min(count, len(train))
        rows, distances = np.zeros((2, len(spelt), count), dtype=np.int64)
        at_once = max(1, DISTANCES_AT_ONCE // len(train))
        for start in range(0, len(spelt), at_once):
            block = spelt[start : start + at_once]
            # Optimal string alignment is fifty times as fast, and at least the distance. It
            # is at most 3/2 of it: only letters swapped around others cost it more, and with
            # k letters between them that is k + 2 edits instead of k + 1.
            aligned = process.cdist(block, train, scorer=OSA.distance, dtype=np.int32)
            within = np.partition(aligned, count - 1, axis=1)[:, count - 1]
            for i, (bounds, most) in enumerate(zip(aligned, within, strict=True), start):
                candidates = np.flatnonzero(2 * bounds <= 3 * most)
                exact = process.cdist(
                    [spelt[i]],
                    [train[row] for row in candidates],
                    scorer=DamerauLevenshtein.distance,
                )[0]
                nearest = np.argsort(exact, kind="stable")[:count]
                rows[i], distances[i] = candidates[nearest], exact[nearest]
        return rows, distances


def neighbours(
    model: TrainedModel, names: Sequence[str], count: int, nearest: NearestNames | None = None
) -> list[list[Neighbour]]:
    """The `count` training names nearest to each name, nearest first; see `NearestNames.rows`.

    `nearest`, of the model's training names, saves making it again for a few names at a time.
    """
    nearest = nearest or NearestNames(model.train)
    encoded = EncodedNames.from_names([model.normalise(name) for name in names], model.vocabulary)
    return [
        [
            Neighbour(model.written(model.vocabulary.decode(nearest.train[row])), int(distance))
            for row, distance in zip(*near, strict=True)
        ]
        for near in zip(*nearest.rows(encoded, count), strict=True)
    ]


def name_table(model: TrainedModel, names: Sequence[ScoredName]) -> pd.DataFrame:
    """Names with their scores and the nearest training name, a row each, for people."""
    table = pd.DataFrame(list(names), columns=[field.name for field in fields(ScoredName)])
    nearest = [near for (near,) in neighbours(model, [name.name for name in names], 1)]
    table["nearest"] = [near.name for near in nearest]
    table["distance"] = [near.distance for near in nearest]
    return table


def _spelt(names: EncodedNames) -> list[str]:
    """Names with each id as a code point: their edits are those of the characters."""
    return ["".join(map(chr, names[i].tolist())) for i in range(len(names))]
