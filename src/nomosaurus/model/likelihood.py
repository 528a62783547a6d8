"""What a network makes of names that it is given."""

# N names, P events of all names (letters and ends, name after name), B batch,
# T time steps, V vocabulary

import numpy as np
import torch

from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.names.dataset import EncodedNames, batches_by_length

SCORING_BATCH = 512


@torch.inference_mode()
def event_log_probs(network: RecurrentNetwork, names: EncodedNames) -> np.ndarray:
    """Log-probability of each event, in nats; shape (P,).

    A character outside the vocabulary has no probability here and counts as 0;
    `Vocabulary.unknown_nats` accounts for it. A category that is not known is a row of zeros.
    """
    device = network.b_y.device
    starts = names.event_offsets[:-1]
    log_probs = np.zeros(names.num_events)
    for rows, batch in batches_by_length(names, SCORING_BATCH):
        batch = batch.to(device)
        logits = network.unroll(batch.inputs, categories=batch.categories)  # (B, T, V)
        known = batch.targets < network.vocab_size  # (B, T)
        targets = batch.targets.where(known, 0).unsqueeze(2)  # (B, T, 1)
        chosen = torch.log_softmax(logits, dim=-1).gather(2, targets).squeeze(2)  # (B, T)
        of_batch = chosen.where(known, 0).cpu().double().numpy()  # (B, T)
        mask = batch.mask.cpu().numpy()
        place = starts[rows][:, None] + np.arange(mask.shape[1])  # (B, T)
        log_probs[place[mask]] = of_batch[mask]
    return log_probs


def mean_nats(network: RecurrentNetwork, names: EncodedNames) -> float:
    """Corpus sum of nats over corpus count of known events, the ends counted, both weighted."""
    return -names.mean_of_known(event_log_probs(network, names), network.vocab_size)
