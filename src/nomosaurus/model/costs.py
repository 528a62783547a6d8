"""What names and their characters cost a model, in nats, and what it expected instead."""

# N names, P events of all names (letters and ends, name after name)

import numpy as np
import pandas as pd

from nomosaurus.model.mixture import NETWORKS_ALONE, NGRAM_ALONE, Mixture, mix, target_log_probs
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary

SIDES = ("model", "networks", "ngram", "forgetful", "unconditional")
"""Who a name may cost something; `event_costs` says what each is."""


def unknown_event_nats(names: EncodedNames, vocabulary: Vocabulary) -> np.ndarray:
    """What the unknown event adds to the nats of each letter and end; shape (P,)."""
    is_unknown = (names.targets == vocabulary.unknown_id).astype(float)  # (P,)
    return vocabulary.unknown_nats(1 - is_unknown, is_unknown)


def unknown_nats(names: EncodedNames, vocabulary: Vocabulary) -> np.ndarray:
    """What the unknown event adds to the nats of each name; shape (N,)."""
    return names.sum_by_name(unknown_event_nats(names, vocabulary))


def event_costs(mixture: Mixture, vocabulary: Vocabulary, names: EncodedNames) -> pd.DataFrame:
    """What each letter, end and unknown character costs, in nats, and what was expected.

    The unknown event has its share of every step (`Vocabulary.unknown_nats`), and is what the
    model expects where that share is the largest.

    Returns:
        A row an event: `name`, its row; `position`, from 1; the cost to the `model`, the
        `networks` (without the n-gram), the `ngram` (alone) and the `forgetful` (the networks,
        with a_{t-1} zeroed at every step); `confidence`, the probability of the character that
        the model finds likeliest; and whether it is `correct`, the one that came. If the names
        have categories, also the cost `unconditional` to the model that is not told a name's.
    """
    of_unknown = unknown_event_nats(names, vocabulary)  # (P,)
    weights = {"model": mixture.ngram_weight, "networks": NETWORKS_ALONE, "ngram": NGRAM_ALONE}
    costs = {side: of_unknown.copy() for side in weights}
    confidence = np.empty(names.num_events)
    likeliest = np.empty(names.num_events, dtype=np.int64)
    for places, targets, parts in mixture.event_parts(names):
        for side, weight in weights.items():
            costs[side][places] -= target_log_probs(parts, weight, targets)
        log_prob, ids = mix(parts, mixture.ngram_weight).max(dim=1)  # (E,)
        confidence[places] = log_prob.exp().numpy() * (1 - vocabulary.unknown_mass)
        likeliest[places] = ids.numpy()
    likeliest[confidence < vocabulary.unknown_mass] = vocabulary.unknown_id
    alone = mixture.networks_alone()
    costs["forgetful"] = of_unknown - alone.event_log_probs(names, forget=True)
    if vocabulary.categories:
        untold = names.with_category(vocabulary.num_categories)
        costs["unconditional"] = of_unknown - mixture.event_log_probs(untold)
        # Of a category that no training name has, only the sum over all categories is right.
        strange = np.flatnonzero(names.categories == vocabulary.num_categories)
        events = np.isin(names.event_rows, strange)  # (P,)
        costs["model"][events] = costs["unconditional"][events]
        untold_networks = alone.event_log_probs(names.select(strange))
        costs["networks"][events] = of_unknown[events] - untold_networks
    return pd.DataFrame(
        {
            "name": names.event_rows,
            "position": names.event_places + 1,
            **costs,
            "confidence": np.maximum(confidence, vocabulary.unknown_mass),
            "correct": likeliest == names.targets,
        }
    )


def row_costs(events: pd.DataFrame) -> pd.DataFrame:
    """The sums of `event_costs` over each of its names, and the number of events, `chars`."""
    by_name = events.groupby("name")
    costs = by_name[[side for side in SIDES if side in events]].sum()
    return costs.assign(chars=by_name.size()).reset_index(drop=True)


def name_costs(events: pd.DataFrame, names: EncodedNames) -> pd.DataFrame:
    """The same for each distinct name: means over its categories, and its `weight`."""
    rows = row_costs(events)
    costs = {key: names.mean_by_name(rows[key].to_numpy()) for key in rows}
    return pd.DataFrame(costs | {"weight": names.distinct().weights})
