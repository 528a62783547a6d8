"""Several networks from different random draws, trained side by side.

Each is trained in a process of its own on its own thread, and comes out with the same
bytes as if they had been trained one after the other.
"""

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from nomosaurus.dataset import EncodedNames
from nomosaurus.mixture import Mixture
from nomosaurus.network import RecurrentNetwork
from nomosaurus.ngram import KneserNey
from nomosaurus.params import ModelParams, TrainParams
from nomosaurus.training import Epoch, Training, make_repeatable, train_network

SECONDS_BETWEEN_REPORTS = 0.5


@dataclass(frozen=True)
class Task:
    """All that the training of one network follows from."""

    train: EncodedNames
    validation: EncodedNames
    vocab_size: int
    model_params: ModelParams
    train_params: TrainParams
    device: torch.device


def member_seed(seed: int, member: int) -> int:
    """The seed of network `member`, from 0; no two of any two seeds are related."""
    return int(np.random.SeedSequence([seed, member]).generate_state(1, np.uint64)[0] >> 1)


def train_members(
    task: Task,
    seed: int,
    on_epoch: Callable[[int, Epoch], None] = lambda member, epoch: None,
    on_progress: Callable[[int, float], None] = lambda member, epochs: None,
    num_jobs: int | None = None,
) -> list[Training]:
    """Train `model.members` networks.

    Args:
        task: What they have in common.
        seed: Each network's own seed follows from it and from its number.
        on_epoch: Called with the network's number, from 0, and its finished epoch.
        on_progress: Called with the network's number and the epochs it has done, a fraction
            included.
        num_jobs: The most processes at a time; with 1, all is done in this one. If it is
            not given, as many as the machine's cores have room for.
    """
    if num_jobs is None:
        num_jobs = max(1, (os.cpu_count() or 1) // task.train_params.num_threads)
    members = range(task.model_params.members)
    if num_jobs == 1 or len(members) == 1 or task.device.type != "cpu":
        return [_train_here(task, seed, member, on_epoch, on_progress) for member in members]
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        reports = manager.Queue()
        others = set(multiprocessing.active_children())  # the manager's own process
        executor = ProcessPoolExecutor(
            min(num_jobs, len(members)),
            mp_context=context,
            initializer=_start_worker,
            initargs=(task.train_params.num_threads,),
        )
        try:
            futures = [
                executor.submit(_train_apart, task, seed, member, reports) for member in members
            ]
            handlers = {"epoch": on_epoch, "progress": on_progress}
            _pass_on(futures, reports, handlers)
            return [_rebuild(task, *future.result()) for future in futures]
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        finally:
            executor.shutdown(cancel_futures=True)


def _train_here(
    task: Task,
    seed: int,
    member: int,
    on_epoch: Callable[[int, Epoch], None],
    on_progress: Callable[[int, float], None],
) -> Training:
    finished = 0

    def epoch_ended(epoch: Epoch) -> None:
        nonlocal finished
        finished = epoch.number
        on_epoch(member, epoch)

    return train_network(
        task.train,
        task.validation,
        task.vocab_size,
        task.model_params,
        task.train_params,
        member_seed(seed, member),
        task.device,
        on_epoch=epoch_ended,
        on_batch=lambda done, total: on_progress(member, finished + done / total),
    )


def _start_worker(num_threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to handle
    make_repeatable(num_threads)


def _train_apart(task: Task, seed: int, member: int, reports: queue.Queue) -> tuple:
    last = time.monotonic()

    def report_progress(number: int, epochs: float) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            reports.put(("progress", number, epochs))

    def report_epoch(number: int, epoch: Epoch) -> None:
        reports.put(("epoch", number, epoch))

    training = _train_here(task, seed, member, report_epoch, report_progress)
    weights = {name: w.numpy() for name, w in training.network.state_dict().items()}
    return weights, training.epochs


def _pass_on(
    futures: list[Future], reports: queue.Queue, handlers: dict[str, Callable[..., None]]
) -> None:
    """Hand on the workers' reports until all are done; raise what one of them raised."""
    running = set(futures)
    while running:
        done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        while not reports.empty():
            kind, member, value = reports.get()
            handlers[kind](member, value)


def _rebuild(task: Task, weights: dict[str, np.ndarray], epochs: list[Epoch]) -> Training:
    tensors = {name: torch.from_numpy(weight) for name, weight in weights.items()}
    network = RecurrentNetwork.with_weights(task.model_params, task.vocab_size, tensors)
    return Training(network, epochs)


def learning_curve(trainings: list[Training]) -> pd.DataFrame:
    """A row an epoch, in nats per scored character: means over the networks that ran it."""
    rows = [
        {"epoch": epoch.number, "train": epoch.train_nats, "validation": epoch.validation_nats}
        for training in trainings
        for epoch in training.epochs
    ]
    return pd.DataFrame(rows).groupby("epoch").mean().round(4).reset_index()


def training_summary(
    mixture: Mixture, trainings: list[Training], validation: EncodedNames
) -> dict[str, int | float]:
    """The figures for metrics/train.json.

    Nats are per event on the validation names, characters never seen left out: of the model,
    of its networks without the n-gram, and of the n-gram alone.
    """
    known = validation.num_known_events(mixture.vocab_size)

    def nats(model: Mixture | KneserNey) -> float:
        return round(float(model.name_nats(validation).sum() / known), 4)

    return {
        "epochs": sum(len(training.epochs) for training in trainings),
        "validation_nats": nats(mixture),
        "network_validation_nats": nats(mixture.networks_alone()),
        "ngram_validation_nats": nats(mixture.ngram),
        "ngram_order": mixture.ngram.order,
        "ngram_weight": mixture.ngram_weight,
        "num_parameters": mixture.num_parameters,
    }
