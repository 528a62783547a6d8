"""The distribution that is evaluated, sampled and scored: networks mixed with an n-gram.

    p(x) ∝ p_ngram(x)^w  (product over the K networks of p_network(x)^(1/K))^(1 - w)

at every step: log-linear interpolation (Klakow 1998), with weights that sum to 1. Networks
that start from different random draws err differently, and an n-gram errs differently from
both; what all of them find likely is likely. The n-gram's weight w depends on how much of the
context it has seen before.
"""

# B batch, V vocabulary, P events of all names, E events at one step of a batch,
# K order of the n-gram, L layers, S parts of the state, H hidden

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nomosaurus.dataset import EncodedNames, batches_by_length
from nomosaurus.likelihood import SCORING_BATCH
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


class NgramWeight(NamedTuple):
    """w: a straight line over the share of its context that the n-gram has seen.

    Attributes:
        short: Where it has seen none of it; 0 to 1.
        long: Where it has seen all of it, K - 1 symbols; 0 to 1.
    """

    short: float
    long: float


NETWORKS_ALONE = NgramWeight(0.0, 0.0)
NGRAM_ALONE = NgramWeight(1.0, 1.0)


class Parts(NamedTuple):
    """What each side of the mixture predicts; log-probabilities, double.

    Attributes:
        networks: Mean over the networks, not normalised if there are several; shape (B, V).
        ngram: Shape (B, V).
        seen: The share of its context that the n-gram has seen, 0 to 1; shape (B,).
    """

    networks: Tensor
    ngram: Tensor
    seen: Tensor


def mix(parts: Parts, weight: NgramWeight) -> Tensor:
    """Log-probabilities of the mixture, shape (B, V)."""
    return torch.log_softmax(_scores(parts, weight), dim=-1)


def _scores(parts: Parts, weight: NgramWeight) -> Tensor:
    """The mixture before it is normalised, shape (B, V)."""
    w = (weight.short + (weight.long - weight.short) * parts.seen).unsqueeze(1)  # (B, 1)
    return (1 - w) * parts.networks + w * parts.ngram


def target_log_probs(parts: Parts, weight: NgramWeight, targets: Tensor) -> np.ndarray:
    """Log-probability of one character each; targets and result of shape (B,).

    A character outside the vocabulary has none here and counts as 0.
    """
    scores = _scores(parts, weight)
    known = targets < scores.shape[1]
    chosen = scores.gather(1, targets.where(known, 0).unsqueeze(1)).squeeze(1)
    return (chosen - scores.logsumexp(dim=1)).where(known, 0).numpy()


@dataclass(frozen=True)
class Mixture:
    """Networks and an n-gram as one model of the next character.

    Attributes:
        networks: At least one, on the CPU, in evaluation mode.
        ngram: The n-gram; also the baseline that the networks are measured by.
        ngram_weight: w; 0 is the networks alone, 1 the n-gram alone.
    """

    networks: list[RecurrentNetwork]
    ngram: KneserNey
    ngram_weight: NgramWeight

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
        return replace(self, ngram_weight=NETWORKS_ALONE)

    def initial_state(self, batch_size: int) -> MixtureState:
        """Before the first boundary of `batch_size` names."""
        return MixtureState(
            [network.initial_state(batch_size) for network in self.networks],
            self.ngram.initial_contexts(batch_size),
        )

    @torch.inference_mode()
    def step(
        self, ids: np.ndarray, state: MixtureState, *, forget: bool = False
    ) -> tuple[Tensor, MixtureState]:
        """One time step.

        Args:
            ids: The characters x_t, shape (B,).
            state: From `initial_state` or an earlier step.
            forget: Zero a_{t-1} of the networks first; the n-gram keeps its context.

        Returns:
            Log-probabilities of the next character, double, shape (B, V), and the new state.
        """
        parts, state = self.parts(ids, state, forget=forget)
        return mix(parts, self.ngram_weight), state

    def parts(
        self, ids: np.ndarray, state: MixtureState, *, forget: bool = False
    ) -> tuple[Parts, MixtureState]:
        """What `step` mixes, and the new state; arguments as there."""
        contexts = self.ngram.advance(state.contexts, ids)  # (K, B)
        x = torch.from_numpy(ids)
        before = self.initial_state(len(ids)).activations if forget else state.activations
        steps = [
            network.step(x, activation)
            for network, activation in zip(self.networks, before, strict=True)
        ]
        predictions = [torch.log_softmax(logits.double(), dim=-1) for logits, _ in steps]
        seen = (contexts >= 0).sum(axis=0) - 1  # (B,), symbols; row 0 is the empty context
        parts = Parts(
            torch.stack(predictions).mean(0),
            torch.from_numpy(self.ngram.distribution(contexts)).log(),
            torch.from_numpy(seen / max(1, self.ngram.order - 1)),
        )
        return parts, MixtureState([activation for _, activation in steps], contexts)

    @torch.inference_mode()
    def event_parts(
        self, names: EncodedNames, *, forget: bool = False
    ) -> Iterator[tuple[np.ndarray, Tensor, Parts]]:
        """The parts of every event's prediction.

        Yields:
            The places of some events among all, shape (E,); their targets, V for a character
            outside the vocabulary, (E,); the parts.
        """
        starts = names.event_offsets[:-1]
        for rows, batch in batches_by_length(names, SCORING_BATCH):
            state = self.initial_state(len(rows))
            for t in range(batch.inputs.shape[1]):
                parts, state = self.parts(batch.inputs[:, t].numpy(), state, forget=forget)
                scored = batch.mask[:, t]  # (B,)
                places = starts[rows][scored.numpy()] + t
                yield places, batch.targets[scored, t], Parts(*(part[scored] for part in parts))

    def event_log_probs(self, names: EncodedNames, *, forget: bool = False) -> np.ndarray:
        """Log-probability of each event, in nats; shape (P,).

        A character outside the vocabulary has no probability here and counts as 0;
        `Vocabulary.unknown_nats` accounts for it. With `forget` the networks lose a_{t-1} at
        every step; the n-gram keeps its context.
        """
        log_probs = np.zeros(names.num_events)
        for places, targets, parts in self.event_parts(names, forget=forget):
            log_probs[places] = target_log_probs(parts, self.ngram_weight, targets)
        return log_probs

    def name_nats(self, names: EncodedNames, *, forget: bool = False) -> np.ndarray:
        """Negative log-likelihood of each name, in nats, its end counted; shape (N,)."""
        return -names.sum_by_name(self.event_log_probs(names, forget=forget))


def fit_mixture(
    networks: list[RecurrentNetwork],
    train: EncodedNames,
    validation: EncodedNames,
    params: ModelParams,
) -> Mixture:
    """Fit the n-gram on `train`; choose its order, and its weight if `auto`, on `validation`."""
    ngram = choose_order(train, validation, networks[0].vocab_size, params.ngram_max_order)
    fixed = 0.0 if params.ngram_weight == "auto" else params.ngram_weight
    mixture = Mixture(networks, ngram, NgramWeight(fixed, fixed))
    if params.ngram_weight == "auto":
        mixture = replace(mixture, ngram_weight=fit_ngram_weight(mixture, validation))
    return mixture


def fit_ngram_weight(mixture: Mixture, names: EncodedNames) -> NgramWeight:
    """The weight under which `names`, the validation side, are likeliest, in steps of 0.025.

    One pass over the names gives their cost at each of 41 weights, apart for each length of
    context that the n-gram has seen; from these the cost of every straight line follows.
    """
    weights = np.linspace(0, 1, 41)
    lengths = mixture.ngram.order
    nats = np.zeros((lengths, len(weights)))
    for _, targets, parts in mixture.event_parts(names):
        length = np.rint(parts.seen.numpy() * (lengths - 1)).astype(int)  # (E,)
        for i, w in enumerate(weights):
            log_probs = target_log_probs(parts, NgramWeight(w, w), targets)  # (E,)
            nats[:, i] -= np.bincount(length, log_probs, minlength=lengths)
    lines = [NgramWeight(float(short), float(long)) for short in weights for long in weights]

    def cost(line: NgramWeight) -> float:
        at = np.linspace(line.short, line.long, lengths) if lengths > 1 else [line.short]
        return sum(np.interp(w, weights, row) for w, row in zip(at, nats, strict=True))

    return min(lines, key=cost)
