"""Names taken out of a distribution, and how much of it is left below every prefix.

UniqueRandomizer (Shi, Bieber and Singh 2020): walk from the root, and at every node choose the
next symbol in proportion to its probability times the share that is left below it. So what is
drawn has the model's distribution without the names that were taken out, exactly. Here the trie
is built as a whole from sorted keys, so that a walk of many rows is a few array operations.
"""

# B rows of a walk, V symbols of a step, N names taken out, P their events

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NO_NODE = -1
"""A prefix with which no name was taken out; all is left below it."""

EXHAUSTED = 1e-6
"""A smaller share is taken for nothing: it is rounding, since networks compute in float32."""


class Paths(NamedTuple):
    """Names as the events that were chosen one after the other, their ends included.

    Attributes:
        symbols: Name after name; shape (P,).
        probabilities: Of each event where it was chosen; shape (P,).
        sizes: Events of each name; shape (N,).
    """

    symbols: np.ndarray
    probabilities: np.ndarray
    sizes: np.ndarray

    @classmethod
    def none(cls) -> "Paths":
        """No name at all."""
        return cls(np.empty(0, np.int32), np.empty(0), np.empty(0, np.int64))

    @classmethod
    def joined(cls, parts: "Sequence[Paths]") -> "Paths":
        """All names of some paths, copied."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Level:
    """The nodes of one depth.

    Attributes:
        keys: Sorted; a node is (its parent's number) * base + symbol, and its own number is
            the key's place; shape (nodes,).
        left: The share of its probability that is not taken out, 0 to 1; shape (nodes,).
    """

    keys: np.ndarray
    left: np.ndarray


class Trie:
    """Names taken out of a distribution; it does not change.

    Attributes:
        left: The share of all probability that is left.
    """

    def __init__(self, paths: Paths, base: int) -> None:
        """Take paths out; the same name twice counts once. `base` is more than any symbol."""
        self._base = base
        symbols, probabilities, sizes = paths
        starts = np.cumsum(sizes) - sizes
        keys_of: list[np.ndarray] = []
        probability_of: list[np.ndarray] = []
        ends_of: list[np.ndarray] = []
        node = np.zeros(len(sizes), dtype=np.int64)  # (N,), at the depth before
        going = np.arange(len(sizes))
        for depth in range(sizes.max(initial=0)):
            going = going[sizes[going] > depth]
            place = starts[going] + depth
            keys, first, node_of = np.unique(
                node[going] * base + symbols[place], return_index=True, return_inverse=True
            )
            node[going] = node_of
            keys_of.append(keys)
            probability_of.append(probabilities[place[first]])
            ends_of.append(sizes[going[first]] == depth + 1)
        taken: np.ndarray = np.zeros(1)
        self._levels: list[Level] = []
        for depth in reversed(range(len(keys_of))):
            num_nodes = len(keys_of[depth])
            below = np.zeros(num_nodes) if depth + 1 == len(keys_of) else taken
            share = np.where(ends_of[depth], 1.0, below)  # taken of each node
            left = np.maximum(1 - share, 0.0)
            self._levels.insert(0, Level(keys_of[depth], np.where(left < EXHAUSTED, 0.0, left)))
            num_parents = 1 if depth == 0 else len(keys_of[depth - 1])
            taken = np.bincount(
                keys_of[depth] // base, probability_of[depth] * share, minlength=num_parents
            )
        self.left = float(max(1 - taken[0], 0.0))

    def root(self, num_rows: int) -> np.ndarray:
        """Where `num_rows` walks begin, shape (num_rows,)."""
        return np.full(num_rows, 0 if self._levels else NO_NODE)

    def weigh(self, probabilities: Tensor, nodes: np.ndarray, depth: int) -> Tensor:
        """What is left of each symbol's probability.

        Args:
            probabilities: Of the next symbol, shape (B, V).
            nodes: Where each row stands, from `root` or `descend`; shape (B,).
            depth: Symbols chosen so far.

        Returns:
            Weights, shape (B, V); a row's sum is at most 1, and 0 where nothing is left.
        """
        rows = np.flatnonzero(nodes >= 0)
        if len(rows) == 0 or depth >= len(self._levels):
            return probabilities
        level = self._levels[depth]
        # The children of a node lie together in `keys`.
        first = np.searchsorted(level.keys, nodes[rows] * self._base)
        count = np.searchsorted(level.keys, (nodes[rows] + 1) * self._base) - first
        place = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
        factors = np.ones(probabilities.shape)
        factors[np.repeat(rows, count), level.keys[place] % self._base] = level.left[place]
        return probabilities * torch.from_numpy(factors)

    def descend(self, nodes: np.ndarray, depth: int, symbols: np.ndarray) -> np.ndarray:
        """Where each row stands after its next symbol; all of shape (B,)."""
        if depth >= len(self._levels):
            return np.full(len(nodes), NO_NODE)
        keys = self._levels[depth].keys
        wanted = nodes * self._base + symbols
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((nodes >= 0) & (keys[place] == wanted), place, NO_NODE)
