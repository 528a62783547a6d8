"""T time steps, V vocabulary, H hidden."""

import math

import numpy as np
import pytest
import torch
from conftest import CATEGORIES, NAMES, in_numpy, make_model

from nomosaurus.errors import ListError
from nomosaurus.evaluation.explain import explain
from nomosaurus.params import CELLS


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("number", [1, 2])
def test_numbers_equal_numpys(cell, num_layers, number):
    model = make_model(cell=cell, num_layers=num_layers)
    network = model.mixture.networks[number - 1]
    explanation = explain(model, "belana", number)
    ids = [0, *model.vocabulary.encode("belana").tolist()]
    activations, cell_states, predictions = in_numpy(network, ids)  # (T, H), (T, H), (T, V)
    np.testing.assert_allclose(explanation.activations, activations, atol=1e-6)
    if cell == "lstm":
        np.testing.assert_allclose(explanation.cell_states, cell_states, atol=1e-6)
    else:
        assert explanation.cell_states is None
    for t, (step, y) in enumerate(zip(explanation.steps, predictions, strict=True)):
        np.testing.assert_allclose(step.prediction, y, atol=1e-6)
        target = [*ids[1:], 0][t]
        assert step.bits == pytest.approx(-math.log2(y[target]), abs=1e-5)
        *_, forgetful = in_numpy(network, [ids[t]])  # the step alone, from the zero state
        assert step.forgetful_bits == pytest.approx(-math.log2(forgetful[0, target]), abs=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_numbers_equal_numpys_for_a_category(cell):
    model = make_model(categories=CATEGORIES, cell=cell)
    explanation = explain(model, "belana", given="other")
    assert explanation.category == "other"
    ids = [0, *model.vocabulary.encode("belana").tolist()]
    activations, _, predictions = in_numpy(model.mixture.networks[0], ids, category=1)
    np.testing.assert_allclose(explanation.activations, activations, atol=1e-6)
    for t, step in enumerate(explanation.steps):
        np.testing.assert_allclose(step.prediction, predictions[t], atol=1e-6)
        target = [*ids[1:], 0][t]
        *_, forgetful = in_numpy(model.mixture.networks[0], [ids[t]], category=1)
        assert step.forgetful_bits == pytest.approx(-math.log2(forgetful[0, target]), abs=1e-5)
    (scored,) = model.score(["belana"], "other")
    total = sum(step.model_bits for step in explanation.steps)
    assert total == pytest.approx(-scored.log_prob / math.log(2), abs=1e-5)


def test_without_a_category_the_likeliest_is_taken():
    model = make_model(categories=CATEGORIES)
    joint = {
        category: model.score(["elena"], category)[0].log_prob + math.log(share)
        for category, share in {"long": 0.7, "other": 0.2, "short": 0.1}.items()
    }
    explanation = explain(model, "elena")
    assert explanation.category == max(joint, key=joint.get)
    assert explanation.as_dict() == explain(model, "elena", given=explanation.category).as_dict()
    assert explain(make_model(), "elena").category is None


def test_a_category_that_is_not_known_is_refused():
    with pytest.raises(ListError, match="no training name has the category 'huge'"):
        explain(make_model(categories=CATEGORIES), "ana", given="huge")


def test_steps_read_what_came_before():
    steps = explain(make_model(), "Belana").steps
    assert [step.x for step in steps] == ["", *"belana"]
    assert [step.target for step in steps] == [*"belana", ""]


@pytest.mark.parametrize("name", ["belana", "bxlana", "zz"])
def test_the_models_bits_are_what_score_says(name):
    model = make_model()
    (scored,) = model.score([name])
    total = sum(step.model_bits for step in explain(model, name).steps)
    assert total == pytest.approx(-scored.log_prob / math.log(2), abs=1e-5)


def test_unknown_character_costs_the_unknown_event():
    model = make_model()
    step = explain(model, "axa").steps[1]
    assert step.target == "x"
    expected = -math.log2(model.vocabulary.unknown_mass)
    assert step.bits == step.forgetful_bits == pytest.approx(expected)


def test_most_likely_are_named_in_order():
    explanation = explain(make_model(), "ana")
    for step in explanation.steps:
        likely = explanation.most_likely(step, 4)
        assert [p for _, p in likely] == sorted(step.prediction.tolist(), reverse=True)[:4]
        by_symbol = dict(zip(explanation.symbols, step.prediction, strict=True))
        assert all(by_symbol[symbol] == p for symbol, p in likely)


def test_plain_values_hold_all_of_it():
    model = make_model()
    explanation = explain(model, "ana", 2)
    content = explanation.as_dict()
    assert (content["name"], content["network"], content["cell"]) == ("ana", 2, "gru")
    for step in content["steps"]:
        assert len(step["a"]) == 8
        assert sum(step["y"].values()) == pytest.approx(1)
        assert set(step["y"]) == {"", *"".join(NAMES)}


@pytest.mark.parametrize(("name", "number"), [(" ", 1), ("ana", 0), ("ana", 3)])
def test_what_cannot_be_explained_is_refused(name, number):
    with pytest.raises(ListError):
        explain(make_model(), name, number)


def test_explaining_changes_no_weight():
    model = make_model()
    before = [p.clone() for n in model.mixture.networks for p in n.parameters()]
    explain(model, "ana")
    after = [p for n in model.mixture.networks for p in n.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
