import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import NAMES, params_with

from nomosaurus.errors import DeviceError, TrainingError
from nomosaurus.model.device import choose_device
from nomosaurus.model.likelihood import event_log_probs, mean_nats
from nomosaurus.model.trained import Epoch, best_epoch
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import CELLS
from nomosaurus.training.loop import Snapshot, Task, learning_curve, train_network

CPU = torch.device("cpu")
VOCABULARY = Vocabulary.from_names(NAMES)
TRAIN = EncodedNames.from_names(NAMES[:7], VOCABULARY)
VALIDATION = EncodedNames.from_names(NAMES[7:], VOCABULARY)


def task(seed=1, model=None, data=(TRAIN, VALIDATION), **values) -> Task:
    params = params_with(
        model={"cell": "gru", "hidden_size": 16, "num_layers": 1} | (model or {}),
        train={"max_epochs": 3, "patience": 50, "batch_size": 4, "device": "cpu"} | values,
    )
    return Task(*data, VOCABULARY.size, 0, params.model, params.train, CPU, seed)


def train(on_epoch=lambda epoch: None, **values):
    return train_network(task(**values), on_epoch=on_epoch)


def weights(training) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in training.network.parameters()])


def test_loss_before_training_is_near_the_logarithm_of_the_vocabulary():
    training = train(max_epochs=1, learning_rate=1e-9)
    assert training.epochs[0].validation_nats == pytest.approx(math.log(VOCABULARY.size), abs=0.1)


@pytest.mark.parametrize("cell", CELLS)
def test_three_names_can_be_memorised(cell):
    names = EncodedNames.from_names(["ana", "bela", "nana"], VOCABULARY)
    training = train(
        model={"cell": cell, "hidden_size": 32, "dropout": 0.0, "state_dropout": 0.0},
        data=(names, names),
        max_epochs=250,
        learning_rate=0.02,
        weight_decay=0.0,
        average_decay=0.5,
    )
    # The first character is one of three, so log 3 a name cannot be learnt away.
    per_name = np.exp(names.sum_by_name(event_log_probs(training.network, names)))
    assert per_name.sum() > 0.97
    assert per_name.min() > 0.25


def test_same_seed_same_weights_another_seed_others():
    assert torch.equal(weights(train(seed=1)), weights(train(seed=1)))
    assert not torch.equal(weights(train(seed=1)), weights(train(seed=2)))


def test_the_best_epoch_is_kept():
    training = train(max_epochs=60, learning_rate=0.1)
    losses = [epoch.validation_nats for epoch in training.epochs]
    best = best_epoch(training.epochs)
    assert best.validation_nats == min(losses)
    assert best.number == int(np.argmin(losses)) + 1
    assert mean_nats(training.network, VALIDATION) == pytest.approx(min(losses), abs=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("after", [1, 4, 9])
def test_going_on_from_a_snapshot_ends_with_the_same_bytes(cell, after):
    whole = task(model={"cell": cell, "num_layers": 2}, max_epochs=9, learning_rate=0.1)
    snapshots = []
    straight = train_network(whole, on_snapshot=snapshots.append)
    resumed = train_network(whole, start=train_until(whole, after))
    assert torch.equal(weights(resumed), weights(straight))
    assert resumed.epochs == straight.epochs
    assert [len(snapshot.epochs) for snapshot in snapshots] == list(range(1, 10))


def train_until(task: Task, number: int) -> Snapshot:
    """The snapshot after an epoch of a training that then breaks off."""

    class BreaksOffError(Exception):
        pass

    kept = []

    def keep(snapshot: Snapshot) -> None:
        kept[:] = [snapshot]
        if len(snapshot.epochs) == number:
            raise BreaksOffError

    with pytest.raises(BreaksOffError):
        train_network(task, on_snapshot=keep)
    return kept[0]


def test_training_stops_when_validation_does_not_improve():
    training = train(max_epochs=500, patience=4, learning_rate=0.1)
    assert len(training.epochs) < 500
    assert len(training.epochs) - best_epoch(training.epochs).number == 4


def test_every_epoch_is_reported_as_it_ends():
    seen = []
    training = train(on_epoch=seen.append)
    assert seen == training.epochs
    assert [epoch.number for epoch in seen] == [1, 2, 3]


def test_loss_that_is_no_number_stops_with_advice(monkeypatch):
    monkeypatch.setattr("nomosaurus.training.loop.mean_nats", lambda network, names: math.nan)
    with pytest.raises(TrainingError, match=r"lower train\.learning_rate"):
        train()


def test_device_that_is_not_there_is_refused_in_one_line():
    if torch.cuda.is_available():
        pytest.skip("this machine has the GPU that the test wants to miss")
    with pytest.raises(DeviceError, match=r"train\.device is 'cuda'"):
        choose_device("cuda")


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


def test_without_categories_training_does_not_look_at_them():
    relabelled = (TRAIN.with_category(5), VALIDATION.with_category(3))
    assert torch.equal(weights(train(data=relabelled)), weights(train()))


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_network_learns_what_the_category_decides(cell):
    # The category alone decides between two names: known, they cost nothing, else log 2.
    of = {"ana": ("x",), "bela": ("y",)}
    vocabulary = Vocabulary.from_names(list(of), of)
    names = EncodedNames.from_names(list(of), vocabulary, of)
    params = params_with(
        model={"cell": cell, "hidden_size": 32, "dropout": 0.0, "state_dropout": 0.0},
        train={"max_epochs": 250, "patience": 250, "learning_rate": 0.02, "weight_decay": 0.0},
    )
    training = train_network(
        Task(names, names, vocabulary.size, 2, params.model, params.train, CPU, 1)
    )
    given = names.sum_by_name(event_log_probs(training.network, names))
    assert given.min() > -0.1
    exchanged = replace(names, categories=names.categories[::-1])
    assert names.sum_by_name(event_log_probs(training.network, exchanged)).max() < -2


@pytest.mark.slow
def test_a_network_learns_how_often_each_name_counts():
    weights = {"ana": 3.0, "bela": 1.0}
    vocabulary = Vocabulary.from_names(list(weights))
    names = EncodedNames.from_names(list(weights), vocabulary, weights=weights)
    params = params_with(
        model={"cell": "lstm", "hidden_size": 16, "dropout": 0.0, "state_dropout": 0.0},
        train={"max_epochs": 400, "patience": 400, "learning_rate": 0.02, "weight_decay": 0.0},
    )
    training = train_network(
        Task(names, names, vocabulary.size, 0, params.model, params.train, CPU, 1)
    )
    found = np.exp(names.sum_by_name(event_log_probs(training.network, names)))
    np.testing.assert_allclose(found, [0.75, 0.25], atol=0.05)


def test_learning_curve_is_the_mean_over_the_networks_that_ran_an_epoch():
    long = [Epoch(1, 3.0, 2.5, True), Epoch(2, 2.0, 2.25, True)]
    table = learning_curve([long, [Epoch(1, 2.0, 2.0, True)]])
    assert table["epoch"].tolist() == [1, 2]
    assert table["train"].tolist() == [2.5, 2.0]
    assert table["validation"].tolist() == [2.25, 2.25]
