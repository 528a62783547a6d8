import math
from itertools import pairwise

import numpy as np
import pytest
from conftest import NAMES

from nomosaurus.model.ngram import KneserNey, _discounts, choose_order
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_names(NAMES)


def encoded(names) -> EncodedNames:
    return EncodedNames.from_names(names, VOCABULARY)


def fit(order, names=NAMES) -> KneserNey:
    return KneserNey.fit(encoded(names), VOCABULARY.size, order)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("name", ["ana", "zzz", "bnb", "lennnn"])
def test_probabilities_sum_to_1_after_every_context(order, name):
    model = fit(order)
    symbols = np.concatenate(([0], VOCABULARY.encode(name)))
    contexts = model.contexts(symbols, np.arange(len(symbols)))  # (K, places)
    total = sum(
        model.probabilities(contexts, np.full(len(symbols), symbol))
        for symbol in range(VOCABULARY.size)
    )
    np.testing.assert_allclose(total, 1, atol=1e-12)


def test_probability_of_all_short_names_sums_to_at_most_1():
    model = fit(3)
    letters = VOCABULARY.characters
    names = list(letters) + [a + b for a in letters for b in letters]
    total = np.exp(-model.name_nats(encoded(names))).sum()
    assert 0 < total < 1


def test_bigram_worked_by_hand():
    # Names "ab" and "aa", order 2. Bigrams (. is the boundary): .a 2, ab 1, b. 1, aa 1, a. 1.
    # Counts of counts n1 = 4, n2 = 1, n3 = 0, so the fixed discounts 0.5, 1, 1.5 hold.
    # Unigrams are counted by how many symbols come before them: a after . and a: 2,
    # b after a: 1, . after b and a: 2. Counts of counts n1 = 1, n2 = 2, n3 = 0: fixed too.
    # The discounts take 1 + 0.5 + 1 = 2.5 of 5, and the uniform distribution is 1/3.
    #   p(a) = (2 - 1)/5 + 2.5/5 * 1/3 = 11/30, p(.) the same, p(b) = 0.5/5 + 1/6 = 8/30
    # After a: counts b 1, a 1, . 1; the discounts take 1.5 of 3.
    #   p(b | a) = 0.5/3 + 1.5/3 * 8/30 = 0.3
    # After the first boundary: a 2; the discount takes 1 of 2.
    #   p(a | .) = 1/2 + 1/2 * 11/30 = 41/60
    # After b: . 1; the discount takes 0.5 of 1.
    #   p(. | b) = 1/2 + 1/2 * 11/30 = 41/60
    vocabulary = Vocabulary.from_names(["ab", "aa"])
    names = EncodedNames.from_names(["ab", "aa"], vocabulary)
    model = KneserNey.fit(names, vocabulary.size, order=2)
    nats = model.name_nats(names)[0]
    assert math.exp(-nats) == pytest.approx(41 / 60 * 0.3 * 41 / 60)


def test_discounts_follow_chen_and_goodman():
    # n1 = 8, n2 = 4, n3 = 2, n4 = 1: Y = 8 / (8 + 8) = 0.5.
    # D1 = 1 - 2 Y n2 / n1 = 0.5; D2 = 2 - 3 Y n3 / n2 = 1.25; D3 = 3 - 4 Y n4 / n3 = 2.
    counts = np.array([1] * 8 + [2] * 4 + [3] * 2 + [4])
    assert _discounts(counts).tolist() == [0, 0.5, 1.25, 2]


def by_definition(names: list[str], order: int, name: str) -> float:
    """Modified Kneser-Ney with dictionaries and recursion, straight from the paper."""
    grams: list[dict[tuple, int]] = [{} for _ in range(order + 1)]
    before: dict[tuple, set] = {}
    for text in names:
        padded = (".", *text, ".")
        for end in range(1, len(padded)):
            for k in range(1, min(order, end + 1) + 1):
                gram = padded[end - k + 1 : end + 1]
                grams[k][gram] = grams[k].get(gram, 0) + 1
                if end - k >= 0:
                    before.setdefault(gram, set()).add(padded[end - k])
    for k in range(1, order):
        for gram in grams[k]:
            if not (gram[0] == "." and k > 1):
                grams[k][gram] = len(before[gram])
    discounts = [_discounts(np.array(list(counts.values()))) for counts in grams[1:]]
    num_symbols = len(set("".join(NAMES))) + 1

    def p(symbol, context):
        lower = p(symbol, context[1:]) if context else 1 / num_symbols
        k = len(context) + 1
        followers = {g: c for g, c in grams[k].items() if g[:-1] == context}
        total = sum(followers.values())
        if total == 0:
            return lower
        count = followers.get((*context, symbol), 0)
        kept = sum(discounts[k - 1][min(c, 3)] for c in followers.values())
        return (count - discounts[k - 1][min(count, 3)]) / total + kept / total * lower

    padded = (".", *name, ".")
    nats = 0.0
    for end in range(1, len(padded)):
        context = padded[max(0, end - order + 1) : end]
        nats -= math.log(p(padded[end], context))
    return nats


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_vectorised_form_equals_the_definition(order):
    model = fit(order)
    for name in ["ana", "belana", "zzz".replace("z", "n"), "blaaa"]:
        expected = by_definition(NAMES, order, name)
        assert model.name_nats(encoded([name]))[0] == pytest.approx(expected, abs=1e-10)


def test_learnt_names_are_likelier_than_shuffled_ones():
    model = fit(3)
    learnt, shuffled = model.name_nats(encoded(["elena", "aneel"]))
    assert learnt < shuffled


def test_unknown_character_adds_nothing_and_breaks_the_context():
    model = fit(3)
    known = model.name_nats(encoded(["ana"]))[0]
    unknown = model.name_nats(encoded(["xana"]))[0]
    assert np.isfinite(unknown)
    assert unknown != known


def test_order_is_the_one_that_validation_prefers():
    train, validation = encoded(NAMES[:7]), encoded(NAMES[7:])
    chosen = choose_order(train, validation, VOCABULARY.size, max_order=5)
    losses = [
        KneserNey.fit(train, VOCABULARY.size, order).name_nats(validation).sum()
        for order in range(1, 6)
    ]
    assert losses[chosen.order - 1] == min(losses)


@pytest.mark.parametrize("names", [["a"], ["al", "ak"], ["abcde", "a"]])
def test_order_is_at_most_what_the_longest_name_allows(names):
    vocabulary = Vocabulary.from_names(names)
    short = EncodedNames.from_names(names, vocabulary)
    model = KneserNey.fit(short, vocabulary.size, order=20)
    assert model.order == max(map(len, names)) + 2
    assert np.isfinite(model.name_nats(short)).all()
    assert choose_order(short, short, vocabulary.size, max_order=8).order <= model.order


@pytest.mark.parametrize("order", [1, 3, 6])
def test_distribution_is_the_probability_of_every_symbol(order):
    model = fit(order)
    symbols = np.concatenate(([0], VOCABULARY.encode("belazzna")))
    contexts = model.contexts(symbols, np.arange(len(symbols)))  # (K, places)
    expected = np.stack(
        [
            model.probabilities(contexts, np.full(len(symbols), symbol))
            for symbol in range(VOCABULARY.size)
        ],
        axis=1,
    )
    np.testing.assert_allclose(model.distribution(contexts), expected, rtol=1e-12)


def test_a_longer_order_fits_its_own_names_better():
    losses = [fit(order).name_nats(encoded(NAMES)).sum() for order in (1, 2, 3, 4)]
    assert all(longer < shorter for shorter, longer in pairwise(losses))


def weighted(weights) -> KneserNey:
    names = EncodedNames.from_names(NAMES, VOCABULARY, weights=weights)
    return KneserNey.fit(names, VOCABULARY.size, 3)


def test_the_unit_of_weights_does_not_matter():
    nats = weighted(dict.fromkeys(NAMES, 0.001)).name_nats(encoded(NAMES))
    np.testing.assert_allclose(nats, fit(3).name_nats(encoded(NAMES)), rtol=1e-12)


def test_a_name_of_more_weight_is_likelier_and_probabilities_still_sum_to_1():
    model = weighted({NAMES[0]: 50.0})
    name = encoded(NAMES[:1])
    assert model.name_nats(name)[0] < fit(3).name_nats(name)[0] - 0.5
    symbols = np.concatenate(([0], VOCABULARY.encode(NAMES[0])))
    contexts = model.contexts(symbols, np.arange(len(symbols)))
    total = sum(
        model.probabilities(contexts, np.full(len(symbols), symbol))
        for symbol in range(VOCABULARY.size)
    )
    np.testing.assert_allclose(total, 1, atol=1e-12)


def test_a_name_of_several_categories_is_counted_once():
    of = dict.fromkeys(NAMES, ("x", "y"))
    vocabulary = Vocabulary.from_names(NAMES, of)
    names = EncodedNames.from_names(NAMES, vocabulary, of)
    nats = KneserNey.fit(names, vocabulary.size, 3).name_nats(encoded(NAMES))
    np.testing.assert_allclose(nats, fit(3).name_nats(encoded(NAMES)), rtol=1e-12)
