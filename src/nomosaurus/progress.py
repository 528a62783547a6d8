"""What a person sees while a network trains: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from nomosaurus.training import Epoch


class TrainingProgress:
    """Callbacks for `training.train_network`; made by `training_progress`."""

    def __init__(self, console: Console, progress: Progress | None, max_epochs: int) -> None:
        self._console = console
        self._progress = progress
        self._max_epochs = max_epochs
        self._epoch = 1
        if progress:
            self._task = progress.add_task("training", total=max_epochs)

    def on_batch(self, done: int, total: int) -> None:
        """Move the bar by a fraction of an epoch."""
        if self._progress:
            self._progress.update(self._task, completed=self._epoch - 1 + done / total)

    def on_epoch(self, epoch: Epoch) -> None:
        """Show the epoch's losses; on a terminal the line stays above the bar."""
        self._epoch = epoch.number + 1
        mark = " *" if epoch.is_best else ""
        self._console.print(
            f"epoch {epoch.number:>3} of at most {self._max_epochs}: "
            f"train {epoch.train_nats:.4f}, validation {epoch.validation_nats:.4f} "
            f"nats/char{mark}",
            highlight=False,
        )


@contextmanager
def training_progress(max_epochs: int) -> Iterator[TrainingProgress]:
    """Show epochs done, elapsed time and the time left if no epoch is saved by stopping early."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield TrainingProgress(Console(stderr=True, width=120), None, max_epochs)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch {task.completed:.1f} of {task.total}"),
        TimeElapsedColumn(),
        TextColumn("at most"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
    ) as progress:
        yield TrainingProgress(console, progress, max_epochs)
