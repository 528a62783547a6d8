"""Cross-validation: every name of the list is held out once, so that few names say more."""

# k folds, N names

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from nomosaurus.errors import ListError
from nomosaurus.model.costs import event_costs, name_costs
from nomosaurus.model.mixture import fit_mixture
from nomosaurus.names.corpus import name_hash
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Recipe
from nomosaurus.training.loop import Task, Training
from nomosaurus.training.processes import member_tasks


@dataclass(frozen=True)
class Fold:
    """One way to hold names out.

    Attributes:
        vocabulary: The characters and categories of train.
        train, validation, test: The encoded names of each side.
    """

    vocabulary: Vocabulary
    train: EncodedNames
    validation: EncodedNames
    test: EncodedNames


def make_folds(
    names: Sequence[str], num_folds: int, key: str, categories: Mapping[str, str] | None = None
) -> list[Fold]:
    """Hold out each k-th of the names in turn; the k-th after it is for validation.

    A name's k-th follows from its keyed hash, as its side in the pipeline does: with ten folds
    and tenths held out, the first fold is the pipeline's own split.

    Args:
        names: Different, normalised names.
        num_folds: k, at least 3.
        key: Of the hash.
        categories: Of each name, if the list has any.

    Raises:
        ListError: If there are too few names for every k-th to hold one.
    """
    part = np.array([int(name_hash(name, key) / 2**64 * num_folds) for name in names])  # (N,)
    if len(np.unique(part)) < num_folds:
        raise ListError(
            f"{len(names)} names are too few for {num_folds} folds: one of them would hold no "
            "name; lower crossvalidate.folds"
        )
    folds = []
    for i in range(num_folds):
        is_test, is_validation = part == i, part == (i + 1) % num_folds
        sides = [
            [name for name, chosen in zip(names, side, strict=True) if chosen]
            for side in (~(is_test | is_validation), is_validation, is_test)
        ]
        vocabulary = Vocabulary.from_names(sides[0], categories)
        encoded = (EncodedNames.from_names(side, vocabulary, categories) for side in sides)
        folds.append(Fold(vocabulary, *encoded))
    return folds


def fold_tasks(folds: Sequence[Fold], recipe: Recipe, device: torch.device) -> list[Task]:
    """The tasks of all networks of all folds, fold after fold."""
    return [
        task
        for fold in folds
        for task in member_tasks(fold.train, fold.validation, fold.vocabulary, recipe, device)
    ]


def held_out_costs(
    folds: Sequence[Fold], trainings: Sequence[Training], recipe: Recipe
) -> pd.DataFrame:
    """What each name of the list costs the model that never saw it; as `name_costs`.

    Args:
        folds: As `make_folds` gives them.
        trainings: Of their tasks, in the same order.
        recipe: The params that all follow from.
    """
    members = recipe.model.members
    costs = []
    for i, fold in enumerate(folds):
        of_fold = trainings[i * members : (i + 1) * members]
        networks = [training.network for training in of_fold]
        mixture = fit_mixture(networks, fold.train, fold.validation, recipe.model)
        costs.append(name_costs(event_costs(mixture, fold.vocabulary, fold.test)))
    return pd.concat(costs, ignore_index=True)
