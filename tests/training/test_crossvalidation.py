from itertools import chain

import numpy as np
import pytest
import torch
from conftest import FROZEN, params_with

from nomosaurus.errors import ListError
from nomosaurus.names.corpus import build_corpus, side_of
from nomosaurus.params import Recipe
from nomosaurus.training.crossvalidation import fold_tasks, held_out_costs, make_folds
from nomosaurus.training.processes import train_networks

DINOSAURS = build_corpus(params_with(data={"path": str(FROZEN / "dinosaurs.csv")}).data).names()


def decoded(fold, side: str) -> list[str]:
    names = getattr(fold, side)
    known = ["", *fold.vocabulary.characters, "?"]
    return ["".join(known[i] for i in names[row]) for row in range(len(names))]


@pytest.mark.parametrize("num_folds", [3, 10])
def test_every_name_is_held_out_once_and_on_one_side_of_each_fold(num_folds):
    names = [name + ending for name in DINOSAURS for ending in ("", " ii", " iii", " iv")]
    folds = make_folds(names, num_folds, "key")
    assert len(folds) == num_folds
    held_out = [name for fold in folds for name in decoded(fold, "test")]
    assert sorted(held_out) == sorted(names)
    for fold in folds:
        sides = [decoded(fold, side) for side in ("train", "validation", "test")]
        assert sorted(chain(*sides)) == sorted(names)
        assert min(map(len, sides)) > 0.7 * len(names) / num_folds


def test_the_first_of_ten_folds_is_the_pipelines_own_split():
    params = params_with().data
    first = make_folds(DINOSAURS, 10, params.split_key)[0]
    for side in ("train", "validation", "test"):
        names = [name for name in DINOSAURS if side_of(name, params) == side]
        assert decoded(first, side) == names


def test_the_vocabulary_is_of_the_names_to_learn_alone():
    names = [*DINOSAURS[:200], "ñandú"]
    folds = make_folds(names, 5, "key")
    without = [fold for fold in folds if "ñandú" not in decoded(fold, "train")]
    assert len(without) == 2  # where it is tested, and where it is for validation
    for fold in without:
        assert "ñ" not in fold.vocabulary.characters


def test_categories_go_along_with_the_names():
    categories = {name: name[0] for name in DINOSAURS}
    for fold in make_folds(DINOSAURS, 5, "key", categories):
        known = fold.vocabulary.categories
        assert known == tuple(sorted({name[0] for name in decoded(fold, "train")}))
        for side in ("train", "validation", "test"):
            wanted = [name[0] for name in decoded(fold, side)]
            ids = getattr(fold, side).categories
            assert [[*known, None][i] for i in ids] == [c if c in known else None for c in wanted]


def test_too_few_names_for_the_folds_are_refused():
    with pytest.raises(ListError, match="3 names are too few for 10 folds"):
        make_folds(["ana", "bela", "abel"], 10, "key")


def test_each_name_is_scored_by_the_fold_that_held_it_out():
    params = params_with(
        model={"hidden_size": 4, "members": 2},
        train={"max_epochs": 1, "learning_rate": 1e-9, "average_decay": 0.5},
    )
    recipe = Recipe.for_list(params, 100)
    folds = make_folds(DINOSAURS[:120], 3, "key")
    tasks = fold_tasks(folds, [recipe], torch.device("cpu"))
    assert len(tasks) == 3 * 2
    assert len({task.seed for task in tasks}) == 2  # the folds differ in names, not in seeds
    costs = held_out_costs(folds, train_networks(tasks, num_jobs=1), [recipe])
    lengths = [len(name) + 1 for fold in folds for name in decoded(fold, "test")]
    assert costs["chars"].tolist() == lengths
    # A network that learnt nothing finds all characters alike.
    per_char = costs["networks"] / costs["chars"]
    sizes = np.concatenate([np.full(len(fold.test), fold.vocabulary.size) for fold in folds])
    known = [
        set(name) <= set(fold.vocabulary.characters)
        for fold in folds
        for name in decoded(fold, "test")
    ]
    np.testing.assert_allclose(per_char[known], np.log(sizes[known]), atol=0.1)
    assert (costs["ngram"].sum() / costs["chars"].sum()) < 2.6
    assert costs["model"].sum() < costs["networks"].sum()
