"""The source article's network, trained on the same names, and kept as it was while it learnt."""

from typing import NamedTuple

import numpy as np
import torch

from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.model.trained import Epoch, TrainedModel
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.params import Params, Recipe
from nomosaurus.training.loop import Snapshot, Task, train_network
from nomosaurus.training.processes import member_seed

MOST_NAMES = 2_000
"""Names that it learns: with these it takes ten seconds, and with more it would look the same."""
MODEL = {"cell": "rnn", "hidden_size": 64, "dropout": 0.2, "state_dropout": 0.1, "members": 1}
MOST_EPOCHS = 100
"""Or fewer, if params.yaml allows no network as many."""
LARGEST_BATCH = 64
KEPT_EPOCHS = (1, 3, 10, 30, 100)


class Lesson(NamedTuple):
    """A network of the cell `rnn`.

    Attributes:
        network: With the weights of its best epoch.
        epochs: Its losses.
        early: The network as it was after some of the epochs, by their number.
    """

    network: RecurrentNetwork
    epochs: list[Epoch]
    early: dict[int, RecurrentNetwork]


def teach(model: TrainedModel, validation: EncodedNames, params: Params) -> Lesson:
    """Train a small `rnn` on a model's training names, on the CPU, in seconds."""
    train = model.train.select(np.arange(min(len(model.train), MOST_NAMES)))
    training = {"start": "fresh", "batch_size": min(LARGEST_BATCH, 1 + len(train) // 16)}
    small = params.model_copy(
        update={
            "model": params.model.model_copy(update=MODEL),
            "train": params.train.model_copy(update=training),
        }
    )
    recipe = Recipe.for_list(small, len(train))
    epochs = min(MOST_EPOCHS, recipe.train.max_epochs)
    to_the_end = recipe.train.model_copy(update={"max_epochs": epochs, "patience": epochs})
    vocabulary = model.vocabulary
    task = Task(
        train,
        validation,
        vocabulary.size,
        vocabulary.num_categories,
        recipe.model,
        to_the_end,
        torch.device("cpu"),
        member_seed(recipe.seed, 0),
    )
    early: dict[int, RecurrentNetwork] = {}

    def keep(snapshot: Snapshot) -> None:
        number = snapshot.epochs[-1].number
        if number in KEPT_EPOCHS:
            early[number] = network = task.network().eval()
            averaged = {
                name.removeprefix("averaged.module."): weight
                for name, weight in snapshot.tensors.items()
                if name.startswith("averaged.module.")
            }
            network.load_state_dict(averaged)

    trained = train_network(task, on_snapshot=keep)
    return Lesson(trained.network, trained.epochs, early)
