"""How far back in a name a network's loss reaches: its gradient through time."""

# N names, T time steps, H hidden

import numpy as np
import torch
from torch.nn import functional

from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.names.dataset import EncodedNames, batches_by_length

FARTHEST = 10
MOST_NAMES = 200


def gradient_reach(network: RecurrentNetwork, names: EncodedNames) -> list[float]:
    """The mean norm of dL_t / da_{t-d}, over names and time steps, for d = 0, 1, … `FARTHEST`.

    L_t is the cost of the character at step t, in nats, and a_{t-d} the activation of the last
    layer d steps before. Where it fades, what came long before no longer teaches the network
    (Bengio et al. 1994; Pascanu et al. 2013).

    Args:
        network: On the CPU; its dropout has no effect here.
        names: The first `MOST_NAMES` of them count.

    Returns:
        Shorter if no name is as long.
    """
    few = names.select(np.arange(min(len(names), MOST_NAMES)))
    sums, counts = np.zeros(FARTHEST + 1), np.zeros(FARTHEST + 1)
    for _, batch in batches_by_length(few, MOST_NAMES):
        state = network.initial_state(len(batch.inputs))
        activations: list[torch.Tensor] = []
        for ids, targets, scored in zip(batch.inputs.T, batch.targets.T, batch.mask.T, strict=True):
            _, state = network.step(ids, state, batch.categories)
            activations.append(state)  # (L, S, N, H)
            known = scored & (targets < network.vocab_size)  # (N,)
            logits = functional.linear(state[-1, 0], network.W_ya, network.b_y)  # (N, V)
            nats = functional.cross_entropy(
                logits, targets.where(known, 0), reduction="none"
            )  # (N,)
            back = activations[-1 : -FARTHEST - 2 : -1]  # a_t, a_{t-1}, …
            gradients = torch.autograd.grad(nats[known].sum(), back, retain_graph=True)
            for d, gradient in enumerate(gradients):
                norms = gradient[-1, 0].norm(dim=-1)[known]  # (N,)
                sums[d] += float(norms.sum())
                counts[d] += len(norms)
    return (sums[counts > 0] / counts[counts > 0]).tolist()
