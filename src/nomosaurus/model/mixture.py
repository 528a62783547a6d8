"""The distribution that is evaluated, sampled and scored: networks mixed with an n-gram.

    p(x) ∝ p_ngram(x)^w  (product over the M networks of p_network(x)^(1/M))^(1 - w)

at every step: log-linear interpolation (Klakow 1998), with weights that sum to 1. Networks
that start from different random draws err differently, and an n-gram errs differently from
both; what all of them find likely is likely. The n-gram's weight w depends on how much of the
context it has seen before.

Where the names have categories, the networks get a name's category c at every step; the n-gram
ignores it. If c is not given, the name has the probability Σ_c share(c) p(name | c), with each
category's share of the training names.
"""

# B batch, V vocabulary, P events of all names, E events at one step of a batch,
# K order of the n-gram, M networks, L layers, S parts of the state, H hidden, N names,
# C categories

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nomosaurus.model.likelihood import SCORING_BATCH
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.model.ngram import KneserNey, choose_order
from nomosaurus.names.dataset import EncodedNames, batches_by_length
from nomosaurus.params import ModelRecipe


class MixtureState(NamedTuple):
    """What the mixture remembers of the names so far.

    Each name has a row; where its category is not given, C rows, one for each category.

    Attributes:
        activations: Each network's state, shape (L, S, rows, H).
        contexts: The n-gram's contexts, shape (K, rows).
        categories: The category's id in each row, shape (rows,).
        joint: Where it is not given, the logarithm of share(c) p(name so far, with each next
            character | c), shape (B, C, V); else None.
    """

    activations: list[Tensor]
    contexts: np.ndarray
    categories: np.ndarray
    joint: Tensor | None

    def select(self, rows: np.ndarray) -> "MixtureState":
        """The state of some of the names."""
        joint = None
        if self.joint is not None:
            joint = self.joint[torch.from_numpy(rows)]
            rows = (rows[:, None] * joint.shape[1] + np.arange(joint.shape[1])).ravel()
        keep = torch.from_numpy(rows)
        return MixtureState(
            [a[:, :, keep] for a in self.activations],
            self.contexts[:, rows],
            self.categories[rows],
            joint,
        )


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
        networks: Mean over the networks, up to a constant in each row; shape (B, V).
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
        ngram: Also the baseline that the networks must beat.
        ngram_weight: w; 0 is the networks alone, 1 the n-gram alone.
        category_shares: Each category's share of the training names; C of them.
    """

    networks: list[RecurrentNetwork]
    ngram: KneserNey
    ngram_weight: NgramWeight
    category_shares: tuple[float, ...] = ()

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

    @property
    def num_categories(self) -> int:
        """C; 0 if the names have none."""
        return len(self.category_shares)

    def initial_state(self, batch_size: int, categories: np.ndarray | None = None) -> MixtureState:
        """Before the first boundary of `batch_size` names.

        `categories` are the ids of their categories, shape (batch_size,); if they are not given,
        each step sums over all of them.
        """
        joint = None
        if categories is None and self.num_categories:
            categories = np.tile(np.arange(self.num_categories), batch_size)
            shares = torch.tensor(self.category_shares, dtype=torch.double).log().unsqueeze(1)
            joint = shares.expand(batch_size, -1, self.vocab_size)
        elif categories is None:
            categories = np.zeros(batch_size)
        return MixtureState(
            self._zero_activations(len(categories)),
            self.ngram.initial_contexts(len(categories)),
            categories.astype(np.int64),
            joint,
        )

    def _zero_activations(self, num_rows: int) -> list[Tensor]:
        return [network.initial_state(num_rows) for network in self.networks]

    @torch.inference_mode()
    def step(self, ids: np.ndarray, state: MixtureState) -> tuple[Tensor, MixtureState]:
        """One time step.

        Args:
            ids: The characters x_t, shape (B,); none is the unknown id if no category is given.
            state: From `initial_state` or an earlier step.

        Returns:
            Log-probabilities of the next character, double, shape (B, V), and the new state.
        """
        if state.joint is None:
            parts, state = self.parts(ids, state)
            return mix(parts, self.ngram_weight), state
        batch_size, num_categories, _ = state.joint.shape
        chosen = torch.from_numpy(ids).view(-1, 1, 1).expand(-1, num_categories, 1)
        so_far = state.joint.gather(2, chosen)  # (B, C, 1)
        parts, state = self.parts(np.repeat(ids, num_categories), state)
        each = mix(parts, self.ngram_weight).view(batch_size, num_categories, -1)  # (B, C, V)
        joint = so_far + each  # (B, C, V)
        return joint.logsumexp(1) - so_far.logsumexp(1), state._replace(joint=joint)

    def parts(
        self, ids: np.ndarray, state: MixtureState, *, forget: bool = False
    ) -> tuple[Parts, MixtureState]:
        """What `step` mixes, a row for each of the state's, and the new state.

        With `forget` the networks lose a_{t-1} first; the n-gram keeps its context.
        """
        contexts = self.ngram.advance(state.contexts, ids)  # (K, B)
        x, categories = torch.from_numpy(ids), torch.from_numpy(state.categories)
        before = self._zero_activations(len(ids)) if forget else state.activations
        steps = [
            network.step(x, activation, categories)
            for network, activation in zip(self.networks, before, strict=True)
        ]
        # Logits do: normalising each would add a constant a row, which mixing takes out again.
        mean = torch.zeros(len(ids), self.vocab_size, dtype=torch.double)  # (B, V)
        for logits, _ in steps:
            mean += logits
        mean /= len(steps)
        seen = (contexts >= 0).sum(axis=0) - 1  # (B,), symbols; row 0 is the empty context
        parts = Parts(
            mean,
            torch.from_numpy(self.ngram.distribution(contexts)).log(),
            torch.from_numpy(seen / max(1, self.ngram.order - 1)),
        )
        activations = [activation for _, activation in steps]
        return parts, state._replace(activations=activations, contexts=contexts)

    @torch.inference_mode()
    def event_parts(
        self, names: EncodedNames, *, forget: bool = False
    ) -> Iterator[tuple[np.ndarray, Tensor, Parts]]:
        """The parts of every event's prediction; see `parts`.

        A category that is not known is a row of zeros to the networks.

        Yields:
            The places of some events among all, shape (E,); their targets, V for a character
            outside the vocabulary, (E,); the parts.
        """
        starts = names.event_offsets[:-1]
        for rows, batch in batches_by_length(names, SCORING_BATCH):
            state = self.initial_state(len(rows), names.categories[rows])
            for t in range(batch.inputs.shape[1]):
                parts, state = self.parts(batch.inputs[:, t].numpy(), state, forget=forget)
                scored = batch.mask[:, t]  # (B,)
                places = starts[rows][scored.numpy()] + t
                yield places, batch.targets[scored, t], Parts(*(part[scored] for part in parts))

    def event_log_probs(self, names: EncodedNames, *, forget: bool = False) -> np.ndarray:
        """Log-probability of each event, in nats; shape (P,).

        A character outside the vocabulary has no probability here and counts as 0;
        `Vocabulary.unknown_nats` accounts for it. Where a name's category is not known, each
        event is p(x_1 … x_t) / p(x_1 … x_{t-1}), both summed over the categories.
        """
        log_probs = np.zeros(names.num_events)
        for places, targets, parts in self.event_parts(names, forget=forget):
            log_probs[places] = target_log_probs(parts, self.ngram_weight, targets)
        not_known = names.categories >= self.num_categories  # (N,)
        if self.num_categories and not_known.any():
            events = np.repeat(not_known, names.lengths + 1)  # (P,)
            rest = names.select(np.flatnonzero(not_known))
            log_probs[events] = self._marginal_event_log_probs(rest, forget=forget)
        return log_probs

    def _marginal_event_log_probs(self, names: EncodedNames, *, forget: bool) -> np.ndarray:
        each = self._event_log_probs_given_each(names, forget=forget)  # (C, P)
        starts = names.event_offsets[:-1]  # (N,)
        so_far = each.cumsum(axis=1)  # (C, P)
        so_far -= np.repeat(so_far[:, starts] - each[:, starts], names.lengths + 1, axis=1)
        joint = np.log(self.category_shares)[:, None] + so_far  # (C, P)
        total = np.logaddexp.reduce(joint, axis=0)  # (P,)
        before = np.roll(total, 1)
        before[starts] = 0  # the shares sum to 1
        return total - before

    def _event_log_probs_given_each(self, names: EncodedNames, *, forget: bool) -> np.ndarray:
        ids = range(self.num_categories)
        return np.stack([self.event_log_probs(names.with_category(i), forget=forget) for i in ids])

    def name_nats(self, names: EncodedNames) -> np.ndarray:
        """Negative log-likelihood of each name, in nats, its end counted; shape (N,).

        Given its category; where that is not known, as `marginal_nats`.
        """
        return -names.sum_by_name(self.event_log_probs(names))

    def marginal_nats(self, names: EncodedNames) -> np.ndarray:
        """-log Σ_c share(c) p(name | c), in nats, whatever the names' categories; shape (N,).

        So a name is drawn when no category is given. Without categories it is `name_nats`.
        """
        return self.name_nats(names.with_category(self.num_categories))

    def likeliest_categories(self, names: EncodedNames) -> np.ndarray:
        """argmax_c share(c) p(name | c), an id for each name; shape (N,)."""
        each = self._event_log_probs_given_each(names, forget=False)  # (C, P)
        given_each = np.stack([names.sum_by_name(events) for events in each])  # (C, N)
        return (np.log(self.category_shares)[:, None] + given_each).argmax(axis=0)


def fit_mixture(
    networks: list[RecurrentNetwork],
    train: EncodedNames,
    validation: EncodedNames,
    params: ModelRecipe,
) -> Mixture:
    """Fit the n-gram on `train`; choose its order, and its weight if `auto`, on `validation`."""
    ngram = choose_order(train, validation, networks[0].vocab_size, params.ngram_max_order)
    fixed = 0.0 if params.ngram_weight == "auto" else params.ngram_weight
    shares = category_shares(train, networks[0].num_categories)
    mixture = Mixture(networks, ngram, NgramWeight(fixed, fixed), shares)
    if params.ngram_weight == "auto":
        mixture = replace(mixture, ngram_weight=fit_ngram_weight(mixture, validation))
    return mixture


def category_shares(train: EncodedNames, num_categories: int) -> tuple[float, ...]:
    """Each category's share of the training names by weight; all have one; C of them."""
    sums = np.bincount(train.categories, train.weights, num_categories)[:num_categories]
    return tuple((sums / train.weights.sum()).tolist())


def fit_ngram_weight(mixture: Mixture, names: EncodedNames) -> NgramWeight:
    """The weight under which `names`, the validation side, are likeliest, in steps of 0.025.

    One pass over the names gives their cost at each of 41 weights, apart for each length of
    context that the n-gram has seen. The cost of every straight line follows from these.
    """
    weights = np.linspace(0, 1, 41)
    lengths = mixture.ngram.order
    nats = np.zeros((lengths, len(weights)))
    event_weights = names.event_weights
    for places, targets, parts in mixture.event_parts(names):
        length = np.rint(parts.seen.numpy() * (lengths - 1)).astype(int)  # (E,)
        for i, w in enumerate(weights):
            log_probs = target_log_probs(parts, NgramWeight(w, w), targets)  # (E,)
            nats[:, i] -= np.bincount(length, log_probs * event_weights[places], lengths)
    lines = [NgramWeight(float(short), float(long)) for short in weights for long in weights]

    def cost(line: NgramWeight) -> float:
        at = np.linspace(line.short, line.long, lengths)
        return sum(np.interp(w, weights, row) for w, row in zip(at, nats, strict=True))

    return min(lines, key=cost)
