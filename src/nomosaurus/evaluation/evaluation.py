"""Likelihood, novelty and the rest, each with its definition and its interval.

Likelihoods count letters and the end of each name, corpus sum over corpus count. Intervals are
over names. What speaks of the model alone (`novelty`), or of many draws as one set
(`uniqueness_at_1k` and `_10k`, `novelty_at_10k`: names drawn again would repeat), has none.
"""

# N names, P events of all names, M quantities compared on the same names

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, log
from typing import Any

import numpy as np
import pandas as pd

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.calibration import calibration
from nomosaurus.evaluation.distances import distances_from_training
from nomosaurus.evaluation.drawn import (
    draw_for_evaluation,
    nearest_distance,
    sampled_novelty,
    uniqueness,
)
from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.model.base import Base
from nomosaurus.model.costs import event_costs, name_costs, row_costs, unknown_nats
from nomosaurus.model.trained import TrainedModel
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary

RECALLED = {
    "recall_at_1k": 10**3,
    "recall_at_10k": 10**4,
    "recall_at_100k": 10**5,
    "recall_at_1m": 10**6,
}
"""Draws that each recall speaks of."""
IN_SHORT = ("perplexity", "gain_nats", "condition_gain_nats")
"""The figures whose intervals are in metrics/evaluate.json too."""
LONGEST_SHOWN = 16  # characters of a name that is drawn step by step


def likelihoods(costs: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """How well held-out names are predicted.

    `perplexity` and the two after it are the model's, networks and n-gram mixed;
    `network_perplexity` is the networks' without the n-gram, and
    `baseline_perplexity` the n-gram's alone. In nats per character, and paired:
    `gain_nats` is what the model saves against the n-gram, `network_gain_nats` what
    the networks alone do, and `memory_gain_nats` what zeroing a_{t-1} at every step
    costs the networks. Only if the names have categories, `condition_gain_nats` is
    what the model saves by being told a name's category, against itself not told. Only if they
    have weights, `weighted_perplexity` and `weighted_gain_nats` count each name by its own.

    Args:
        costs: Of held-out names, which nothing was chosen on; as `name_costs` gives them.
        bootstrap: For the intervals.
    """
    mixed, networks, ngram = costs["model"], costs["networks"], costs["ngram"]
    quantities = np.stack(
        [mixed, networks, ngram, ngram - mixed, ngram - networks, costs["forgetful"] - networks]
    )  # (M, N)
    nats, network_nats, baseline_nats, gain, network_gain, memory_gain = bootstrap.ratios(
        quantities, costs["chars"].to_numpy()
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
        estimates["condition_gain_nats"] = _nats_and_condition_gain(costs, bootstrap)[1]
    weights = costs["weight"].to_numpy()
    if not np.allclose(weights, 1):
        nats, gain = bootstrap.ratios(
            np.stack([mixed, ngram - mixed]) * weights, costs["chars"].to_numpy() * weights
        )
        estimates |= {"weighted_perplexity": nats.map(exp), "weighted_gain_nats": gain}
    return estimates


def _nats_and_condition_gain(costs: pd.DataFrame, bootstrap: Bootstrap) -> list[Estimate]:
    mixed = costs["model"]
    quantities = np.stack([mixed, costs["unconditional"] - mixed])  # (2, N)
    return bootstrap.ratios(quantities, costs["chars"].to_numpy())


def by_category(
    costs: pd.DataFrame, names: EncodedNames, vocabulary: Vocabulary, bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """How well the held-out names of each category are predicted, and what knowing it saves.

    Args:
        costs: Of the names, as `row_costs` gives them.
        names: The names; those of a category that no training name has are left out.
        vocabulary: The categories.
        bootstrap: For the intervals.

    Returns:
        For each category that has held-out names `category`, `names` (how many), `nats_per_char`
        and `condition_gain_nats`, each of these with `value`, `low` and `high`. Empty if the names
        have no categories.
    """
    rows = []
    for i, category in enumerate(vocabulary.categories):
        of_category = costs[names.categories == i]
        if len(of_category):
            estimates = _nats_and_condition_gain(of_category, bootstrap)
            nats, gain = (
                _rounded({key: getattr(estimate, key) for key in ("value", "low", "high")})
                for estimate in estimates
            )
            rows.append(
                {
                    "category": category,
                    "names": len(of_category),
                    "nats_per_char": nats,
                    "condition_gain_nats": gain,
                }
            )
    return rows


def flat(
    estimates: Mapping[str, Estimate], with_interval: Collection[str]
) -> dict[str, float | None]:
    """Values by name, to four decimals; of some also the interval, as `_low` and `_high`."""
    figures: dict[str, float | None] = {}
    for name, estimate in estimates.items():
        parts = asdict(estimate)
        figures[name] = parts["value"]
        if name in with_interval:
            figures |= {f"{name}_{end}": parts[end] for end in ("low", "high")}
    return _rounded(figures)


def _rounded(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {
        name: value if value is None else round(value, 4) + 0.0  # never -0.0
        for name, value in figures.items()
    }


def draw_log_probs(model: TrainedModel, names: EncodedNames, nats: np.ndarray) -> np.ndarray:
    """Log-probability that a draw, over all categories, is just this name; shape (N,).

    No draw has an unknown character: where there is one it is -inf, and the unknown event
    takes no share of the other steps.

    Args:
        model: The model.
        names: The names.
        nats: What each costs a model that is not told its category, unknown events included;
            shape (N,).
    """
    has_unknown = names.sum_by_name(names.targets == model.vocabulary.unknown_id) > 0
    return np.where(has_unknown, -np.inf, unknown_nats(names, model.vocabulary) - nats)


def exact_novelty(train_log_probs: np.ndarray) -> float:
    """The probability that a drawn name is not a training name: 1 - Σ p(training name).

    Exact: no sampling is needed, and it does not depend on a number of samples.

    Args:
        train_log_probs: Of being drawn, as `draw_log_probs` gives them; shape (N,).
    """
    return float(1 - np.exp(train_log_probs).sum())


def recall(test_log_probs: np.ndarray, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """The share of held-out names found by so many draws, on average: mean of 1 - (1 - p)^n.

    Arús-Pous et al. (2019) count what samples recover of a database; here p, the probability
    of being drawn, is known, so nothing is sampled. The denominator is all held-out names;
    every draw counts, valid or not.

    Args:
        test_log_probs: Of being drawn, as `draw_log_probs` gives them; shape (N,).
        bootstrap: For the intervals.
    """
    with np.errstate(divide="ignore"):  # log1p(-1) is -inf where a name is certain
        log_missed = np.log1p(-np.exp(test_log_probs))  # (N,)
    found = np.stack([-np.expm1(n * log_missed) for n in RECALLED.values()])  # (M, N)
    estimates = bootstrap.ratios(found, np.ones(len(test_log_probs)))
    return dict(zip(RECALLED, estimates, strict=True))


def memorisation(
    train_log_probs: np.ndarray, test_log_probs: np.ndarray, bootstrap: Bootstrap
) -> Estimate:
    """Mean p(training name) / mean p(held-out name), p of being drawn; 1 is none.

    How many times likelier a draw hits a given name because it was learnt. p spans many orders
    of magnitude, so a few names, the shortest, make both means, and the interval is wide;
    `generalisation_gap_nats` looks at all names alike. The interval is over held-out names;
    the training names are all there are. None if no held-out name can be drawn, or only with a
    probability that is next to nothing beside the likeliest name's.

    Args:
        train_log_probs: As `draw_log_probs` gives them; shape (training names,).
        test_log_probs: The same of the held-out names, shape (N,).
        bootstrap: For the intervals.
    """
    # In units of the likeliest name, so that the probabilities of long names are not 0.
    highest = max(train_log_probs.max(), test_log_probs.max())
    train_mean = np.exp(train_log_probs - highest).mean()
    test = np.exp(test_log_probs - highest)  # (N,)
    (ratio,) = bootstrap.ratios(np.full((1, len(test)), train_mean), test)
    return ratio


def generalisation_gap(costs: pd.DataFrame, train_nats: float, bootstrap: Bootstrap) -> Estimate:
    """Nats per character on held-out names minus those on the training names; 0 is none.

    The interval is over held-out names; the training names are all there are.

    Args:
        costs: Of the held-out names, as `name_costs` gives them.
        train_nats: Of the training names, corpus sum over corpus count.
        bootstrap: For the intervals.
    """
    chars = costs["chars"].to_numpy()
    extra = costs["model"].to_numpy() - train_nats * chars  # (N,)
    (gap,) = bootstrap.ratios(extra[None], chars)
    return gap


def length_distribution(sides: Mapping[str, EncodedNames]) -> pd.DataFrame:
    """Share of names of each length in characters, a column a side."""
    shares = {
        side: pd.Series(names.lengths).value_counts(normalize=True) for side, names in sides.items()
    }
    table = pd.DataFrame(shares)
    table = table.reindex(range(1, int(table.index.max()) + 1)).fillna(0.0)
    return table.rename_axis("length").reset_index()


def bits_by_position(events: pd.DataFrame) -> pd.DataFrame:
    """Mean bits at each position, of the model, its networks alone and the n-gram alone.

    Args:
        events: As `event_costs` gives them.

    Returns:
        A row a position, from 1: how many `names` have a character or their end there, and the
        means over them.
    """
    by_position = events.groupby("position")
    bits = by_position[["model", "networks", "ngram"]].mean() / log(2)
    bits.insert(0, "names", by_position.size())
    return bits.reset_index()


def ngram_distances(distances: Mapping[str, Estimate]) -> pd.DataFrame:
    """A row for each n: the distance of generated names, its interval, and held-out names' own.

    Args:
        distances: As `distances_from_training` gives them.
    """
    rows = [{"n": n, **asdict(distances[f"js_{n}gram"])} for n in (1, 2, 3)]
    return pd.DataFrame(rows).rename(columns={"value": "generated", "floor": "held_out"})


def names_to_show(model: TrainedModel, names: EncodedNames, costs: pd.DataFrame) -> list[str]:
    """A name that costs little a character, one in the middle, and one that costs much.

    Of those without unknown characters and short enough for a picture; if there is none, the
    shortest, and a training name where no held-out one will do.
    """
    order = np.argsort((costs["model"] / costs["chars"]).to_numpy(), kind="stable")
    known = [i for i in order if (names[i] < model.vocabulary.size).all()]
    if not known:
        return [model.vocabulary.decode(model.train[0])]
    drawable = [i for i in known if len(names[i]) <= LONGEST_SHOWN]
    if not drawable:
        drawable = [min(known, key=lambda i: len(names[i]))]
    chosen = dict.fromkeys([drawable[0], drawable[len(drawable) // 2], drawable[-1]])
    return [model.vocabulary.decode(names[i]) for i in chosen]


@dataclass(frozen=True)
class Evaluation:
    """All that is found of a model on the test names.

    Attributes:
        figures: Every metric, by its name.
        costs: What each test name costs, as `name_costs` gives it.
        tables: What is drawn, by name: `lengths`, `ngrams`, `calibration`, `positions`.
        categories: As `by_category` gives them.
    """

    figures: dict[str, Estimate]
    costs: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    categories: list[dict[str, Any]]

    def in_short(self) -> dict[str, float | None]:
        """For metrics/evaluate.json: values, and the intervals that comparisons need."""
        return flat(self.figures, IN_SHORT)

    def in_detail(self) -> dict[str, Any]:
        """For metrics/evaluate_details.json: every figure with its interval and floor."""
        figures = {name: _rounded(asdict(estimate)) for name, estimate in self.figures.items()}
        return {"figures": figures, "categories": self.categories}


@dataclass(frozen=True)
class Familiar:
    """What the base that a model started from had learnt, and the list holds too.

    Attributes:
        base: The base.
        test: Test names that it had learnt, so that no other figure counts them.
    """

    base: Base
    test: EncodedNames

    def figures(
        self, model: TrainedModel, costs: pd.DataFrame, new: Sequence[str], bootstrap: Bootstrap
    ) -> dict[str, Estimate]:
        """The perplexity with these test names, and how many drawn names the base had learnt.

        Args:
            model: The model.
            costs: Of the other test names, as `name_costs` gives them.
            new: Different drawn names that are no training names.
            bootstrap: For the interval.
        """
        figures = {}
        if len(self.test):
            events = event_costs(model.mixture, model.vocabulary, self.test)
            own = name_costs(events, self.test)
            both = pd.concat([costs, own], ignore_index=True)
            (nats,) = bootstrap.ratios(both[["model"]].to_numpy().T, both["chars"].to_numpy())
            figures["perplexity_with_familiar"] = nats.map(exp)
        if new:
            figures["familiar_at_10k"] = Estimate(float(self.base.knows(new).mean()))
        return figures


def evaluate(
    model: TrainedModel,
    test: EncodedNames,
    bootstrap: Bootstrap,
    familiar: Familiar | None = None,
) -> Evaluation:
    """Score the test names, and compare drawn names with them and with the training names.

    Args:
        model: The trained model.
        test: Names that it never saw, and that nothing was chosen on.
        bootstrap: For the intervals; names are drawn from its seed too.
        familiar: If it started from a base.
    """
    train, vocabulary = model.train.distinct(), model.vocabulary
    events = event_costs(model.mixture, vocabulary, test)
    costs = name_costs(events, test)
    categories = by_category(row_costs(events), test, vocabulary, bootstrap)
    test = test.distinct()
    train_nats = model.train.mean_by_name(model.nats(model.train))
    untold_nats, untold_costs = train_nats, costs["model"]
    if vocabulary.categories:
        untold_nats = model.mixture.marginal_nats(train) + unknown_nats(train, vocabulary)
        untold_costs = costs["unconditional"]
    train_log_probs = draw_log_probs(model, train, untold_nats)
    test_log_probs = draw_log_probs(model, test, untold_costs.to_numpy())
    drawn = draw_for_evaluation(model, bootstrap.seed)
    num_drawn = len(drawn.is_valid)
    validity, truncated = bootstrap.ratios(
        np.stack([drawn.is_valid, drawn.is_truncated]), np.ones(num_drawn)
    )
    valid = EncodedNames.from_names(drawn.valid, vocabulary)
    learnt = set(train.decode(vocabulary))
    new_names = [name for name in dict.fromkeys(drawn.valid) if name not in learnt]
    new = EncodedNames.from_names(new_names, vocabulary)
    ece, reliability = calibration(events, bootstrap)
    distances = distances_from_training(train, valid, test, vocabulary.size, bootstrap)
    figures = {
        **likelihoods(costs, bootstrap),
        "generalisation_gap_nats": generalisation_gap(
            costs, train_nats.sum() / train.num_events, bootstrap
        ),
        "memorisation": memorisation(train_log_probs, test_log_probs, bootstrap),
        "novelty": Estimate(exact_novelty(train_log_probs)),
        "novelty_at_10k": Estimate(sampled_novelty(drawn.valid, learnt, num_drawn)),
        "uniqueness_at_1k": Estimate(uniqueness(drawn.valid, 1_000)),
        "uniqueness_at_10k": Estimate(uniqueness(drawn.valid, num_drawn)),
        "validity": validity,
        "truncated": truncated,
        **recall(test_log_probs, bootstrap),
        "nearest_distance": nearest_distance(model, new, test, bootstrap),
        **distances,
        "calibration_error": ece,
        **(familiar.figures(model, costs, new_names, bootstrap) if familiar else {}),
    }
    sides = {"training": train, "held_out": test, "generated": valid}
    tables = {
        "lengths": length_distribution(sides),
        "ngrams": ngram_distances(distances),
        "calibration": reliability,
        "positions": bits_by_position(events),
    }
    tables = {name: table.round(5) for name, table in tables.items()}
    return Evaluation(figures, costs, tables, categories)
