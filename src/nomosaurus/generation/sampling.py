"""Drawing names from a model, one character at a time.

Sample i depends on the model, the sampling settings, the seed and i alone: its random numbers
are counted off from (seed, i), and samples are always computed in the same blocks, 0 to 255, 256
to 511 and so on, since a matrix product may round differently for another number of rows.
"""

# B rows still being drawn, F of them behind their prefix, V vocabulary, K prefixes

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nomosaurus.generation.trie import EXHAUSTED, Paths, Trie
from nomosaurus.model.mixture import Mixture
from nomosaurus.names.vocabulary import BOUNDARY_ID

BLOCK = 256
"""Samples computed together; part of what a sample depends on, so it stays fixed."""

REBUILT_AT = 0.05
"""The share of what is left that may be drawn in vain before the trie is built anew."""


@dataclass(frozen=True)
class Drawing:
    """How characters are drawn: a request in a model's terms. `Request` checks the ranges.

    Attributes:
        temperature: Divides the log-probabilities; below 1 bolder on the likely, above 1 wilder.
        top_k: Only the k most likely characters; 0 for all.
        top_p: Only the most likely characters that together reach this probability
            (Holtzman et al. 2020); 1 for all.
        prefixes: The ids that a name may begin with; none begins with another.
        max_length: The most characters in a name, the prefix included; a longer one is cut off.
        category: The id of every name's category; if None, names are drawn over all categories.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    prefixes: tuple[tuple[int, ...], ...] = ((),)
    max_length: int = 100
    category: int | None = None


@dataclass(frozen=True)
class Sample:
    """One drawn name.

    Attributes:
        ids: Its characters, shape (characters,).
        log_prob: Its log-probability under the model as it is (temperature 1, all
            characters, prefix and end counted), in nats.
        ended: Whether it ended by itself; if not, it was cut off at the length limit.
        path: The events that were drawn, with the probability that each was drawn with: first
            which prefix, then each symbol; where the name was cut off, the symbol V stands for
            all that is not the end.
    """

    ids: np.ndarray
    log_prob: float
    ended: bool
    path: Paths

    @property
    def share(self) -> float:
        """The probability that a draw gives this, as it is drawn; 1 for all draws together."""
        return float(self.path.probabilities.prod())


def draw_samples(mixture: Mixture, drawing: Drawing, seed: int) -> Iterator[Sample]:
    """Draw samples without end, each on its own."""
    drawer = Drawer(mixture, drawing, seed)
    while True:
        yield from drawer.draw()


class Drawer:
    """Draws block after block, and leaves out what it was told to.

    Until the trie is built anew, a few samples come that were left out already. Skipping them
    gives exactly the model's distribution without what was left out, since a draw that is
    repeated until it is none of a set of names has the distribution without them.

    Of several prefixes one is drawn first, in proportion to its probability at the drawing's
    temperature. So names have exactly the distribution of names without a prefix, given that they
    begin with one of these. As a single prefix, they are not subject to top_k and top_p.

    The seed is from 0 to below 2 ** 63.
    """

    def __init__(self, mixture: Mixture, drawing: Drawing, seed: int) -> None:
        self._mixture = mixture
        self._drawing = drawing
        self._seed = seed
        self._block = 0
        num_prefixes = len(drawing.prefixes)
        self._prefix_sizes = np.array([len(prefix) for prefix in drawing.prefixes])
        self._prefixes = np.full((num_prefixes, drawing.max_length + 1), BOUNDARY_ID)
        for row, prefix in zip(self._prefixes, drawing.prefixes, strict=True):
            row[: len(prefix)] = prefix
        self._prefix_shares = self._shares_of_prefixes()
        self._base = max(mixture.vocab_size + 1, num_prefixes)  # more than any symbol of a path
        self._trie = Trie(Paths.none(), self._base)
        self._in_trie = Paths.none()
        self._recent: dict[bytes, Paths] = {}
        self._recent_share = 0.0

    @property
    def share_left_out(self) -> float:
        """The probability of all that was left out, of 1 for all that may be drawn."""
        return min(1.0, 1 - self._trie.left + self._recent_share)

    @property
    def is_dry(self) -> bool:
        """Whether there is nothing left to draw."""
        return self._trie.left < EXHAUSTED

    def draw(self) -> list[Sample]:
        """The next block; shorter than others where rows ran into what was left out."""
        drawing = self._drawing
        limit = drawing.max_length
        uniforms = _uniforms(self._seed, self._block, limit + 1)  # (BLOCK, steps)
        self._block += 1
        shares = self._prefix_shares.expand(BLOCK, -1)  # (BLOCK, K)
        nodes = self._trie.root(BLOCK)  # (B,)
        weights = self._trie.weigh(shares, nodes, 0)
        if weights[0].sum() == 0:
            return []
        # Nothing else uses a row's first number, unless its prefix is empty and thus the only one.
        prefix = choose(weights, torch.from_numpy(uniforms[:, 0])).numpy()  # (BLOCK,)
        nodes = self._trie.descend(nodes, 0, prefix)
        given_steps = self._prefix_sizes[prefix]  # (BLOCK,)
        symbols = self._prefixes[prefix]  # (BLOCK, limit + 1)
        probabilities = np.ones((BLOCK, limit + 2))
        probabilities[:, 0] = self._prefix_shares[prefix]
        lengths = np.full(BLOCK, limit)
        log_probs = np.zeros(BLOCK)
        rows = np.arange(BLOCK)  # (B,), the samples not yet ended
        ids = np.full(BLOCK, BOUNDARY_ID)  # (B,)
        dead: set[int] = set()
        state = self._mixture.initial_state(BLOCK, self._categories(BLOCK))
        for step in range(limit + 1):
            plain, state = self._mixture.step(ids, state)  # (B, V)
            free = np.flatnonzero(step >= given_steps[rows])  # (F,), those behind their prefix
            if len(free):
                allowed = restrict(plain[free], drawing)  # (F, V)
                if step == limit:
                    allowed = _end_or_too_long(allowed)  # (F, V + 1)
                weights = self._trie.weigh(allowed, nodes[free], step + 1)
                chosen = choose(weights, torch.from_numpy(uniforms[rows[free], step]))  # (F,)
                alive = (weights.sum(1) > 0).numpy()
                chosen = chosen.where(torch.from_numpy(alive), BOUNDARY_ID)
                dead |= set(rows[free][~alive].tolist())
                probabilities[rows[free], step + 1] = (
                    allowed.gather(1, chosen.unsqueeze(1)).squeeze(1).numpy()
                )
                symbols[rows[free], step] = chosen.numpy()
            ids = symbols[rows, step]  # (B,)
            nodes = self._trie.descend(nodes, step + 1, ids)
            ends = ids == BOUNDARY_ID
            if step == limit:
                log_probs[rows[ends]] += plain[torch.from_numpy(ends), BOUNDARY_ID].numpy()
                break
            log_probs[rows] += plain.gather(1, torch.from_numpy(ids)[:, None]).squeeze(1).numpy()
            lengths[rows[ends]] = step
            going = np.flatnonzero(~ends)
            if len(going) == 0:
                break
            if len(going) < len(rows):
                ids, nodes, state, rows = ids[going], nodes[going], state.select(going), rows[going]
        ended = symbols[np.arange(BLOCK), lengths] == BOUNDARY_ID
        return [
            Sample(
                symbols[i, : lengths[i]],
                float(log_probs[i]),
                bool(ended[i]),
                Paths(
                    np.append(prefix[i], symbols[i, : lengths[i] + 1]),
                    probabilities[i, : lengths[i] + 2],
                    lengths[i : i + 1] + 2,
                ),
            )
            for i in range(BLOCK)
            if i not in dead
        ]

    def leave_out(self, samples: Iterable[Sample]) -> None:
        """Draw these no more, from now on or soon."""
        for sample in samples:
            path = sample.path
            symbols = path.symbols.astype(np.int32)
            key = symbols.tobytes()
            if key not in self._recent:
                # Copies, since the arrays of a sample are parts of its whole block's.
                self._recent[key] = Paths(symbols, path.probabilities.copy(), path.sizes)
                self._recent_share += sample.share
        if self._recent_share > REBUILT_AT * self._trie.left:
            self._in_trie = Paths.joined([self._in_trie, *self._recent.values()])
            self._trie = Trie(self._in_trie, self._base)
            self._recent, self._recent_share = {}, 0.0

    def _categories(self, num_rows: int) -> np.ndarray | None:
        """The drawing's category in each row, shape (num_rows,); None if none is given."""
        category = self._drawing.category
        return None if category is None else np.full(num_rows, category)

    def _shares_of_prefixes(self) -> Tensor:
        """Each prefix's share of the probability of all, at the drawing's temperature.

        Returns:
            Double, shape (K,); 1 for a single one.
        """
        sizes = torch.from_numpy(self._prefix_sizes)  # (K,)
        log_shares = torch.zeros(len(sizes), dtype=torch.double)  # (K,)
        ids = np.full(len(sizes), BOUNDARY_ID)  # (K,)
        state = self._mixture.initial_state(len(sizes), self._categories(len(sizes)))
        for step in range(int(sizes.max()) if len(sizes) > 1 else 0):
            plain, state = self._mixture.step(ids, state)  # (K, V)
            ids = self._prefixes[:, step]
            tempered = torch.log_softmax(plain / self._drawing.temperature, dim=-1)
            chosen = tempered.gather(1, torch.from_numpy(ids)[:, None]).squeeze(1)  # (K,)
            log_shares += chosen.where(step < sizes, 0)
        return torch.softmax(log_shares, dim=0)


def _end_or_too_long(probabilities: Tensor) -> Tensor:
    """The end, and all that is not the end as the symbol V; from (B, V) to (B, V + 1)."""
    events = probabilities.new_zeros(len(probabilities), probabilities.shape[1] + 1)
    events[:, BOUNDARY_ID] = probabilities[:, BOUNDARY_ID]
    events[:, -1] = 1 - probabilities[:, BOUNDARY_ID]
    return events


def restrict(log_probs: Tensor, drawing: Drawing) -> Tensor:
    """The distribution to draw from: temperature first, then top-k, then top-p.

    Args:
        log_probs: Of each character, up to a constant in each row, shape (B, V).
        drawing: Only its temperature, top_k and top_p count here.

    Returns:
        Probabilities, shape (B, V), each row summing to 1. At least one character is
        always left. Among equally likely ones the smaller id comes first.
    """
    probabilities = torch.softmax(log_probs / drawing.temperature, dim=-1)  # (B, V)
    if drawing.top_k == 0 and drawing.top_p == 1:
        return probabilities
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)  # (B, V)
    allowed = torch.ones_like(ranked, dtype=torch.bool)  # (B, V)
    if drawing.top_k:
        allowed[:, drawing.top_k :] = False
    ranked = ranked.where(allowed, 0)
    ranked = ranked / ranked.sum(dim=-1, keepdim=True)
    if drawing.top_p < 1:
        before = ranked.cumsum(dim=-1) - ranked  # (B, V), mass of the likelier ones
        ranked = ranked.where(before < drawing.top_p, 0)
        ranked = ranked / ranked.sum(dim=-1, keepdim=True)
    return torch.zeros_like(ranked).scatter(1, order, ranked)  # (B, V)


def choose(weights: Tensor, uniform: Tensor) -> Tensor:
    """Turn one uniform number a row into one id, by the inverse of the distribution.

    Args:
        weights: What the probabilities are in proportion to, shape (B, V).
        uniform: In [0, 1), shape (B,).

    Returns:
        Ids, shape (B,), never one of weight 0; V where all weights of a row are 0.
    """
    cumulative = weights.cumsum(dim=-1)  # (B, V)
    # Rounding may lift the product up to the total.
    total = cumulative[:, -1]  # (B,)
    threshold = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, threshold.unsqueeze(1), right=True).squeeze(1)  # (B,)


def _uniforms(seed: int, block: int, steps: int) -> np.ndarray:
    """The random numbers of a block's samples, shape (BLOCK, steps rounded up to 4).

    Philox (Salmon et al. 2011) counts in groups of four 64-bit words, so each sample
    has its own groups at a place that follows from its number.
    """
    groups = -(-steps // 4)
    source = np.random.Philox(key=seed)
    source.advance(block * BLOCK * groups)
    return np.random.Generator(source).random((BLOCK, groups * 4))
