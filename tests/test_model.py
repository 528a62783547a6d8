import math

import numpy as np
import pytest
from conftest import NAMES, make_model, with_fixed_logits
from rapidfuzz.distance import DamerauLevenshtein

from nomosaurus.errors import SamplingError
from nomosaurus.model import name_table


def test_generate_and_score_agree(model):
    drawn = model.generate(50, seed=1)
    for one, other in zip(drawn, model.score([name.name for name in drawn]), strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
        assert (one.name, one.chars, one.new) == (other.name, other.chars, other.new)


def test_score_counts_the_end_and_keeps_the_order(model):
    scored = model.score(["bela", "a"])
    assert [name.name for name in scored] == ["bela", "a"]
    assert [name.chars for name in scored] == [5, 2]
    for name in scored:
        bits = -name.log_prob / name.chars / math.log(2)
        assert name.bits_per_char == pytest.approx(bits, abs=1e-4)


def test_score_normalises_but_shows_the_name_as_given(model):
    plain, shouted = model.score(["bela", "  BELA "])
    assert shouted.name == "  BELA "
    assert shouted.log_prob == plain.log_prob
    assert not shouted.new


def test_character_never_seen_costs_the_unknown_event(model):
    known, unknown = model.score(["an", "anx"])
    assert math.isfinite(unknown.log_prob)
    assert unknown.log_prob < known.log_prob + math.log(model.vocabulary.unknown_mass) + 5


def test_new_means_on_no_side_of_the_list(model):
    assert [name.new for name in model.score(["ana", "anas"])] == [False, True]
    assert all(name.new for name in model.generate(40, new=True))


def test_unique_leaves_out_repeats(model):
    fixed = with_fixed_logits(model, [0.0] * model.vocabulary.size)
    names = [name.name for name in fixed.generate(100, unique=True)]
    assert len(set(names)) == 100


def test_filters_only_leave_out(model):
    everything = [name.name for name in model.generate(500)]
    kept = [name for name in dict.fromkeys(everything) if name not in NAMES]
    assert [name.name for name in model.generate(20, new=True, unique=True)] == kept[:20]


def test_an_empty_name_is_never_given(model):
    fixed = with_fixed_logits(model, [2.0] + [0.0] * (model.vocabulary.size - 1))
    assert all(name.name for name in fixed.generate(200))


def test_impossible_request_ends_and_says_what_it_managed():
    model = make_model(["a", "aa"])
    only_a = with_fixed_logits(model, [0.0, 1.0])
    with pytest.raises(SamplingError, match="found 12 of the 50 names asked for") as caught:
        only_a.generate(50, unique=True)  # twelve lengths, and no more
    assert sorted(len(name.name) for name in caught.value.managed) == list(range(1, 13))


def test_prefix_is_normalised_and_may_end_in_a_space():
    model = make_model(["new york", "new delhi", "york"])
    names = model.generate(20, prefix="NEW ")
    assert all(name.name.startswith("new ") for name in names)


def test_prefix_with_a_character_never_seen_is_refused(model):
    with pytest.raises(SamplingError, match="the character 'z', which no training name has"):
        model.generate(1, prefix="az")


def test_prefix_longer_than_any_name_is_refused(model):
    with pytest.raises(SamplingError, match="has 13 characters"):
        model.generate(1, prefix="a" * 13)


def test_a_name_whose_characters_join_is_not_given():
    # A consonant with a virama and the next consonant are one cluster when they meet.
    model = make_model(["\u0915\u094d", "\u0937\u0915", "\u0937\u0915\u094d", "\u0915\u0937"])
    drawn = model.generate(200)
    assert drawn
    for one, other in zip(drawn, model.score([name.name for name in drawn]), strict=True):
        assert one.chars == other.chars
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)


def test_prefix_that_ends_in_sigma_keeps_its_form():
    model = make_model(["οδυσσεας", "σωσος"])
    assert model.generate(1, prefix="ΟΔΥΣ")[0].name.startswith("οδυσ")


def test_nearest_counts_swapped_letters_as_one_edit(model):
    assert model.nearest(["eelna", "blancas", "ana"]) == [
        ("elena", 1),
        ("blanca", 1),
        ("ana", 0),
    ]


def test_nearest_is_exact_where_the_quick_bound_is_not():
    # The unrestricted distance swaps letters with others between them: "ca" to "abc" is one swap
    # and one more letter, where swapping neighbours alone needs three edits.
    assert make_model(["zz", "abc"]).nearest(["ca"]) == [("zz", 2)]
    assert make_model(["zzz", "abc"]).nearest(["ca"]) == [("abc", 2)]
    generator = np.random.default_rng(0)
    words = ["".join(generator.choice(list("abcd"), generator.integers(1, 8))) for _ in range(400)]
    train = list(dict.fromkeys(words[:200]))
    for word, (nearest, distance) in zip(words, make_model(train).nearest(words), strict=True):
        distances = [DamerauLevenshtein.distance(word, name) for name in train]
        assert (nearest, distance) == (train[np.argmin(distances)], min(distances))


def test_nearest_counts_in_characters_and_takes_unknown_ones_for_others():
    assert make_model(["मुंबई", "ana"]).nearest(["मुंबxई", "🦖"]) == [("मुंबई", 1), ("मुंबई", 3)]
    assert make_model().nearest([]) == []


def test_table_has_a_row_a_name(model):
    table = name_table(model, model.generate(5))
    assert list(table.columns) == [
        "name",
        "log_prob",
        "chars",
        "bits_per_char",
        "new",
        "nearest",
        "distance",
    ]
    assert len(table) == 5
