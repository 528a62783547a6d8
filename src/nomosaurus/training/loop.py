"""The training loop: optimiser, averaged weights, early stopping, the best epoch kept."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nomosaurus.errors import TrainingError
from nomosaurus.model.base import Start
from nomosaurus.model.likelihood import mean_nats
from nomosaurus.model.network import RecurrentNetwork, masked_cross_entropy
from nomosaurus.model.trained import Epoch, best_epoch
from nomosaurus.names.dataset import EncodedNames, batches_by_length
from nomosaurus.params import ModelRecipe, TrainRecipe


@dataclass(frozen=True)
class Task:
    """All that the training of one network follows from.

    Attributes:
        validation: The names that decide which epoch is best.
        vocab_size: V, the boundary included.
        num_categories: C; 0 if the names have none.
        device: Where to compute; random draws are made on the CPU all the same.
        seed: Start of every random draw: weights, order of batches, dropout.
        start: What the weights begin from; None for random draws alone.
    """

    train: EncodedNames
    validation: EncodedNames
    vocab_size: int
    num_categories: int
    model_params: ModelRecipe
    train_params: TrainRecipe
    device: torch.device
    seed: int
    start: Start | None = None

    def network(self) -> RecurrentNetwork:
        """A network of this form, before it has weights."""
        return RecurrentNetwork(self.model_params, self.vocab_size, self.num_categories)


@dataclass(frozen=True)
class Snapshot:
    """A training run at the end of an epoch: all that the epochs after it follow from.

    Attributes:
        cpu_seconds: Computing time so far; nothing follows from it.
        tensors: The weights, as trained (`network.`), averaged (`averaged.`) and at the best
            epoch (`best.`), the optimiser's state (`optimiser.`) and the generator's.
    """

    epochs: list[Epoch]
    cpu_seconds: float
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Training:
    """A finished training run.

    Attributes:
        network: With the averaged weights of the best epoch, on the CPU, in evaluation mode.
        cpu_seconds: Computing time of all epochs, those before an interruption too.
    """

    network: RecurrentNetwork
    epochs: list[Epoch]
    cpu_seconds: float

    @classmethod
    def of(
        cls, task: Task, weights: Mapping[str, Tensor], epochs: list[Epoch], cpu_seconds: float
    ) -> "Training":
        """Put the weights into a network of the task's form."""
        network = task.network()
        network.load_state_dict(weights)
        return cls(network.eval(), epochs, cpu_seconds)


class Watcher:
    """Receives events while networks train; this base class ignores them.

    A network is known by its number among the tasks, from 0.
    """

    def on_resume(self, number: int, epochs: list[Epoch]) -> None:
        """Called when a network resumes after these epochs."""

    def on_progress(self, number: int, epochs: float) -> None:
        """Called now and then with the epochs done so far, a fraction included."""

    def on_epoch(self, number: int, epoch: Epoch) -> None:
        """Called after each of a network's epochs."""


def learning_curve(histories: list[list[Epoch]]) -> pd.DataFrame:
    """A row an epoch, in nats per scored character: means over the networks that ran it."""
    rows = [
        {"epoch": epoch.number, "train": epoch.train_nats, "validation": epoch.validation_nats}
        for history in histories
        for epoch in history
    ]
    return pd.DataFrame(rows).groupby("epoch").mean().round(4).reset_index()


class _Averaged(AveragedModel):
    """Knows that it averages a network's weights."""

    module: RecurrentNetwork


class _State:
    """What changes while a network trains."""

    def __init__(self, task: Task) -> None:
        params = task.train_params
        self.generator = torch.Generator().manual_seed(task.seed)
        self.network = task.network()
        self.network.initialise(self.generator)
        if task.start:
            self.network.begin_from(*task.start)
        self.network.to(task.device)
        self.averaged = _Averaged(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(params.average_decay)
        )
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay
        )
        self.best_weights: dict[str, Tensor] = {}
        self.epochs: list[Epoch] = []
        self.cpu_seconds = 0.0

    def end_epoch(self, train_nats: float, validation_nats: float, cpu_seconds: float) -> Epoch:
        """Add an epoch's losses, and keep its averaged weights if they are the best so far."""
        best_so_far = min((epoch.validation_nats for epoch in self.epochs), default=math.inf)
        epoch = Epoch(
            len(self.epochs) + 1, train_nats, validation_nats, validation_nats < best_so_far
        )
        if epoch.is_best:
            self.best_weights = {
                name: weight.detach().cpu().clone()
                for name, weight in self.averaged.module.state_dict().items()
            }
        self.epochs.append(epoch)
        self.cpu_seconds += cpu_seconds
        return epoch

    def snapshot(self) -> Snapshot:
        """All of it; the tensors are on the CPU, and those that train are not copied there."""
        groups = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best_weights,
        }
        for i, values in self.optimiser.state_dict()["state"].items():
            groups[f"optimiser.{i}"] = values
        tensors = {
            f"{group}.{name}": tensor.detach().cpu()
            for group, values in groups.items()
            for name, tensor in values.items()
        }
        tensors["generator"] = self.generator.get_state()
        return Snapshot(list(self.epochs), self.cpu_seconds, tensors)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to where a snapshot was taken."""

        def group(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(f"{prefix}."): tensor
                for name, tensor in snapshot.tensors.items()
                if name.startswith(f"{prefix}.")
            }

        self.network.load_state_dict(group("network"))
        self.averaged.load_state_dict(group("averaged"))
        state = self.optimiser.state_dict()
        num_parameters = len(list(self.network.parameters()))
        state["state"] = {i: group(f"optimiser.{i}") for i in range(num_parameters)}
        self.optimiser.load_state_dict(state)
        self.generator.set_state(snapshot.tensors["generator"])
        self.best_weights = group("best")
        self.epochs = list(snapshot.epochs)
        self.cpu_seconds = snapshot.cpu_seconds


def train_network(
    task: Task,
    start: Snapshot | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_progress: Callable[[float], None] = lambda epochs: None,
    on_snapshot: Callable[[Snapshot], None] | None = None,
) -> Training:
    """Train one network until validation stops improving.

    Args:
        task: All that the outcome follows from.
        start: Resume here. With the same task, the outcome is the same to the bit as without a
            break.
        on_epoch: Called after every epoch.
        on_progress: Called after every batch with the epochs done so far, a fraction included.
        on_snapshot: Called after every epoch, before `on_epoch`, with the state to resume from.

    Raises:
        TrainingError: If the loss stops being a finite number.
    """
    state = _State(task)
    if start:
        state.restore(start)
    network, generator = state.network, state.generator
    train, params = task.train, task.train_params
    uses_dropout = task.model_params.dropout > 0 or task.model_params.state_dropout > 0
    num_batches = math.ceil(len(train) / params.batch_size)
    for number in range(len(state.epochs) + 1, params.max_epochs + 1):
        if number > 1 and number - 1 - best_epoch(state.epochs).number >= params.patience:
            break
        started = time.process_time()
        network.train()
        total, num_events = 0.0, 0
        batches = batches_by_length(train, params.batch_size, generator)
        for done, (rows, batch) in enumerate(batches, start=1):
            progress = (number - 1 + (done - 1) / num_batches) / params.max_epochs  # 0 to 1
            for group in state.optimiser.param_groups:
                group["lr"] = params.learning_rate * (1 - params.decay * progress)
            masks = network.dropout_masks(len(rows), generator) if uses_dropout else None
            batch = batch.to(task.device)
            loss = masked_cross_entropy(
                network.unroll(batch.inputs, masks, batch.categories), batch.targets, batch.mask
            )
            state.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), params.clip_norm)
            state.optimiser.step()
            state.averaged.update_parameters(network)
            events = int(batch.mask.sum())
            total, num_events = total + float(loss.detach()) * events, num_events + events
            on_progress(number - 1 + done / num_batches)
        validation_nats = mean_nats(state.averaged.module, task.validation)
        if not math.isfinite(total) or not math.isfinite(validation_nats):
            raise TrainingError(
                f"the loss is not a number in epoch {number}; "
                f"lower train.learning_rate (now {params.learning_rate:g})"
            )
        epoch = state.end_epoch(total / num_events, validation_nats, time.process_time() - started)
        if on_snapshot:
            on_snapshot(state.snapshot())
        on_epoch(epoch)
    return Training.of(task, state.best_weights, state.epochs, state.cpu_seconds)
