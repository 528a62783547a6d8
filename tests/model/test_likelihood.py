import numpy as np
import pytest
import torch
from conftest import NAMES, params_with

from nomosaurus.model.likelihood import event_log_probs, mean_nats
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_names(NAMES)


@pytest.fixture
def network() -> RecurrentNetwork:
    network = RecurrentNetwork(params_with().model, VOCABULARY.size)
    network.initialise(torch.Generator().manual_seed(0))
    return network.eval()


def encoded(names) -> EncodedNames:
    return EncodedNames.from_names(names, VOCABULARY)


def test_events_are_each_names_letters_and_its_end(network):
    names = ["bela", "a", "nana"]
    log_probs = event_log_probs(network, encoded(names))
    place = 0
    for name in names:
        ids = [0, *VOCABULARY.encode(name).tolist()]
        expected = network.unroll(torch.tensor([ids])).log_softmax(-1)[0]  # (T, V)
        for step, target in enumerate([*ids[1:], 0]):
            assert log_probs[place] == pytest.approx(expected[step, target].item(), abs=1e-6)
            place += 1
    assert place == len(log_probs)


def test_a_name_is_worth_the_same_in_any_company(network):
    together = encoded(NAMES).sum_by_name(event_log_probs(network, encoded(NAMES)))
    for name, value in zip(NAMES, together, strict=True):
        alone = event_log_probs(network, encoded([name])).sum()
        assert value == pytest.approx(alone, rel=1e-6)


def test_corpus_loss_is_sum_over_count_and_not_a_mean_of_means(network):
    names = encoded(["a", "belanabelana"])
    log_probs = event_log_probs(network, names)
    assert mean_nats(network, names) == pytest.approx(-log_probs.sum() / (2 + 13))


def test_unknown_character_counts_as_0_and_is_not_among_the_events(network):
    names = encoded(["axb"])
    log_probs = event_log_probs(network, names)
    assert log_probs[1] == 0
    assert mean_nats(network, names) == pytest.approx(-log_probs.sum() / 3)


def test_no_names_have_no_events(network):
    assert event_log_probs(network, encoded([])).shape == (0,)
    assert np.isnan(encoded([]).sum_by_name(np.zeros(0))).sum() == 0
