"""Several networks, trained side by side, each in a process of its own.

The bytes are the same as if they had been trained one after the other, interrupted or not.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nomosaurus.errors import TrainingError
from nomosaurus.model.base import Base
from nomosaurus.model.device import make_repeatable
from nomosaurus.model.mixture import NETWORKS_ALONE, NGRAM_ALONE, Mixture, target_log_probs
from nomosaurus.model.trained import Epoch
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Recipe
from nomosaurus.training.checkpoint import load_snapshot, save_snapshot
from nomosaurus.training.loop import Task, Training, Watcher, train_network

SECONDS_BETWEEN_REPORTS = 0.5

Report = tuple[str, int, Any]
"""The name of a method of `Watcher`, and its arguments."""

Outcome = tuple[dict[str, np.ndarray], list[Epoch], float]
"""What `Training.of` makes one from: what one process hands to another."""

_reports: SimpleQueue[Report]
"""The queue for a worker's reports; set when it starts."""


def member_seed(seed: int, member: int) -> int:
    """The seed of network `member`, from 0; those of different seeds are unrelated."""
    return int(np.random.SeedSequence([seed, member]).generate_state(1, np.uint64)[0] >> 1)


def member_tasks(
    train: EncodedNames,
    validation: EncodedNames,
    vocabulary: Vocabulary,
    recipe: Recipe,
    device: torch.device,
    base: Base | None = None,
) -> list[Task]:
    """A task for each of the `model.members` networks; they differ in their seeds.

    Where the recipe says so, they start from the base's networks.
    """
    starts_from = base if recipe.train.start == "base" else None
    return [
        Task(
            train,
            validation,
            vocabulary.size,
            vocabulary.num_categories,
            recipe.model,
            recipe.train,
            device,
            member_seed(recipe.seed, member),
            starts_from.start(vocabulary, member) if starts_from else None,
        )
        for member in range(recipe.model.members)
    ]


def train_networks(
    tasks: Sequence[Task],
    watchers: Sequence[Watcher] = (),
    snapshot_file: Callable[[int], Path] | None = None,
    num_jobs: int | None = None,
) -> list[Training]:
    """Train a network for each task.

    Args:
        tasks: Device and `num_threads` are the same in all.
        watchers: They receive the events of the training run.
        snapshot_file: Where the snapshots of a network lie, by its number. A network that has
            one resumes there. Without it, an interruption loses all.
        num_jobs: The most processes at a time; with 1, all is done in this one. By default, as
            many as the machine's cores have room for.
    """
    files = [snapshot_file(i) if snapshot_file else None for i in range(len(tasks))]
    num_threads = tasks[0].train_params.num_threads
    if num_jobs is None:
        num_jobs = max(1, _usable_cores() // num_threads)

    def report(kind: str, number: int, value: Any) -> None:
        for watcher in watchers:
            getattr(watcher, kind)(number, value)

    if num_jobs == 1 or len(tasks) == 1 or tasks[0].device.type != "cpu":
        return [_train(i, task, files[i], report) for i, task in enumerate(tasks)]
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()  # what is put there is there before the task ends
    executor = ProcessPoolExecutor(
        min(num_jobs, len(tasks)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(num_threads, reports),
    )
    try:
        with _ctrl_c_ignored():  # the workers inherit it: Ctrl-C is this process's to handle
            futures = [
                executor.submit(_train_apart, i, task, files[i]) for i, task in enumerate(tasks)
            ]
        _pass_on(futures, reports, report)
        trainings = []
        for task, future in zip(tasks, futures, strict=True):
            arrays, epochs, cpu_seconds = future.result()
            weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
            trainings.append(Training.of(task, weights, epochs, cpu_seconds))
        return trainings
    except BrokenProcessPool:
        raise TrainingError(
            "a training process was killed, perhaps because memory ran out; run the same "
            "command again to resume after the last finished epoch"
        ) from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _train(
    number: int, task: Task, file: Path | None, report: Callable[[str, int, Any], None]
) -> Training:
    start = load_snapshot(file) if file else None
    if start:
        report("on_resume", number, start.epochs)
    return train_network(
        task,
        start,
        on_epoch=lambda epoch: report("on_epoch", number, epoch),
        on_progress=lambda epochs: report("on_progress", number, epochs),
        on_snapshot=(lambda snapshot: save_snapshot(file, snapshot)) if file else None,
    )


def _usable_cores() -> int:
    """The cores that this process may use, where the system tells; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker(num_threads: int, reports: SimpleQueue[Report]) -> None:
    global _reports
    _reports = reports
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    make_repeatable(num_threads)


def _end_with(parent: BaseProcess) -> None:
    """If the parent is killed, nobody waits for the outcome, and the pool would never end."""
    parent.join()
    os._exit(1)


def _train_apart(number: int, task: Task, file: Path | None) -> Outcome:
    last = time.monotonic()

    def report(kind: str, number: int, value: Any) -> None:
        nonlocal last
        if kind == "on_progress":
            if time.monotonic() - last < SECONDS_BETWEEN_REPORTS:
                return
            last = time.monotonic()
        _reports.put((kind, number, value))

    training = _train(number, task, file, report)
    weights = {name: w.numpy() for name, w in training.network.state_dict().items()}
    return weights, training.epochs, training.cpu_seconds


def _pass_on(
    futures: list[Future[Outcome]],
    reports: SimpleQueue[Report],
    report: Callable[[str, int, Any], None],
) -> None:
    """Hand on the workers' reports until all are done; raise what one of them raised."""
    running = set(futures)
    while running:
        done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        while not reports.empty():
            report(*reports.get())


def training_summary(
    mixture: Mixture, trainings: list[Training], validation: EncodedNames
) -> dict[str, int | float]:
    """The figures for metrics/train.json.

    Nats are per event on the validation names, by weight, characters never seen left out: of the
    model, of its networks without the n-gram, and of the n-gram alone.
    """
    weights = {
        "validation": mixture.ngram_weight,
        "network_validation": NETWORKS_ALONE,
        "ngram_validation": NGRAM_ALONE,
    }
    nats = {key: np.zeros(validation.num_events) for key in weights}
    for places, targets, parts in mixture.event_parts(validation):
        for key, weight in weights.items():
            nats[key][places] = -target_log_probs(parts, weight, targets)
    means = {key: validation.mean_of_known(x, mixture.vocab_size) for key, x in nats.items()}
    return {
        "epochs": sum(len(training.epochs) for training in trainings),
        **{f"{key}_nats": round(mean, 4) for key, mean in means.items()},
        "ngram_order": mixture.ngram.order,
        "ngram_weight_short": mixture.ngram_weight.short,
        "ngram_weight_long": mixture.ngram_weight.long,
        "num_parameters": mixture.num_parameters,
    }
