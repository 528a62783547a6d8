import math

import numpy as np
import pytest

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.distances import (
    distances_from_training,
    js_distance,
    name_lengths,
    ngrams,
    wasserstein,
)
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_names(["ab", "c"])
KEYS = ["js_1gram", "js_2gram", "js_3gram", "length_wasserstein"]


def encode(*names: str) -> EncodedNames:
    return EncodedNames.from_names(names, VOCABULARY)


def compare(train, drawn, held_out, num_samples=50):
    sides = (encode(*names) for names in (train, drawn, held_out))
    return distances_from_training(*sides, VOCABULARY.size, Bootstrap(num_samples, 0))


@pytest.mark.parametrize(
    ("n", "grams"),
    [
        (1, ["a", "b", "$", "c", "$", "a", "?", "$"]),
        (2, ["^a", "ab", "b$", "^c", "c$", "^a", "a?", "?$"]),
        (3, ["^ab", "ab$", "^c$", "^a?", "a?$"]),
    ],
)
def test_ngrams_are_all_windows_between_the_boundaries(n, grams):
    found = ngrams(n, VOCABULARY.size, encode("ab", "c", "ax"))
    ids = {"^": 0, "$": 0, "a": 1, "b": 2, "c": 3, "?": 4}
    by_hand = [sum(ids[c] * 5**i for i, c in enumerate(reversed(gram))) for gram in grams]
    assert found.values.tolist() == by_hand
    rows = {1: [0, 0, 0, 1, 1, 2, 2, 2], 2: [0, 0, 0, 1, 1, 2, 2, 2], 3: [0, 0, 1, 2, 2]}
    assert found.rows.tolist() == rows[n]


def test_lengths_count_unknown_characters():
    assert name_lengths(encode("ab", "c", "axyz")).values.tolist() == [2, 1, 4]


def test_js_distance_by_hand():
    one, other = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    # m = (3/4, 1/4): H(m) - (H(p) + H(q)) / 2 = 2 - 3/4 log2 3 - 1/2.
    expected = math.sqrt(1.5 - 0.75 * math.log2(3))
    assert js_distance(one, other, None) == pytest.approx(expected)
    assert js_distance(other, one, None) == pytest.approx(expected)
    assert js_distance(one, np.array([0.0, 1.0]), None) == pytest.approx(1)
    assert js_distance(other, other, None) == 0


def test_wasserstein_by_hand():
    values = np.array([1, 2, 5])
    # Half of the names move from 1 to 5, a quarter from 2 to 5.
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.25, 0.75])
    assert wasserstein(p, q, values) == pytest.approx(0.5 * 4 + 0.25 * 3)
    assert wasserstein(p, p, values) == 0
    assert wasserstein(np.ones(1), np.ones(1), np.array([3])) == 0


def test_a_model_that_copies_the_list_is_at_no_distance():
    found = compare(["ab", "c"], ["ab", "c"], ["ba", "c"])
    assert list(found) == KEYS
    for estimate in found.values():
        assert estimate.value == pytest.approx(0, abs=1e-7)
        assert estimate.low is None
    assert found["js_2gram"].floor > 0.3  # ^b, ba and a$ for ^a, ab and b$
    assert found["js_1gram"].floor == found["length_wasserstein"].floor == 0


def test_a_model_that_always_says_the_same_name_is_far_from_the_list():
    found = compare(["ab", "c"] * 6, ["c"] * 40, ["ab", "c"] * 6)
    assert found["length_wasserstein"].value == pytest.approx(0.5)  # half are one too short
    # Shares of a, b, c and the end: 1/5, 1/5, 1/5, 2/5 against 0, 0, 1/2, 1/2.
    p, q = np.array([0.2, 0.2, 0.2, 0.4]), np.array([0, 0, 0.5, 0.5])
    assert found["js_1gram"].value == pytest.approx(js_distance(p, q, None))
    assert all(found[key].floor < 1e-7 < found[key].low for key in KEYS)


def test_samples_of_equal_size_are_compared():
    # Drawn and held-out names come from one source, a hundred times as many drawn: what chance
    # adds to the distances of 30 names must be in both.
    generator = np.random.default_rng(0)
    source = ["".join(generator.choice(list("abc"), generator.integers(1, 9))) for _ in range(5000)]
    found = compare(source[:1000], source[1000:4000], source[4000:4030], num_samples=400)
    for key in KEYS:
        assert found[key].low < found[key].floor < found[key].high
    more = compare(source[:1000], source[1000:4000], source[4000:5000], num_samples=50)
    assert more["js_3gram"].floor < found["js_3gram"].floor / 2


def test_one_name_on_each_side_and_no_drawn_name():
    for estimate in compare(["ab"], ["c"], ["ab"]).values():
        assert estimate.floor == pytest.approx(0, abs=1e-7)
        assert 0 < estimate.value <= 1
    for estimate in compare(["ab"], [], ["ab"]).values():
        assert (estimate.value, estimate.low, estimate.floor) == (None, None, None)
