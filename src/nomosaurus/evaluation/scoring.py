"""What to think of a name that somebody has in mind.

How typical it sounds beside the names of the list, which place it has among all names that
the model can write, which learnt names are nearest, and which character surprises most.
"""

# N names, D drawn names, P events of all names

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np

from nomosaurus.generation.generator import valid_name
from nomosaurus.generation.nearest import Neighbour, neighbours
from nomosaurus.generation.sampling import Drawing, draw_samples
from nomosaurus.model.trained import ScoredName, TrainedModel
from nomosaurus.names.vocabulary import characters

DRAWS = 10_000
"""Names drawn to estimate ranks."""

SEED = 0
"""Of these draws: the same name has the same rank each time."""

FEWEST_BELOW = 10
"""With fewer draws that are no likelier than a name, its rank is only bounded from below."""

LEAST_LOG_PROB = -300.0
"""Nats; a less likely draw stands for more names than a float can count and square."""

SAME = 1e-4
"""Nats; log-probabilities of one name may differ by less when it is computed among others."""

Z = 1.959964
"""Standard deviations on either side of a 95 % interval."""

NEAREST = 3
"""Learnt names that are shown beside a name."""


class Rank(NamedTuple):
    """A name's place among all names that a model can write; 1 is the likeliest.

    Attributes:
        value: The estimate; None where the draws only say that it is more than `low`.
        low: Lower end of the 95 % interval.
        high: Upper end; None if `value` is.
    """

    value: int | None
    low: int
    high: int | None


@dataclass(frozen=True)
class Ranks:
    """Estimates ranks from names drawn from a model.

    Dell'Amico and Filippone (2015), "Monte Carlo Strength Evaluation". Of n draws, one of
    probability p_i stands for 1 / (n p_i) names. So the number of names likelier than x is
    estimated, without bias, by the sum of these over the draws with p_i > p(x).

    The interval is Wilson's (1927) in its form for sums. With E the sum and S the sum of the
    squares, the estimator's variance is about S - E^2 / n; if the truth is μ and not E, it is
    more by at most w (μ - E), with w = 1 / (n p(x)), the most that one draw can add. The ends
    are the two solutions of (μ - E)^2 = z^2 (S - E^2 / n + w (μ - E)). So where no draw is
    likelier, the interval still has a length.

    Attributes:
        log_probs: Of the drawn names, as `TrainedModel.score` gives them, likeliest first; (D,).
        weights: 1 / (n p_i) of each; shape (D,).
        num_draws: n: D, and the draws that were cut off or are not names.
    """

    log_probs: np.ndarray
    weights: np.ndarray
    num_draws: int

    @classmethod
    def draw(cls, model: TrainedModel, given: str | None = None) -> "Ranks":
        """Draw 10,000 times, at temperature 1; this takes seconds.

        A draw that was cut off, or that the list would not keep as it is, is not a name: it
        counts in n and stands for none.

        Args:
            model: The trained model.
            given: The category of all names; over all categories if it is not given.

        Raises:
            ListError: If `given` is no category that the model knows.
        """
        category = None if given is None else model.category_id(given)
        drawing = Drawing(max_length=model.recipe.data.max_length, category=category)
        drawn = [
            (sample.log_prob, len(sample.ids) + 1)
            for sample in islice(draw_samples(model.mixture, drawing, SEED), DRAWS)
            if sample.log_prob > LEAST_LOG_PROB and valid_name(model, sample) is not None
        ]
        log_probs, chars = np.array(drawn, dtype=float).reshape(-1, 2).T  # each (D,)
        # The score of a name also says that none of its characters is an unknown one.
        scored = log_probs - model.vocabulary.unknown_nats(chars, np.zeros_like(chars))
        order = np.argsort(-scored, kind="stable")
        return cls(scored[order], np.exp(-log_probs[order]) / DRAWS, DRAWS)

    def of(self, log_prob: float) -> Rank:
        """The rank of a name, likelier names counted and itself; low and high with it.

        Args:
            log_prob: Of the name, in nats, as `TrainedModel.score` gives it.
        """
        likelier = int(np.searchsorted(-self.log_probs, -log_prob - SAME))
        most = len(self.log_probs) - FEWEST_BELOW
        if likelier > most:  # the rank of the last name that the draws can place is a bound
            if most < 0:
                return Rank(None, 1, None)
            return Rank(None, self.of(float(self.log_probs[most])).low, None)
        number, squares = (float(sums[likelier]) for sums in self._sums)
        largest = exp(-log_prob) / self.num_draws  # w
        middle = number + Z**2 * largest / 2
        variance = max(0.0, squares - number**2 / self.num_draws)
        reach = Z * sqrt(variance + (Z * largest / 2) ** 2)
        low, high = max(0.0, middle - reach), middle + reach
        return Rank(*(_three_digits(1 + value) for value in (number, low, high)))

    @cached_property
    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the weights of the first 0, 1, … draws, and of their squares; (D + 1,)."""
        weights = np.concatenate(([0.0], self.weights))
        return np.cumsum(weights), np.cumsum(weights**2)


@dataclass(frozen=True)
class Surprise:
    """The character of a name that costs most.

    Attributes:
        character: Empty for the end.
        place: 1 for the first.
        bits: -log2 of its probability after all that comes before it.
    """

    character: str
    place: int
    bits: float


@dataclass(frozen=True)
class Assessment(ScoredName):
    """A name, its score, and what helps to judge it.

    Attributes:
        percentile_train: How typical it sounds: the share of the learnt names, 0 to 100, that
            have as many bits per character or more. Both are compared to four decimals.
        percentile_held_out: The same among the validation names, which were not learnt from:
            the fairer comparison for a new name, since a model has seen the learnt ones.
        rank, rank_low, rank_high: Its place among all names that the model can write; see
            `Rank`.
        nearest: The nearest learnt names, nearest first.
        surprise: Its most surprising character.
    """

    percentile_train: float
    percentile_held_out: float
    rank: int | None
    rank_low: int
    rank_high: int | None
    nearest: list[Neighbour]
    surprise: Surprise


def assess(
    model: TrainedModel, names: Sequence[str], ranks: Ranks, given: str | None = None
) -> list[Assessment]:
    """Judge names, in the order given; each is normalised as the list was.

    Args:
        model: The trained model.
        names: Names, none of them blank.
        ranks: Drawn from the same model, given the same.
        given: The category of all of them; else their category counts as not known.

    Raises:
        ListError: If one is no name, or if `given` is no category that the model knows.
    """
    normal = model.normalised(names)
    encoded = model.encode(normal, given)
    event_nats = model.event_nats(encoded)  # (P,)
    scored = model.scored(names, encoded, encoded.sum_by_name(event_nats))
    near = neighbours(model, names, NEAREST)
    assessed = []
    for i, name in enumerate(scored):
        events = event_nats[encoded.event_offsets[i] : encoded.event_offsets[i + 1]]
        at = int(events.argmax())
        rank = ranks.of(name.log_prob)
        assessed.append(
            Assessment(
                **vars(name),
                percentile_train=_percentile(model.list_bits.train, name.bits_per_char),
                percentile_held_out=_percentile(model.list_bits.validation, name.bits_per_char),
                rank=rank.value,
                rank_low=rank.low,
                rank_high=rank.high,
                nearest=near[i],
                surprise=Surprise(
                    [*characters(normal[i]), ""][at], at + 1, round(events[at] / log(2), 4)
                ),
            )
        )
    return assessed


def _percentile(sorted_bits: np.ndarray, bits_per_char: float) -> float:
    cheaper = np.searchsorted(sorted_bits, np.float32(bits_per_char))
    return round(100 * (1 - float(cheaper) / len(sorted_bits)), 1)


def _three_digits(number: float) -> int:
    """No more digits than an estimate has."""
    return round(float(f"{number:.3g}"))
