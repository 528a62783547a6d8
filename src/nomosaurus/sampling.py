"""Drawing names from a model, one character at a time.

Sample i depends on the model, the sampling settings, the seed and i alone.
Two things make it so: its random numbers are counted off from (seed, i), and samples
are always computed in the same blocks, samples 0 to 255, 256 to 511 and so on, since
a matrix product may round differently for another number of rows.
"""

# B rows still being drawn, V vocabulary

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nomosaurus.errors import SamplingError
from nomosaurus.mixture import Mixture
from nomosaurus.vocabulary import BOUNDARY_ID

BLOCK = 256
"""Samples computed together; part of what a sample depends on, so it stays fixed."""


@dataclass(frozen=True)
class Drawing:
    """How characters are drawn.

    Attributes:
        temperature: Divides the log-probabilities; below 1 bolder on the likely, above 1 wilder.
        top_k: Only the k most likely characters; 0 for all.
        top_p: Only the most likely characters that together reach this probability
            (Holtzman et al. 2020); 1 for all.
        prefix: Ids that every name begins with, shape (characters,).
        max_length: The most characters in a name, the prefix included.
        category: The id of every name's category; if None, names are drawn over all categories.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    prefix: tuple[int, ...] = ()
    max_length: int = 100
    category: int | None = None

    def __post_init__(self) -> None:
        """Refuse what would draw nothing, or nonsense.

        Raises:
            SamplingError: Naming the setting, its range and the value.
        """
        rules = {
            "temperature must be from 0.01 to 100": 0.01 <= self.temperature <= 100,
            "top_k must be 0 or more": self.top_k >= 0,
            "top_p must be above 0 and at most 1": 0 < self.top_p <= 1,
        }
        for rule, holds in rules.items():
            if not holds:
                raise SamplingError(f"{rule}, got {getattr(self, rule.split()[0])}")


@dataclass(frozen=True)
class Sample:
    """One drawn name.

    Attributes:
        ids: Its characters, shape (characters,).
        log_prob: Its log-probability under the model as it is (temperature 1, all
            characters, prefix and end counted), in nats.
        ended: Whether it ended by itself; if not, it was cut off at the length limit.
    """

    ids: np.ndarray
    log_prob: float
    ended: bool


def draw_samples(mixture: Mixture, drawing: Drawing, seed: int, start: int = 0) -> Iterator[Sample]:
    """Draw samples number `start`, `start` + 1, … without end.

    Args:
        mixture: The model; it is not changed.
        drawing: How characters are drawn.
        seed: Start of the random numbers, from 0 to below 2 ** 63.
        start: The first sample's number.

    Raises:
        SamplingError: If the seed is out of range.
    """
    if not 0 <= seed < 2**63:
        raise SamplingError(f"seed must be from 0 to below 2 ** 63, got {seed}")
    block = start // BLOCK
    skip = start % BLOCK
    while True:
        yield from _draw_block(mixture, drawing, seed, block)[skip:]
        block, skip = block + 1, 0


def _draw_block(mixture: Mixture, drawing: Drawing, seed: int, block: int) -> list[Sample]:
    uniforms = _uniforms(seed, block, drawing.max_length + 1)  # (BLOCK, steps)
    letters = np.zeros((BLOCK, drawing.max_length), dtype=np.int64)
    lengths = np.full(BLOCK, drawing.max_length)
    ended = np.zeros(BLOCK, dtype=bool)
    log_probs = np.zeros(BLOCK)
    rows = np.arange(BLOCK)  # (B,), the samples not yet ended
    ids = np.full(BLOCK, BOUNDARY_ID)  # (B,)
    given = None if drawing.category is None else np.full(BLOCK, drawing.category)
    state = mixture.initial_state(BLOCK, given)
    for step in range(drawing.max_length + 1):
        plain, state = mixture.step(ids, state)  # (B, V)
        if step < len(drawing.prefix):
            chosen = torch.full((len(rows),), drawing.prefix[step])  # (B,)
        else:
            uniform = torch.from_numpy(uniforms[rows, step])  # (B,)
            chosen = choose(restrict(plain, drawing), uniform)  # (B,)
        chosen_log_probs = plain.gather(1, chosen.unsqueeze(1)).squeeze(1).numpy()  # (B,)
        chosen_ids = chosen.numpy()
        ends = chosen_ids == BOUNDARY_ID
        ended[rows[ends]] = True
        if step == drawing.max_length:  # no room for a further character
            log_probs[rows[ends]] += chosen_log_probs[ends]
            break
        log_probs[rows] += chosen_log_probs
        lengths[rows[ends]] = step
        letters[rows, step] = chosen_ids
        going = np.flatnonzero(~ends)
        if len(going) == 0:
            break
        if len(going) < len(rows):
            chosen_ids, state = chosen_ids[going], state.select(going)
            rows = rows[going]
        ids = chosen_ids
    return [
        Sample(letters[i, : lengths[i]], float(log_probs[i]), bool(ended[i])) for i in range(BLOCK)
    ]


def restrict(log_probs: Tensor, drawing: Drawing) -> Tensor:
    """The distribution to draw from: temperature first, then top-k, then top-p.

    Args:
        log_probs: Of each character, up to a constant a row, shape (B, V).
        drawing: Its temperature, top_k and top_p; the rest is not looked at.

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


def choose(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Turn one uniform number a row into one id, by the inverse of the distribution.

    Args:
        probabilities: Shape (B, V), rows summing to 1.
        uniform: In [0, 1), shape (B,).

    Returns:
        Ids, shape (B,), never one of probability 0.
    """
    cumulative = probabilities.cumsum(dim=-1)  # (B, V)
    # Rounding may leave the last sum off 1, or lift the product up to it.
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
