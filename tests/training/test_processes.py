import multiprocessing
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from conftest import FROZEN, NAMES, params_with

from nomosaurus.errors import TrainingError
from nomosaurus.model.mixture import fit_mixture
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Recipe
from nomosaurus.training.loop import Task, Watcher
from nomosaurus.training.processes import (
    member_seed,
    member_tasks,
    train_networks,
    training_summary,
)

VOCABULARY = Vocabulary.from_names(NAMES)
TRAIN = EncodedNames.from_names(NAMES[:7], VOCABULARY)
VALIDATION = EncodedNames.from_names(NAMES[7:], VOCABULARY)


def tasks(members=2, **train_params) -> list[Task]:
    params = params_with(
        model={"cell": "lstm", "hidden_size": 16, "members": members},
        train={"max_epochs": 3, "batch_size": 4, "num_threads": 1} | train_params,
    )
    recipe = Recipe.for_list(params, len(TRAIN))
    return member_tasks(TRAIN, VALIDATION, VOCABULARY, recipe, torch.device("cpu"))


class Seen(Watcher):
    """What a watcher is told."""

    def __init__(self):
        self.resumed = {}
        self.epochs = defaultdict(list)

    def on_resume(self, number, epochs):
        self.resumed[number] = len(epochs)

    def on_epoch(self, number, epoch):
        self.epochs[number].append(epoch)


def weights(trainings) -> list[bytes]:
    return [
        b"".join(p.detach().numpy().tobytes() for p in training.network.parameters())
        for training in trainings
    ]


@pytest.mark.slow
def test_side_by_side_gives_the_bytes_of_one_after_the_other():
    seen = Seen()
    apart = train_networks(tasks(3), [seen], num_jobs=2)
    here = train_networks(tasks(3), num_jobs=1)
    assert weights(apart) == weights(here)
    assert len(set(weights(here))) == 3
    assert [training.epochs for training in apart] == [training.epochs for training in here]
    for member in range(3):
        assert seen.epochs[member] == apart[member].epochs


@pytest.mark.slow
def test_workers_take_the_number_of_threads_from_params_alone(monkeypatch):
    names = [
        row.split(",")[0] for row in (FROZEN / "dinosaurs.csv").read_text("utf-8").splitlines()[1:]
    ]
    vocabulary = Vocabulary.from_names(names)
    train = EncodedNames.from_names(names[:300], vocabulary)
    validation = EncodedNames.from_names(names[300:], vocabulary)
    params = params_with(  # so large that a second thread changes the bytes
        model={"cell": "lstm", "hidden_size": 192, "members": 2},
        train={"max_epochs": 1, "batch_size": 128, "num_threads": 1},
    )
    recipe = Recipe.for_list(params, len(train))
    both = member_tasks(train, validation, vocabulary, recipe, torch.device("cpu"))

    def with_threads(number: int) -> list[bytes]:
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            return weights(train_networks(both, num_jobs=1))
        finally:
            torch.set_num_threads(before)

    one_thread = with_threads(1)
    if with_threads(2) == one_thread:
        pytest.skip("on this processor a second thread changes nothing")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert weights(train_networks(both, num_jobs=2)) == one_thread


@pytest.mark.parametrize("num_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_networks_go_on_from_their_snapshots(tmp_path, num_jobs):
    def file(number):
        return tmp_path / f"{number}.safetensors"

    whole = train_networks(tasks(max_epochs=6), num_jobs=1)
    short = tasks(max_epochs=4)
    train_networks(short[:1], snapshot_file=file)  # as if the second had not begun
    seen = Seen()
    resumed = train_networks(tasks(max_epochs=6), [seen], file, num_jobs)
    assert weights(resumed) == weights(whole)
    assert seen.resumed == {0: 4}
    assert [epoch.number for epoch in seen.epochs[0]] == [5, 6]
    assert [epoch.number for epoch in seen.epochs[1]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_line():
    class Killer(Watcher):
        def on_epoch(self, number, epoch):
            for process in multiprocessing.active_children():
                process.kill()

    with pytest.raises(TrainingError, match="was killed, perhaps because memory ran out"):
        train_networks(tasks(max_epochs=2000, patience=2000), [Killer()], num_jobs=2)


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_of_them():
    # Ids that the networks have no row for.
    broken = [replace(task, vocab_size=2) for task in tasks()]
    with pytest.raises(IndexError):
        train_networks(broken, num_jobs=2)
    assert not multiprocessing.active_children()


def test_members_of_all_seeds_differ():
    seeds = {member_seed(seed, member) for seed in range(50) for member in range(20)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_summary_speaks_of_all_networks():
    trainings = train_networks(tasks(), num_jobs=1)
    networks = [training.network for training in trainings]
    mixture = fit_mixture(networks, TRAIN, VALIDATION, tasks()[0].model_params)
    summary = training_summary(mixture, trainings, VALIDATION)
    assert summary["epochs"] == 6
    assert summary["num_parameters"] == 2 * networks[0].num_parameters
    known = (VALIDATION.targets < mixture.vocab_size).sum()
    for key, model in {
        "validation_nats": mixture,
        "network_validation_nats": mixture.networks_alone(),
        "ngram_validation_nats": mixture.ngram,
    }.items():
        expected = model.name_nats(VALIDATION).sum() / known
        assert summary[key] == pytest.approx(expected, abs=1e-4)
    assert summary["validation_nats"] <= summary["network_validation_nats"]
    assert summary["validation_nats"] <= summary["ngram_validation_nats"]
