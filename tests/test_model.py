import math

import numpy as np
import pytest
from conftest import NAMES, make_model, with_fixed_logits
from rapidfuzz.distance import DamerauLevenshtein

from nomosaurus.dataset import EncodedNames
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


def test_neighbours_are_those_of_comparing_with_every_name():
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 8, size=120)
    names = list(dict.fromkeys("".join(generator.choice(list("abc"), n)) for n in lengths))
    model = make_model(names)
    # "ca" is 2 edits from "abc", by swapping and inserting; 3 if what was swapped must stay.
    asked = ["ca", "abc", "aaacccb", "bdé", *names[:20]]
    for name, near in zip(asked, model.neighbours(asked, 4), strict=True):
        every = [(other, DamerauLevenshtein.distance(name, other)) for other in names]
        assert near == sorted(every, key=lambda pair: pair[1])[:4]


def test_neighbours_do_not_depend_on_how_many_are_compared_at_once(model, monkeypatch):
    together = model.neighbours(NAMES, 2)
    monkeypatch.setattr("nomosaurus.model.DISTANCES_AT_ONCE", 1)
    assert model.neighbours(NAMES, 2) == together
    assert [near[0] for near in together] == [(name, 0) for name in NAMES]


def test_a_short_list_has_no_more_neighbours_than_names():
    assert make_model(["ab"]).neighbours(["abc"], 3) == [[("ab", 1)]]


def test_events_of_a_name_add_up_to_its_nats(model):
    names = EncodedNames.from_names(["bela", "zoé"], model.vocabulary)
    events = model.event_nats(names)
    assert len(events) == 9
    np.testing.assert_allclose([events[:5].sum(), events[5:].sum()], model.nats(names))


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
