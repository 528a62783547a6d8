"""Cross-validation: every name of the list is held out once, so that few names say more."""

# k folds, N names

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from nomosaurus.errors import ListError
from nomosaurus.model.costs import event_costs, name_costs
from nomosaurus.model.mixture import fit_mixture
from nomosaurus.names.corpus import name_hash
from nomosaurus.names.dataset import Split
from nomosaurus.params import Recipe
from nomosaurus.training.loop import Task, Training
from nomosaurus.training.processes import member_tasks


def make_folds(
    names: Sequence[str], num_folds: int, key: str, categories: Mapping[str, str] | None = None
) -> list[Split]:
    """Hold out each k-th of different, normalised names in turn; the next is for validation.

    A name's k-th follows from its keyed hash, as its side in the pipeline does: with ten folds
    and tenths held out, the first fold is the pipeline's own split. k is at least 3.

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
        folds.append(Split.encode(sides, categories))
    return folds


def fold_tasks(folds: Sequence[Split], recipe: Recipe, device: torch.device) -> list[Task]:
    """The tasks of all networks of all folds, fold after fold."""
    return [
        task
        for fold in folds
        for task in member_tasks(fold.train, fold.validation, fold.vocabulary, recipe, device)
    ]


def held_out_costs(
    folds: Sequence[Split], trainings: Sequence[Training], recipe: Recipe
) -> pd.DataFrame:
    """What each name of the list costs the model that never saw it; as `name_costs`.

    The trainings are in the order of `fold_tasks`.
    """
    members = recipe.model.members
    costs = []
    for i, fold in enumerate(folds):
        of_fold = trainings[i * members : (i + 1) * members]
        networks = [training.network for training in of_fold]
        mixture = fit_mixture(networks, fold.train, fold.validation, recipe.model)
        costs.append(name_costs(event_costs(mixture, fold.vocabulary, fold.test)))
    return pd.concat(costs, ignore_index=True)
