"""What a person sees of training: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from nomosaurus.errors import shown_safely, standard_error
from nomosaurus.model.trained import Epoch
from nomosaurus.params import Recipe
from nomosaurus.training.loop import Watcher

SECONDS_BETWEEN_LINES = 5  # without a terminal


def say_settled(settled: Mapping[str, int | float | str], num_names: int) -> None:
    """Print the value chosen for each `auto` in params.yaml."""
    if settled:
        chosen = ", ".join(f"{key} {value}" for key, value in settled.items())
        print(f"auto, for {num_names:,} names to learn: {chosen}", file=sys.stderr)


def say_start(chosen: Recipe, nats_by_start: Mapping[str, float]) -> None:
    """Print which way to start was better on the validation names, if several were tried."""
    if len(nats_by_start) > 1:
        losses = ", ".join(f"{start} {nats:.3f}" for start, nats in nats_by_start.items())
        print(
            f"train.start: {chosen.train.start} is kept; on the validation names, in nats per "
            f"character: {losses}",
            file=sys.stderr,
        )


class TrainingProgress(Watcher):
    """Shows how the training of several networks goes; made by `training_progress`."""

    def __init__(
        self,
        console: Console,
        bars: Progress | None,
        labels: Sequence[str],
        max_epochs: int,
    ) -> None:
        self._console = console
        self._bars = bars
        self._max_epochs = max_epochs
        self._labels = labels
        self._last_line = 0.0
        if bars:
            self._tasks = [
                bars.add_task(label, total=max_epochs, losses="", start=False) for label in labels
            ]

    def on_resume(self, number: int, epochs: list[Epoch]) -> None:
        """Say after which epoch a network resumes."""
        self._console.print(
            f"{self._labels[number]} resumes after epoch {len(epochs)}", highlight=False
        )

    def on_progress(self, number: int, epochs: float) -> None:
        """Move a network's bar; a fraction of an epoch counts."""
        if self._bars:
            self._bars.start_task(self._tasks[number])
            self._bars.update(self._tasks[number], completed=epochs)

    def on_epoch(self, number: int, epoch: Epoch) -> None:
        """Show an epoch's losses: beside the bar, or as a line; * marks the best so far."""
        losses = (
            f"train {epoch.train_nats:.4f}, validation {epoch.validation_nats:.4f} nats/char"
            f"{' *' if epoch.is_best else ''}"
        )
        if self._bars:
            self.on_progress(number, epoch.number)
            self._bars.update(self._tasks[number], losses=losses)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._console.print(
                f"{self._labels[number]}, epoch {epoch.number} of at most {self._max_epochs}: "
                f"{losses}",
                highlight=False,
            )


@contextmanager
def training_progress(labels: Sequence[str], max_epochs: int) -> Iterator[TrainingProgress]:
    """Show each network's epochs, its losses, and the time left if it does not stop early."""
    console = Console(file=standard_error())
    if not console.is_terminal:
        plain = Console(stderr=True, width=200)
        yield TrainingProgress(plain, None, labels, max_epochs)
        return
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("epoch {task.completed:.0f} of at most {task.total}"),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
        console=console,
        redirect_stdout=False,
    )
    with bars, shown_safely():  # lines that others write go above the bars
        yield TrainingProgress(console, bars, labels, max_epochs)
