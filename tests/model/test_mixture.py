from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CATEGORIES, NAMES, make_model, params_with

from nomosaurus.model.mixture import (
    Mixture,
    NgramWeight,
    category_shares,
    fit_mixture,
    fit_ngram_weight,
    mix,
)
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary


@pytest.fixture
def mixture() -> Mixture:
    return make_model().mixture


def weighted(mixture: Mixture, short: float, long: float | None = None) -> Mixture:
    weight = NgramWeight(short, short if long is None else long)
    return Mixture(mixture.networks, mixture.ngram, weight)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["ana", "blanca", "zx"])
def test_step_by_step_and_whole_names_agree(mixture, weight, name):
    mixture = weighted(mixture, weight)
    encoded = EncodedNames.from_names([name], make_model().vocabulary)
    whole = mixture.event_log_probs(encoded)  # (P,)
    state = mixture.initial_state(1)
    for x, target, expected in zip([0, *encoded.ids.tolist()], encoded.targets, whole, strict=True):
        log_probs, state = mixture.step(np.array([x]), state)
        assert log_probs.exp().sum().item() == pytest.approx(1)
        if target < mixture.vocab_size:
            assert log_probs[0, target].item() == pytest.approx(expected, abs=1e-5)


def test_the_ends_of_the_weight_are_the_parts(mixture):
    names = make_model().train
    np.testing.assert_allclose(
        weighted(mixture, 1.0).name_nats(names), mixture.ngram.name_nats(names)
    )
    one = weighted(Mixture(mixture.networks[:1] * 2, mixture.ngram, None), 0.0)
    other = weighted(Mixture(mixture.networks[:1], mixture.ngram, None), 0.0)
    np.testing.assert_allclose(one.name_nats(names), other.name_nats(names))
    np.testing.assert_allclose(
        mixture.networks_alone().name_nats(names), weighted(mixture, 0.0).name_nats(names)
    )


def test_parts_are_multiplied_with_their_weights_as_exponents(mixture):
    ids = np.array([0, 3])
    state = mixture.initial_state(2)
    alone = [weighted(Mixture([network], mixture.ngram, None), 0.0) for network in mixture.networks]
    networks = [part.step(ids, part.initial_state(2))[0].exp().numpy() for part in alone]
    ngram = mixture.ngram.distribution(mixture.ngram.advance(state.contexts, ids))
    product = ngram**0.3 * (networks[0] * networks[1]) ** (0.5 * 0.7)  # by hand, (2, V)
    expected = product / product.sum(axis=1, keepdims=True)
    mixed, _ = weighted(mixture, 0.3).step(ids, state)
    np.testing.assert_allclose(mixed.exp().numpy(), expected, rtol=1e-6)


def test_networks_that_forget_are_in_the_zero_state_at_every_step(mixture):
    names = EncodedNames.from_names(["bela"], make_model().vocabulary)
    alone = mixture.networks_alone()
    forgetful = alone.event_log_probs(names, forget=True)
    for place, x in enumerate([0, *names.ids[:-1].tolist()]):
        log_probs, _ = alone.step(np.array([x]), alone.initial_state(1))
        assert forgetful[place] == pytest.approx(log_probs[0, names.targets[place]].item())
    assert not np.allclose(forgetful, alone.event_log_probs(names))


def test_state_of_some_names_is_what_they_would_have_alone(mixture):
    ids = np.array([1, 2, 3])
    _, state = mixture.step(ids, mixture.initial_state(3))
    rows = np.array([2, 0])
    following, _ = mixture.step(ids[rows], state.select(rows))
    every, _ = mixture.step(ids, state)
    np.testing.assert_allclose(following, every[rows.tolist()], atol=1e-6)


def test_the_weight_runs_from_short_to_long_with_the_context_that_was_seen():
    model = make_model(["ab", "ba"])
    mixture = weighted(model.mixture, 0.2, 0.8)  # a 3-gram: contexts of 0, 1 and 2 symbols
    symbols = {c: model.vocabulary.encode(c).astype(np.int64) for c in "ab"}
    state = mixture.initial_state(1)
    seen = []
    for ids in (np.array([0]), symbols["a"], symbols["b"], symbols["b"], symbols["a"]):
        parts, state = mixture.parts(ids, state)
        seen.append(parts.seen.item())
        ws = {0.0: 0.2, 0.5: 0.5, 1.0: 0.8}
        at_this = weighted(mixture, ws[seen[-1]])
        torch.testing.assert_close(
            mix(parts, mixture.ngram_weight), mix(parts, at_this.ngram_weight)
        )
    # "^" is one symbol; "^a" and "ab" are two, both seen; "bb" was never seen, "b" was; "ba" was.
    assert seen == [0.5, 1.0, 1.0, 0.5, 1.0]


def test_fitted_weight_is_the_best_of_a_grid(mixture):
    names = EncodedNames.from_names(["anabela", "lana", "elba"], make_model().vocabulary)
    fitted = fit_ngram_weight(mixture, names)
    losses = {
        (short, long): weighted(mixture, short, long).name_nats(names).sum()
        for short in np.linspace(0, 1, 11)
        for long in np.linspace(0, 1, 11)
    }
    assert weighted(mixture, *fitted).name_nats(names).sum() <= min(losses.values()) + 1e-6


def test_a_weight_in_params_is_taken_as_it_is():
    model = make_model()
    params = params_with(model={"ngram_weight": 0.25, "ngram_max_order": 2}).model
    validation = EncodedNames.from_names(NAMES[:3], model.vocabulary)
    mixture = fit_mixture(model.mixture.networks, model.train, validation, params)
    assert mixture.ngram_weight == (0.25, 0.25)
    assert mixture.ngram.order == 2


LETTERS_AND_UNKNOWN = ["ana", "blanca", "n", "bxla"]


def given_each(mixture: Mixture, names: EncodedNames) -> np.ndarray:
    """log p(name | c) of each name, from single steps; shape (C, N)."""
    table = np.zeros((mixture.num_categories, len(names)))
    for category in range(mixture.num_categories):
        for row in range(len(names)):
            state = mixture.initial_state(1, np.array([category]))
            ids = names[row].astype(np.int64)
            for x, target in zip([0, *ids], [*ids, 0], strict=True):
                log_probs, state = mixture.step(np.array([x]), state)
                if target < mixture.vocab_size:
                    table[category, row] += log_probs[0, target].item()
    return table


def test_names_are_scored_given_their_category(conditional):
    mixture, vocabulary = conditional.mixture, conditional.vocabulary
    names = EncodedNames.from_names(LETTERS_AND_UNKNOWN, vocabulary)
    each = given_each(mixture, names)
    assert np.ptp(each, axis=0).min() > 1e-3  # the category makes a difference
    for category in range(3):
        nats = mixture.name_nats(names.with_category(category))
        np.testing.assert_allclose(nats, -each[category], atol=1e-5)


def test_a_category_that_is_not_known_is_summed_over_by_its_share(conditional):
    mixture, vocabulary = conditional.mixture, conditional.vocabulary
    assert vocabulary.categories == ("long", "other", "short")
    assert mixture.category_shares == (0.7, 0.2, 0.1)  # of ten names
    names = EncodedNames.from_names(LETTERS_AND_UNKNOWN, vocabulary)
    each = given_each(mixture, names)
    marginal = -np.log(np.exp(each).T @ [0.7, 0.2, 0.1])  # by hand, (N,)
    np.testing.assert_allclose(mixture.marginal_nats(names), marginal, atol=1e-5)
    np.testing.assert_allclose(mixture.name_nats(names), marginal, atol=1e-5)
    assert mixture.likeliest_categories(names).tolist() == [
        int(np.argmax(np.log([0.7, 0.2, 0.1]) + column)) for column in each.T
    ]
    some = replace(names, categories=np.array([1, 3, 0, 3]))
    expected = [-each[1, 0], marginal[1], -each[0, 2], marginal[3]]
    np.testing.assert_allclose(mixture.name_nats(some), expected, atol=1e-5)
    np.testing.assert_allclose(mixture.marginal_nats(some), marginal, atol=1e-5)


@pytest.mark.parametrize("forget", [False, True])
def test_steps_without_a_category_are_the_marginals_events(conditional, forget):
    mixture = conditional.mixture
    names = EncodedNames.from_names(["elena", "ab"], conditional.vocabulary)
    whole = mixture.event_log_probs(names, forget=forget)
    for row in range(2):
        ids = names[row].astype(np.int64)
        zero = state = mixture.initial_state(1)
        for t, (x, target) in enumerate(zip([0, *ids], [*ids, 0], strict=True)):
            if forget:
                state = state._replace(activations=zero.activations)
            log_probs, state = mixture.step(np.array([x]), state)
            assert log_probs.exp().sum().item() == pytest.approx(1)
            place = names.event_offsets[row] + t
            assert log_probs[0, target].item() == pytest.approx(whole[place], abs=1e-5)


def test_some_names_keep_what_they_know_of_their_categories(conditional):
    mixture = conditional.mixture
    ids = np.array([1, 2, 3])
    for categories in (None, np.array([2, 0, 1])):
        _, state = mixture.step(np.zeros(3, dtype=np.int64), mixture.initial_state(3, categories))
        rows = np.array([2, 0])
        following, _ = mixture.step(ids[rows], state.select(rows))
        every, _ = mixture.step(ids, state)
        np.testing.assert_allclose(following, every[rows.tolist()], atol=1e-6)


def test_without_categories_the_marginal_is_the_plain_likelihood(mixture):
    names = make_model().train
    np.testing.assert_array_equal(mixture.marginal_nats(names), mixture.name_nats(names))


def test_shares_are_by_weight():
    of = {"ana": ("x",), "bela": ("x", "y")}
    vocabulary = Vocabulary.from_names(list(of), of)
    names = EncodedNames.from_names(list(of), vocabulary, of, {"bela": 3.0})
    assert category_shares(names, 2) == (2.5 / 4, 1.5 / 4)


def test_fitting_counts_the_shares(conditional):
    params = params_with(model={"ngram_weight": 0.25}).model
    train = conditional.train
    mixture = fit_mixture(conditional.mixture.networks, train, train, params)
    assert mixture.category_shares == tuple(
        sum(CATEGORIES[name] == category for name in NAMES) / 10
        for category in ("long", "other", "short")
    )
