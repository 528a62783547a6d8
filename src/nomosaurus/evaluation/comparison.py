"""Two models on the same held-out names, name by name."""

# N test names

import hashlib

import numpy as np

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.estimate import Comparison
from nomosaurus.model.trained import TrainedModel
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary

UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def compare(
    challenger: TrainedModel,
    champion: TrainedModel,
    test: EncodedNames,
    bootstrap: Bootstrap,
) -> Comparison:
    """Both models on the same test names, by a paired bootstrap over names.

    A name's category is given to both models or, where one does not know it, to neither.

    Args:
        challenger: Whose vocabulary `test` is encoded with.
        champion: A character that the challenger's vocabulary lacks is unknown to it too.
        test: Held-out names.
        bootstrap: For the interval of the gain.
    """
    models = (challenger, champion)
    names = decoded(test, challenger.vocabulary)
    known = dict(enumerate(challenger.vocabulary.categories))
    both = set(known.values()) & set(champion.vocabulary.categories)
    categories: dict[str, list[str]] = {}
    for name, i in zip(names, test.categories.tolist(), strict=True):
        if known.get(i) in both:
            categories.setdefault(name, []).append(known[i])
    distinct = decoded(test.distinct(), challenger.vocabulary)
    encoded = [EncodedNames.from_names(distinct, m.vocabulary, categories) for m in models]
    challenger_nats, champion_nats = (
        of_model.mean_by_name(model.nats(of_model))
        for model, of_model in zip(models, encoded, strict=True)
    )  # (N,) each
    chars = encoded[0].distinct().lengths + 1
    (gain,) = bootstrap.ratios((champion_nats - challenger_nats)[None], chars)
    return Comparison(
        len(distinct),
        float(challenger_nats.sum() / chars.sum()),
        float(champion_nats.sum() / chars.sum()),
        gain,
    )


def num_learnt(models: list[TrainedModel], test: list[str]) -> int:
    """How many test names are among those that one of the models learnt from."""
    learnt = {name for model in models for name in model.train.decode(model.vocabulary)}
    return len(learnt & set(test))


def decoded(names: EncodedNames, vocabulary: Vocabulary) -> list[str]:
    """Names as text, with a replacement character for each that the vocabulary lacks."""
    table = np.array(["", *vocabulary.characters, UNKNOWN], dtype=object)
    return ["".join(table[names[i]]) for i in range(len(names))]


def names_sha256(names: list[str]) -> str:
    """Hexadecimal SHA-256 of a list of names, whatever their order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
