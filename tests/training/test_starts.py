"""Starting from a base: both ways are trained, and the validation names choose."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import REPOSITORY, params_with

from nomosaurus.model.base import load_base
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.names.dataset import Split
from nomosaurus.training.checkpoint import Checkpoints
from nomosaurus.training.crossvalidation import fold_tasks, held_out_costs, make_folds
from nomosaurus.training.processes import train_networks
from nomosaurus.training.starts import best_of, fit_all, recipes_to_try, tasks_to_try

STARTS = ("north", "south", "wood", "ash", "mill", "stone", "green", "kings", "black", "white")
ENDS = ("ford", "bury", "ham", "wick")
TOWNS = [f"{start}{end}" for start in STARTS for end in ENDS]
SIDES = (TOWNS[::2], TOWNS[1::4], TOWNS[3::4], [])
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base():
    return load_base(REPOSITORY / "models/base.safetensors")


def params(**train):
    quick = {"max_epochs": 3, "batch_size": 8, "learning_rate": "auto"}
    model = {"hidden_size": "auto", "members": 1, "dropout": "auto", "state_dropout": "auto"}
    return params_with(model=model | {"cell": "lstm"}, train=quick | train)


def trained(values, base, sides=SIDES):
    split = Split.encode(sides)
    recipes = recipes_to_try(values, len(split.train), base)
    tasks = tasks_to_try(recipes, split.train, split.validation, split.vocabulary, CPU, base)
    trainings = train_networks(tasks, num_jobs=1)
    outcomes = fit_all(recipes, trainings, split.train, split.validation)
    losses = {fitted.recipe.train.start: fitted.validation_nats for fitted in outcomes}
    return best_of(outcomes), losses


def test_both_ways_are_tried_and_the_better_one_is_kept(base):
    best, losses = trained(params(), base)
    assert best.recipe.train.start == "base"
    assert best.recipe.model.hidden_size == base.params.hidden_size
    assert losses["base"] == best.validation_nats < losses["fresh"] - 0.1


def test_a_base_that_helps_nothing_is_not_kept(base):
    noise = RecurrentNetwork(base.params, len(base.characters) + 1)
    with torch.no_grad():
        for parameter in noise.parameters():
            parameter.normal_(std=3, generator=torch.Generator().manual_seed(1))
    best, losses = trained(params(), replace(base, networks=[noise]))
    assert best.recipe.train.start == "fresh"
    assert losses["fresh"] == best.validation_nats < losses["base"]


@pytest.mark.parametrize(("start", "tried"), [("base", ["base"]), ("auto", ["base", "fresh"])])
def test_what_is_tried_with_a_base(base, start, tried):
    recipes = recipes_to_try(params(start=start), 20, base)
    assert [recipe.train.start for recipe in recipes] == tried


def test_without_a_base_a_start_is_fresh():
    (recipe,) = recipes_to_try(params(), 20, None)
    assert recipe.train.start == "fresh"
    assert recipe.model.hidden_size == 192


def test_another_base_is_another_training_run(base, tmp_path):
    split = Split.encode(SIDES)
    recipes = recipes_to_try(params(start="base"), 20, base)

    def fingerprint(base):
        tasks = tasks_to_try(recipes, split.train, split.validation, split.vocabulary, CPU, base)
        return Checkpoints(tmp_path, "train", tasks).fingerprint

    before = fingerprint(base)
    assert fingerprint(base) == before
    base.networks[0].b_y.data[5] += 1
    try:
        assert fingerprint(base) != before
    finally:
        base.networks[0].b_y.data[5] -= 1


def test_no_fold_holds_out_a_name_that_the_base_has_learnt(base):
    names = [*TOWNS, "maría", "london", "madrid"]
    assert base.knows(names)[-3:].all()
    known = set(names) & {name for name in names if base.knows([name])[0]}
    folds = make_folds(names, 4, "nomosaurus", base=base)
    held_out = [name for fold in folds for name in fold.test.decode(fold.vocabulary)]
    assert sorted(held_out) == sorted(set(names) - known)
    for fold in folds:
        validation = fold.validation.decode(fold.vocabulary)
        assert not known & set(validation)
    recipes = recipes_to_try(params(max_epochs=1), 20, base)
    tasks = fold_tasks(folds, recipes, CPU, base)
    costs = held_out_costs(folds, train_networks(tasks, num_jobs=1), recipes)
    assert len(costs) == len(held_out)


def test_the_card_of_the_shipped_base_has_its_figures():
    figures = json.loads((REPOSITORY / "metrics/base.json").read_text("utf-8"))
    card = (REPOSITORY / "docs/base.md").read_text("utf-8")
    path = REPOSITORY / "models/base.safetensors"
    assert path.stat().st_size == figures["base_bytes"] < 4 * 2**20
    for key in ("people", "places", "words"):
        assert f"{figures[f'base_names_{key}']:,}" in card
    assert f"{figures['base_names']:,}" in card
    assert f"{figures['base_validation_nats']:.3f}" in card
    assert len(load_base(path).learnt) == pytest.approx(figures["base_names"], rel=0.001)
