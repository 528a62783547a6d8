"""The training loop: optimiser, averaged weights, early stopping, the best epoch kept."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nomosaurus.dataset import EncodedNames, batches_by_length
from nomosaurus.errors import DeviceError, DivergenceError
from nomosaurus.likelihood import mean_nats
from nomosaurus.network import RecurrentNetwork, masked_cross_entropy
from nomosaurus.params import ModelParams, TrainParams


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; nats are per scored character (letters and end).

    Attributes:
        number: 1 for the first.
        train_nats: Mean over the epoch, with dropout and while the weights moved.
        validation_nats: Of the averaged weights at the end of the epoch.
        is_best: Whether no earlier epoch had a validation loss as low.
    """

    number: int
    train_nats: float
    validation_nats: float
    is_best: bool


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        network: With the averaged weights of the best epoch, on the CPU.
        epochs: Every epoch that was run, in order.
    """

    network: RecurrentNetwork
    epochs: list[Epoch]


def best_epoch(epochs: list[Epoch]) -> Epoch:
    """The epoch with the lowest validation loss, the first of them."""
    return [epoch for epoch in epochs if epoch.is_best][-1]


def choose_device(name: str) -> torch.device:
    """The device that train.device asks for; `auto` takes a GPU if there is one.

    Raises:
        DeviceError: If it is not available on this machine.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, here in available.items() if here)
    if not available[name]:
        raise DeviceError(
            f"train.device is {name!r}, which this machine or this build of torch does not "
            'have; use "auto" or "cpu"'
        )
    return torch.device(name)


def make_repeatable(num_threads: int) -> None:
    """Fix what would change the bytes from one process to the next.

    The number of threads decides in which order numbers are added up, so it is a
    param and not the machine's count of cores, whatever OMP_NUM_THREADS says. On a
    GPU, kernels that add in no fixed order are refused.
    """
    torch.set_num_threads(num_threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def train_network(
    train: EncodedNames,
    validation: EncodedNames,
    vocab_size: int,
    model_params: ModelParams,
    train_params: TrainParams,
    seed: int,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> Training:
    """Train one network until validation stops improving.

    Args:
        train: The encoded names to learn.
        validation: The encoded names that decide which epoch is best.
        vocab_size: V, the boundary included.
        model_params: The network's form.
        train_params: The loop's settings.
        seed: Start of every random draw: weights, order of batches, dropout.
        device: Where to compute; the draws are made on the CPU all the same.
        on_epoch: Called after every epoch.
        on_batch: Called after every batch with batches done and in all, this epoch.

    Raises:
        DivergenceError: If the loss stops being a finite number.
    """
    generator = torch.Generator().manual_seed(seed)
    network = RecurrentNetwork(model_params, vocab_size)
    network.initialise(generator)
    network.to(device)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(train_params.average_decay))
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=train_params.learning_rate,
        weight_decay=train_params.weight_decay,
    )
    uses_dropout = model_params.dropout > 0 or model_params.state_dropout > 0
    num_batches = math.ceil(len(train) / train_params.batch_size)
    epochs: list[Epoch] = []
    best_nats = math.inf
    best_weights: dict[str, Tensor] = {}
    best_number = 0
    for number in range(1, train_params.max_epochs + 1):
        network.train()
        total = 0.0
        batches = batches_by_length(train, train_params.batch_size, generator)
        for done, (rows, batch) in enumerate(batches, start=1):
            masks = network.dropout_masks(len(rows), generator) if uses_dropout else None
            batch = batch.to(device)
            loss = masked_cross_entropy(
                network.unroll(batch.inputs, masks), batch.targets, batch.mask
            )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), train_params.clip_norm)
            optimiser.step()
            averaged.update_parameters(network)
            total += float(loss.detach()) * int(batch.mask.sum())
            on_batch(done, num_batches)
        validation_nats = mean_nats(averaged.module, validation)
        if not math.isfinite(total) or not math.isfinite(validation_nats):
            raise DivergenceError(
                f"the loss is not a number in epoch {number}; "
                f"lower train.learning_rate (now {train_params.learning_rate:g})"
            )
        is_best = validation_nats < best_nats
        if is_best:
            best_nats, best_number = validation_nats, number
            best_weights = {
                name: weight.detach().cpu().clone()
                for name, weight in averaged.module.state_dict().items()
            }
        epochs.append(Epoch(number, total / train.num_events, validation_nats, is_best))
        on_epoch(epochs[-1])
        if number - best_number >= train_params.patience:
            break
    kept = RecurrentNetwork.with_weights(model_params, vocab_size, best_weights)
    return Training(kept, epochs)
