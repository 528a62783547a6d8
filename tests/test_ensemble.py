import multiprocessing
import os
from dataclasses import replace

import pytest
import torch
from conftest import NAMES, params_with

from nomosaurus.dataset import EncodedNames
from nomosaurus.ensemble import (
    Task,
    learning_curve,
    member_seed,
    train_members,
    training_summary,
)
from nomosaurus.mixture import fit_mixture
from nomosaurus.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_names(NAMES)
TRAIN = EncodedNames.from_names(NAMES[:7], VOCABULARY)
VALIDATION = EncodedNames.from_names(NAMES[7:], VOCABULARY)


def task(members=2, **train_params) -> Task:
    params = params_with(
        model={"cell": "lstm", "hidden_size": 16, "members": members},
        train={"max_epochs": 3, "batch_size": 4, "num_threads": 1} | train_params,
    )
    return Task(TRAIN, VALIDATION, VOCABULARY.size, params.model, params.train, torch.device("cpu"))


def weights(trainings) -> list[bytes]:
    return [
        b"".join(p.detach().numpy().tobytes() for p in training.network.parameters())
        for training in trainings
    ]


def test_side_by_side_gives_the_bytes_of_one_after_the_other(monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "2")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seen = []
    apart = train_members(
        task(3), 1, on_epoch=lambda member, epoch: seen.append((member, epoch)), num_jobs=2
    )
    here = train_members(task(3), 1, num_jobs=1)
    torch.set_num_threads(threads)
    assert weights(apart) == weights(here)
    assert len(set(weights(here))) == 3
    assert [training.epochs for training in apart] == [training.epochs for training in here]
    for member in range(3):
        assert [epoch for m, epoch in seen if m == member] == apart[member].epochs


def test_an_error_in_one_process_ends_all_of_them():
    broken = replace(task(), vocab_size=2)  # ids that the network has no row for
    with pytest.raises(IndexError):
        train_members(broken, 1, num_jobs=2)
    assert not multiprocessing.active_children()


def test_members_of_all_seeds_differ():
    seeds = {member_seed(seed, member) for seed in range(50) for member in range(20)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_curve_and_summary_speak_of_all_networks():
    trainings = train_members(task(), 1, num_jobs=1)
    curve = learning_curve(trainings)
    assert curve["epoch"].tolist() == [1, 2, 3]
    mean = sum(training.epochs[0].train_nats for training in trainings) / 2
    assert curve["train"][0] == pytest.approx(mean, abs=1e-4)
    networks = [training.network for training in trainings]
    mixture = fit_mixture(networks, TRAIN, VALIDATION, task().model_params)
    summary = training_summary(mixture, trainings, VALIDATION)
    assert summary["epochs"] == 6
    assert summary["num_parameters"] == 2 * networks[0].num_parameters
    assert summary["validation_nats"] <= summary["network_validation_nats"]
    assert summary["validation_nats"] <= summary["ngram_validation_nats"]
