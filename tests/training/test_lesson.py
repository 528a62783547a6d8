import numpy as np
import pytest
import torch
from conftest import make_model, params_with

from nomosaurus.training import lesson
from nomosaurus.training.lesson import KEPT_EPOCHS, teach


@pytest.fixture
def few_epochs(monkeypatch):
    monkeypatch.setattr(lesson, "MOST_EPOCHS", 12)


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_it_is_a_small_rnn_kept_as_it_was_while_it_learnt(few_epochs):
    model = make_model()
    network, epochs, early = teach(model, model.train, params_with())
    assert (network.params.cell, network.params.num_layers) == ("rnn", 1)
    assert network.vocab_size == model.vocabulary.size
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    assert sorted(early) == [number for number in KEPT_EPOCHS if number <= 12]
    assert not torch.equal(weights(early[1]), weights(early[3]))
    # Names that it learns are likelier the longer it does.
    nats = [epochs[number - 1].validation_nats for number in early]
    assert nats == sorted(nats, reverse=True)
    assert not network.training and not early[1].training


def test_it_trains_no_longer_than_params_allow():
    model = make_model()
    _, epochs, early = teach(model, model.train, params_with(train={"max_epochs": 2}))
    assert len(epochs) == 2 and sorted(early) == [1]


def test_it_is_the_same_twice_whatever_cell_the_model_has(few_epochs):
    model = make_model(cell="lstm")
    once, again = (teach(model, model.train, params_with(model={"cell": "lstm"})) for _ in "ab")
    assert torch.equal(weights(once.network), weights(again.network))


def test_of_a_long_list_it_learns_the_first_names(few_epochs, monkeypatch):
    monkeypatch.setattr(lesson, "MOST_NAMES", 4)
    model = make_model()
    part = teach(model, model.train, params_with())
    few = make_model()
    object.__setattr__(few, "train", few.train.select(np.arange(4)))
    assert torch.equal(
        weights(part.network), weights(teach(few, model.train, params_with()).network)
    )
