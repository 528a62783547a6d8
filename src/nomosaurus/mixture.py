"""The distribution that is evaluated, sampled and scored: networks mixed with an n-gram.

    p(x) = w p_ngram(x) + (1 - w) mean over networks of p_network(x)

at every step (linear interpolation, Jelinek and Mercer 1980). Networks that start from
different random draws err differently, and an n-gram errs differently from both.
"""

# B batch, V vocabulary, P events of all names, K order of the n-gram,
# L layers, S parts of the state, H hidden

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nomosaurus.dataset import EncodedNames
from nomosaurus.likelihood import event_log_probs
from nomosaurus.network import RecurrentNetwork
from nomosaurus.ngram import KneserNey, choose_order
from nomosaurus.params import ModelParams


class MixtureState(NamedTuple):
    """What the mixture remembers of the names so far.

    Attributes:
        activations: Each network's state, shape (L, S, B, H).
        contexts: The n-gram's contexts, shape (K, B).
    """

    activations: list[Tensor]
    contexts: np.ndarray

    def select(self, rows: np.ndarray) -> "MixtureState":
        """The state of some of the names."""
        keep = torch.from_numpy(rows)
        return MixtureState([a[:, :, keep] for a in self.activations], self.contexts[:, rows])


@dataclass(frozen=True)
class Mixture:
    """Networks and an n-gram as one model of the next character.

    Attributes:
        networks: At least one, on the CPU, in evaluation mode.
        ngram: The n-gram; also the baseline that the networks are measured by.
        ngram_weight: w, from 0 (the networks alone) to 1 (the n-gram alone).
    """

    networks: list[RecurrentNetwork]
    ngram: KneserNey
    ngram_weight: float

    @property
    def vocab_size(self) -> int:
        """V, the boundary included."""
        return self.networks[0].vocab_size

    @property
    def num_parameters(self) -> int:
        """How many numbers training adjusted, in all networks."""
        return sum(network.num_parameters for network in self.networks)

    def networks_alone(self) -> "Mixture":
        """The same networks without the n-gram."""
        return replace(self, ngram_weight=0.0)

    def initial_state(self, batch_size: int) -> MixtureState:
        """Before the first boundary of `batch_size` names."""
        return MixtureState(
            [network.initial_state(batch_size) for network in self.networks],
            self.ngram.initial_contexts(batch_size),
        )

    @torch.inference_mode()
    def step(self, ids: np.ndarray, state: MixtureState) -> tuple[Tensor, MixtureState]:
        """One time step.

        Args:
            ids: The characters x_t, shape (B,).
            state: From `initial_state` or an earlier step.

        Returns:
            Log-probabilities of the next character, double, shape (B, V), and the new state.
        """
        contexts = self.ngram.advance(state.contexts, ids)  # (K, B)
        x = torch.from_numpy(ids)
        steps = [
            network.step(x, activation)
            for network, activation in zip(self.networks, state.activations, strict=True)
        ]
        predictions = [torch.softmax(logits.double(), dim=-1) for logits, _ in steps]
        mixed = torch.stack(predictions).mean(0)  # (B, V)
        if self.ngram_weight > 0:
            ngram = torch.from_numpy(self.ngram.distribution(contexts))  # (B, V)
            mixed = self.ngram_weight * ngram + (1 - self.ngram_weight) * mixed
        return mixed.log(), MixtureState([activation for _, activation in steps], contexts)

    def event_log_probs(self, names: EncodedNames, *, forget: bool = False) -> np.ndarray:
        """Log-probability of each event, in nats, as `likelihood.event_log_probs`; (P,).

        With `forget` the networks lose a_{t-1} at every step; the n-gram keeps its context.
        """
        probability = mean_probabilities(self.networks, names, forget=forget)  # (P,)
        if self.ngram_weight > 0:
            ngram = self.ngram.event_probabilities(names)  # (P,)
            probability = self.ngram_weight * ngram + (1 - self.ngram_weight) * probability
        return np.log(probability)

    def name_nats(self, names: EncodedNames, *, forget: bool = False) -> np.ndarray:
        """Negative log-likelihood of each name, in nats, its end counted; shape (N,)."""
        return -names.sum_by_name(self.event_log_probs(names, forget=forget))


def mean_probabilities(
    networks: list[RecurrentNetwork], names: EncodedNames, *, forget: bool = False
) -> np.ndarray:
    """Mean over networks of each event's probability; shape (P,)."""
    each = [np.exp(event_log_probs(network, names, forget=forget)) for network in networks]
    return np.mean(each, axis=0)


def fit_mixture(
    networks: list[RecurrentNetwork],
    train: EncodedNames,
    validation: EncodedNames,
    params: ModelParams,
) -> Mixture:
    """Fit the n-gram on `train`; choose its order, and its weight if `auto`, on `validation`."""
    vocab_size = networks[0].vocab_size
    ngram = choose_order(train, validation, vocab_size, params.ngram_max_order)
    weight = params.ngram_weight
    if weight == "auto":
        weight = fit_ngram_weight(networks, ngram, validation)
    return Mixture(networks, ngram, weight)


def fit_ngram_weight(
    networks: list[RecurrentNetwork], ngram: KneserNey, names: EncodedNames
) -> float:
    """The weight w under which `names`, the validation side, are likeliest.

    The log-likelihood is concave in w, so halving the interval on the sign of its slope
    finds the maximum; it is rounded to three decimals.
    """
    theirs = ngram.event_probabilities(names)  # (P,)
    ours = mean_probabilities(networks, names)  # (P,)

    def slope(weight: float) -> float:
        return float(((theirs - ours) / (weight * theirs + (1 - weight) * ours)).mean())

    low, high = 0.0, 1.0
    if slope(low) <= 0:
        return low
    if slope(high) >= 0:
        return high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return round((low + high) / 2, 3)
