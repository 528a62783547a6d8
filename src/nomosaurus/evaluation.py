"""Likelihood, novelty and the rest, each with its definition and its interval.

Likelihoods count letters and the end of each name, corpus sum over corpus count.
"""

# N names, M quantities compared on the same names, R bootstrap samples

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from math import exp, log
from typing import Any

import numpy as np
import pandas as pd

from nomosaurus.dataset import EncodedNames
from nomosaurus.model import NameModel
from nomosaurus.sampling import Drawing, draw_samples
from nomosaurus.vocabulary import Vocabulary, characters

SAMPLES = 10_000
"""The number that `novelty_at_10k`, `uniqueness_at_10k` and `validity` speak of."""


LEAST_NAMES = 10
"""With fewer names the bootstrap says too little of chance, and gives no interval."""


LONGEST_SHOWN = 16
"""Characters of a name that is drawn step by step."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap interval; None where there are too few names."""

    value: float
    low: float | None
    high: float | None

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """The same under an increasing function, such as exp from nats to perplexity."""
        low, high = (None if end is None else function(end) for end in (self.low, self.high))
        return Estimate(function(self.value), low, high)


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
        An estimate a quantity; without intervals if there are fewer than 10 names.
    """
    values = [float(value) for value in sums.sum(axis=1) / counts.sum()]
    num_names = len(counts)
    if num_names < LEAST_NAMES:
        return [Estimate(value, None, None) for value in values]
    generator = np.random.default_rng(seed)
    ratios = np.empty((num_samples, len(sums)))
    for i in range(num_samples):
        rows = generator.integers(num_names, size=num_names)
        ratios[i] = sums[:, rows].sum(axis=1) / counts[rows].sum()
    low, high = np.percentile(ratios, [2.5, 97.5], axis=0)
    return [
        Estimate(value, float(lo), float(hi))
        for value, lo, hi in zip(values, low, high, strict=True)
    ]


def name_costs(model: NameModel, names: EncodedNames) -> pd.DataFrame:
    """What each name costs, in nats, its end and its unknown characters counted.

    Returns:
        A row a name: `model`, `networks` (without the n-gram), `ngram` (alone), `forgetful`
        (the networks, with a_{t-1} zeroed at every step), and `chars`, the name's events. If the
        names have categories also `unconditional`: the model, not told the name's category.
    """
    unknown = model.unknown_nats(names)
    alone = model.mixture.networks_alone()
    costs = pd.DataFrame(
        {
            "model": model.nats(names),
            "networks": alone.name_nats(names) + unknown,
            "ngram": model.mixture.ngram.name_nats(names) + unknown,
            "forgetful": alone.name_nats(names, forget=True) + unknown,
            "chars": names.lengths + 1,
        }
    )
    if model.vocabulary.categories:
        costs["unconditional"] = model.mixture.marginal_nats(names) + unknown
    return costs


def likelihoods(costs: pd.DataFrame, num_samples: int, seed: int) -> dict[str, float | None]:
    """How well held-out names are predicted; intervals as `_low` and `_high`.

    `perplexity` and the two after it are the model's, networks and n-gram mixed;
    `network_perplexity` is the networks' without the n-gram, and
    `baseline_perplexity` the n-gram's alone. In nats per character, and paired:
    `gain_nats` is what the model saves against the n-gram, `network_gain_nats` what
    the networks alone do, and `memory_gain_nats` what zeroing a_{t-1} at every step
    costs the networks. Only if the names have categories, `condition_gain_nats` is
    what the model saves by being told a name's category, against itself not told.

    Args:
        costs: Of held-out names, which nothing was chosen on; as `name_costs` gives them.
        num_samples: Bootstrap samples.
        seed: Start of the bootstrap.
    """
    mixed, networks, ngram = costs["model"], costs["networks"], costs["ngram"]
    quantities = np.stack(
        [mixed, networks, ngram, ngram - mixed, ngram - networks, costs["forgetful"] - networks]
    )  # (M, N)
    nats, network_nats, baseline_nats, gain, network_gain, memory_gain = bootstrap_ratios(
        quantities, costs["chars"].to_numpy(), num_samples, seed
    )
    estimates = {
        "perplexity": nats.map(exp),
        "bits_per_char": nats.map(lambda value: value / log(2)),
        "nats_per_char": nats,
        "network_perplexity": network_nats.map(exp),
        "baseline_perplexity": baseline_nats.map(exp),
        "gain_nats": gain,
        "network_gain_nats": network_gain,
        "memory_gain_nats": memory_gain,
    }
    if "unconditional" in costs:
        estimates["condition_gain_nats"] = _nats_and_condition_gain(costs, num_samples, seed)[1]
    figures: dict[str, float | None] = {}
    for name, estimate in estimates.items():
        figures[name] = estimate.value
        figures[f"{name}_low"] = estimate.low
        figures[f"{name}_high"] = estimate.high
    return figures


def _nats_and_condition_gain(costs: pd.DataFrame, num_samples: int, seed: int) -> list[Estimate]:
    mixed = costs["model"]
    quantities = np.stack([mixed, costs["unconditional"] - mixed])  # (2, N)
    return bootstrap_ratios(quantities, costs["chars"].to_numpy(), num_samples, seed)


def by_category(
    costs: pd.DataFrame, names: EncodedNames, vocabulary: Vocabulary, num_samples: int, seed: int
) -> list[dict[str, Any]]:
    """How well the held-out names of each category are predicted, and what knowing it saves.

    Args:
        costs: Of the names, as `name_costs` gives them.
        names: The names; those of a category that no training name has are left out.
        vocabulary: The categories.
        num_samples: Bootstrap samples.
        seed: Start of the bootstrap.

    Returns:
        For each category that has held-out names `category`, `names` (how many), `nats_per_char`
        and `condition_gain_nats`, each of these with `value`, `low` and `high`. Empty if the names
        have no categories.
    """
    rows = []
    for i, category in enumerate(vocabulary.categories):
        of_category = costs[names.categories == i]
        if len(of_category):
            nats, gain = _nats_and_condition_gain(of_category, num_samples, seed)
            rows.append(
                {
                    "category": category,
                    "names": len(of_category),
                    "nats_per_char": rounded(asdict(nats)),
                    "condition_gain_nats": rounded(asdict(gain)),
                }
            )
    return rows


def rounded(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Figures as they are written down: to four decimals."""
    return {name: value if value is None else round(value, 4) for name, value in figures.items()}


def exact_novelty(model: NameModel) -> float:
    """The probability that a drawn name is not a training name: 1 - Σ p(training name).

    Exact: no sampling is needed, and it does not depend on a number of samples. Where names have
    categories, they are drawn over all of them.
    """
    return float(1 - np.exp(-model.mixture.marginal_nats(model.train)).sum())


@dataclass(frozen=True)
class Drawn:
    """Names drawn for evaluation: temperature 1, nothing restricted or filtered out.

    Attributes:
        validity: Share of the first 10,000 draws that ended by themselves, are not
            empty, and would be kept unchanged if they stood on the list.
        truncated: Share of the first 10,000 draws cut off at the length limit.
        valid: The first valid names, 10,000 if the first 20,000 draws hold as many.
    """

    validity: float
    truncated: float
    valid: list[str]


def draw_for_evaluation(model: NameModel, seed: int) -> Drawn:
    """Draw the names that the sampled metrics are computed on."""
    drawing = Drawing(max_length=model.recipe.data.max_length)
    valid: list[str] = []
    num_valid = truncated = 0
    for i, sample in enumerate(islice(draw_samples(model.mixture, drawing, seed), 2 * SAMPLES)):
        name = model.valid_name(sample)
        if i < SAMPLES:
            num_valid += name is not None
            truncated += not sample.ended
        if name is not None:
            valid.append(name)
        if i + 1 >= SAMPLES and len(valid) >= SAMPLES:
            break
    return Drawn(num_valid / SAMPLES, truncated / SAMPLES, valid[:SAMPLES])


def uniqueness(valid: Sequence[str], k: int) -> float | None:
    """Different names among the first k valid ones, over k (MOSES, Polykovskiy 2020).

    None where there are fewer than k.
    """
    return len(set(valid[:k])) / k if len(valid) >= k else None


def sampled_novelty(valid: Sequence[str], train: Sequence[str]) -> float | None:
    """Different valid names not in train, over different valid names (MOSES).

    It grows with the number of samples, so that number belongs to its name.
    None where there is no valid name.
    """
    different = set(valid)
    return len(different - set(train)) / len(different) if different else None


def length_distribution(train: Sequence[str], drawn: Sequence[str]) -> pd.DataFrame:
    """Share of names of each length in characters: training names, drawn names."""

    def shares(names: Sequence[str]) -> pd.Series:
        lengths = pd.Series([len(characters(name)) for name in names], dtype=int)
        return lengths.value_counts(normalize=True)

    table = pd.DataFrame({"training": shares(train), "generated": shares(drawn)})
    table = table.reindex(range(1, int(table.index.max()) + 1)).fillna(0.0)
    return table.rename_axis("length").round(5).reset_index()


def names_to_show(model: NameModel, names: EncodedNames, costs: pd.DataFrame) -> list[str]:
    """A name that costs little a character, one in the middle, and one that costs much.

    Of those without unknown characters and short enough for a picture; if there is none, the
    shortest, and a training name where no held-out one will do.
    """
    order = np.argsort(costs["model"] / costs["chars"], kind="stable").to_numpy()
    known = [i for i in order if (names[i] < model.vocabulary.size).all()]
    if not known:
        return [model.vocabulary.decode(model.train[0])]
    drawable = [i for i in known if len(names[i]) <= LONGEST_SHOWN]
    if not drawable:
        drawable = [min(known, key=lambda i: len(names[i]))]
    chosen = dict.fromkeys([drawable[0], drawable[len(drawable) // 2], drawable[-1]])
    return [model.vocabulary.decode(names[i]) for i in chosen]


def evaluate(
    model: NameModel,
    costs: pd.DataFrame,
    num_bootstrap: int,
    seed: int,
) -> tuple[dict[str, float | None], pd.DataFrame]:
    """Every figure of metrics/evaluate.json, and the length distribution.

    Args:
        model: The trained model.
        costs: Of the test names, as `name_costs` gives them.
        num_bootstrap: Bootstrap samples for the intervals.
        seed: Start of the bootstrap and of the draws.
    """
    train = model.train.decode(model.vocabulary)
    drawn = draw_for_evaluation(model, seed)
    figures: dict[str, float | None] = {
        **likelihoods(costs, num_bootstrap, seed),
        "novelty": exact_novelty(model),
        "novelty_at_10k": (
            sampled_novelty(drawn.valid, train) if len(drawn.valid) == SAMPLES else None
        ),
        "uniqueness_at_1k": uniqueness(drawn.valid, 1_000),
        "uniqueness_at_10k": uniqueness(drawn.valid, SAMPLES),
        "validity": drawn.validity,
        "truncated": drawn.truncated,
    }
    return rounded(figures), length_distribution(train, drawn.valid)
