"""A name step by step: what a network reads, remembers and expects, and what each character costs.

At time step t the network takes x_t and its previous activation a_{t-1}, and gives a_t and
y_t, the distribution of the character that comes next.
"""

# T time steps (the letters + the end), V vocabulary, H hidden

from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
import torch

from nomosaurus.errors import ListError
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.model.trained import TrainedModel
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import BOUNDARY_ID, characters


@dataclass(frozen=True)
class Step:
    """One time step; all of it is one network's, but for `model_bits`.

    Attributes:
        x: The character that is read; empty for the boundary before the name.
        activation: a_t of the last layer, shape (H,).
        cell_state: c_t of the last layer, shape (H,); None but for an `lstm`.
        prediction: y_t, a probability for each character of the vocabulary, shape (V,).
        target: The character that comes; empty for the end.
        bits: What it costs: -log2 y_t[target]; for a character that no training name has,
            -log2 of the unknown event's probability.
        forgetful_bits: The same if a_{t-1}, and c_{t-1} of an `lstm`, are zeroed before this step.
        model_bits: What it costs the whole model, all networks and the n-gram mixed.
    """

    x: str
    activation: np.ndarray
    cell_state: np.ndarray | None
    prediction: np.ndarray
    target: str
    bits: float
    forgetful_bits: float
    model_bits: float


@dataclass(frozen=True)
class Explanation:
    """A name, step by step.

    Attributes:
        name: The normalised name.
        network: The network that is looked into.
        number: Its number, from 1.
        category: The category that the network was given; None if the names have none.
        symbols: What each id stands for; empty for the boundary; V of them.
        steps: One for each letter and the end, T in all.
    """

    name: str
    network: RecurrentNetwork
    number: int
    category: str | None
    symbols: tuple[str, ...]
    steps: list[Step]

    @property
    def activations(self) -> np.ndarray:
        """a_1 to a_T, shape (T, H)."""
        return np.stack([step.activation for step in self.steps])

    @property
    def cell_states(self) -> np.ndarray | None:
        """c_1 to c_T of an `lstm`, shape (T, H)."""
        states = [step.cell_state for step in self.steps if step.cell_state is not None]
        return np.stack(states) if states else None

    def most_likely(self, step: Step, count: int) -> list[tuple[str, float]]:
        """The characters that a step finds most likely to come, with their probabilities."""
        order = np.argsort(-step.prediction, kind="stable")[:count]
        return [(self.symbols[i], float(step.prediction[i])) for i in order]

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {
            "name": self.name,
            "network": self.number,
            "cell": self.network.params.cell,
            "category": self.category,
            "steps": [
                {
                    "x": step.x,
                    "a": step.activation.tolist(),
                    "c": None if step.cell_state is None else step.cell_state.tolist(),
                    "y": dict(zip(self.symbols, step.prediction.tolist(), strict=True)),
                    "target": step.target,
                    "bits": step.bits,
                    "forgetful_bits": step.forgetful_bits,
                    "model_bits": step.model_bits,
                }
                for step in self.steps
            ],
        }


@torch.inference_mode()
def explain(
    model: TrainedModel, name: str, number: int = 1, given: str | None = None
) -> Explanation:
    """Follow one of a model's networks through a name.

    Args:
        model: The trained model.
        name: Any name; it is normalised as the list was.
        number: Which of the networks, from 1.
        given: The name's category. If it is not given and the names have categories, it is the
            one that the model finds likeliest, argmax_c share(c) p(name | c).

    Raises:
        ListError: If it is no name, or blank, or there is no such network or category.
    """
    networks = model.mixture.networks
    if not 1 <= number <= len(networks):
        raise ListError(f"there is no network {number}: this model has 1 to {len(networks)}")
    network = networks[number - 1]
    normal = model.checked(name)
    if not normal:
        raise ListError(f"{name!r} is blank; give a name with at least one character")
    vocabulary = model.vocabulary
    encoded = EncodedNames.from_names([normal], vocabulary)
    known = vocabulary.categories
    if given is not None:
        encoded = encoded.with_category(model.category_id(given))
    elif known:
        (likeliest,) = model.mixture.likeliest_categories(encoded)
        encoded = encoded.with_category(likeliest)
    category = known[encoded.categories[0]] if known else None
    categories = torch.from_numpy(encoded.categories.astype(np.int64))  # (1,)
    letters = characters(normal)
    inputs = [BOUNDARY_ID, *encoded.ids.tolist()]
    model_nats = model.event_nats(encoded)  # (T,)
    zero = network.initial_state(1)
    state = zero
    steps = []
    for t, (i, target) in enumerate(zip(inputs, encoded.targets.tolist(), strict=True)):
        x = torch.tensor([i])
        forgetful = torch.softmax(network.step(x, zero, categories)[0][0].double(), 0)  # (V,)
        logits, state = network.step(x, state, categories)
        prediction = torch.softmax(logits[0].double(), 0)  # (V,)

        def bits(prediction: torch.Tensor, target: int = target) -> float:
            known = target < vocabulary.size
            return -log2(prediction[target] if known else vocabulary.unknown_mass)

        steps.append(
            Step(
                x=["", *letters][t],
                activation=state[-1, 0, 0].numpy(),
                cell_state=state[-1, 1, 0].numpy() if state.shape[1] > 1 else None,
                prediction=prediction.numpy(),
                target=[*letters, ""][t],
                bits=bits(prediction),
                forgetful_bits=bits(forgetful),
                model_bits=float(model_nats[t] / np.log(2)),
            )
        )
    symbols = ("", *vocabulary.characters)
    return Explanation(normal, network, number, category, symbols, steps)
