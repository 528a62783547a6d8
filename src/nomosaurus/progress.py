"""What a person sees while networks train: bars on a terminal, plain lines elsewhere."""

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
    """Callbacks for `ensemble.train_members`; made by `training_progress`."""

    def __init__(self, console: Console, bars: Progress | None, members: int, epochs: int) -> None:
        self._console = console
        self._bars = bars
        self._max_epochs = epochs
        self._labels = [f"network {i + 1} of {members}" for i in range(members)]
        if bars:
            self._tasks = [
                bars.add_task(label, total=epochs, losses="", start=False) for label in self._labels
            ]

    def on_progress(self, member: int, epochs: float) -> None:
        """Move a network's bar; a fraction of an epoch counts."""
        if self._bars:
            self._bars.start_task(self._tasks[member])
            self._bars.update(self._tasks[member], completed=epochs)

    def on_epoch(self, member: int, epoch: Epoch) -> None:
        """Show an epoch's losses: beside the bar, or as a line; * marks the best so far."""
        losses = (
            f"train {epoch.train_nats:.4f}, validation {epoch.validation_nats:.4f} nats/char"
            f"{' *' if epoch.is_best else ''}"
        )
        if self._bars:
            self.on_progress(member, epoch.number)
            self._bars.update(self._tasks[member], losses=losses)
        else:
            label = self._labels[member]
            self._console.print(
                f"{label}, epoch {epoch.number} of at most {self._max_epochs}: {losses}",
                highlight=False,
            )


@contextmanager
def training_progress(members: int, max_epochs: int) -> Iterator[TrainingProgress]:
    """Show each network's epochs, its losses, and the time left if it does not stop early."""
    console = Console(stderr=True)
    if not console.is_terminal:
        plain = Console(stderr=True, width=200)
        yield TrainingProgress(plain, None, members, max_epochs)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("epoch {task.completed:.0f} of at most {task.total}"),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
        console=console,
    ) as bars:
        yield TrainingProgress(console, bars, members, max_epochs)
