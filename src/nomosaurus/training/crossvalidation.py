"""Cross-validation: every name of the list is held out once, so that few names say more."""

# k folds, N names

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from nomosaurus.errors import ListError
from nomosaurus.model.base import Base
from nomosaurus.model.costs import event_costs, name_costs
from nomosaurus.names.corpus import name_hash
from nomosaurus.names.dataset import Split
from nomosaurus.params import Recipe
from nomosaurus.training.loop import Task, Training
from nomosaurus.training.starts import best_of, fit_all, tasks_to_try


def make_folds(
    names: Sequence[str],
    num_folds: int,
    key: str,
    categories: Mapping[str, Sequence[str]] | None = None,
    base: Base | None = None,
    weights: Mapping[str, float] | None = None,
) -> list[Split]:
    """Hold out each k-th of different, normalised names in turn; the next is for validation.

    Names that the base has learnt are not held out: they are on no side then.

    A name's k-th follows from its keyed hash, as its side in the pipeline does: with ten folds
    and tenths held out, the first fold is the pipeline's own split. k is at least 3.

    Raises:
        ListError: If there are too few names for every k-th to hold one.
    """
    part = np.array([int(name_hash(name, key) / 2**64 * num_folds) for name in names])  # (N,)
    familiar = base.knows(names) if base else np.zeros(len(names), dtype=bool)  # (N,)
    if len(np.unique(part[~familiar])) < num_folds:
        raise ListError(
            f"{len(names) - familiar.sum()} names are too few for {num_folds} folds: one of them "
            "would hold no name; lower crossvalidate.folds"
        )
    folds = []
    for i in range(num_folds):
        is_test, is_validation = part == i, part == (i + 1) % num_folds
        parts = (
            ~(is_test | is_validation),
            is_validation & ~familiar,
            is_test & ~familiar,
            is_test & familiar,
        )
        sides = [
            [name for name, chosen in zip(names, side, strict=True) if chosen] for side in parts
        ]
        folds.append(Split.encode(sides, categories, weights))
    return folds


def fold_tasks(
    folds: Sequence[Split],
    recipes: Sequence[Recipe],
    device: torch.device,
    base: Base | None = None,
) -> list[Task]:
    """The tasks of all networks of all folds, fold after fold; in each, recipe after recipe."""
    return [
        task
        for fold in folds
        for task in tasks_to_try(
            recipes, fold.train, fold.validation, fold.vocabulary, device, base
        )
    ]


def held_out_costs(
    folds: Sequence[Split], trainings: Sequence[Training], recipes: Sequence[Recipe]
) -> pd.DataFrame:
    """What each name of the list costs the model that never saw it; as `name_costs`.

    The trainings are in the order of `fold_tasks`. In each fold the validation names choose
    between the recipes.
    """
    of_fold = sum(recipe.model.members for recipe in recipes)
    costs = []
    for i, fold in enumerate(folds):
        own = trainings[i * of_fold : (i + 1) * of_fold]
        best = best_of(fit_all(recipes, own, fold.train, fold.validation))
        costs.append(name_costs(event_costs(best.mixture, fold.vocabulary, fold.test), fold.test))
    return pd.concat(costs, ignore_index=True)
