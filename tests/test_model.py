import itertools
import math

import numpy as np
import pytest
from conftest import NAMES, make_model, with_fixed_logits
from rapidfuzz.distance import DamerauLevenshtein

from nomosaurus.dataset import EncodedNames
from nomosaurus.errors import ListError, SamplingError
from nomosaurus.generation import Request, Tally
from nomosaurus.model import name_table


def test_generate_and_score_agree(model):
    drawn = model.generate(50, Request(seed=1))
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
    assert all(name.new for name in model.generate(40, Request(new=True)))


def test_unique_leaves_out_repeats(model):
    fixed = with_fixed_logits(model, [0.0] * model.vocabulary.size)
    names = [name.name for name in fixed.generate(100, Request(unique=True))]
    assert len(set(names)) == 100


def test_what_is_filtered_only_leaves_out(model):
    everything = [name.name for name in model.generate(500)]
    request = Request(min_length=3, max_length=12, match="[eo]", avoid=["bel*"], min_distance=2)
    kept = [
        name
        for name, (_, distance) in zip(everything, model.nearest(everything), strict=True)
        if len(name) >= 3 and "e" in name and not name.startswith("bel") and distance >= 2
    ]
    assert len(kept) > 20
    assert [name.name for name in model.generate(20, request)] == kept[:20]


def test_names_between_two_lengths_come_as_often_as_the_model_says():
    # Every step: the end 0.5, a 0.3, b 0.2. Among names of two or three letters, those of two
    # have 0.125 of 0.1875.
    model = make_model(["ab", "ba"])
    fixed = with_fixed_logits(model, np.log([0.5, 0.3, 0.2]).tolist())
    names = [name.name for name in fixed.generate(6000, Request(min_length=2, max_length=3))]
    for name, p in {"aa": 0.045, "ab": 0.03, "bbb": 0.004, "aba": 0.009}.items():
        p /= 0.1875
        deviation = math.sqrt(p * (1 - p) / len(names))
        assert abs(names.count(name) / len(names) - p) < 5 * deviation, name


def test_new_names_come_from_a_model_that_nearly_always_copies():
    model = make_model(["ab", "ba", "aab"])
    # p("ab") = 0.2401 and the like: to copy is likelier than anything else.
    fixed = with_fixed_logits(model, np.log([0.3, 0.49, 0.21]).tolist())
    tally = Tally()
    names = [name.name for name in fixed.stream(2000, Request(new=True), tally)]
    assert not {"ab", "ba", "aab"} & set(names)
    assert tally.drawn == tally.kept + tally.left_out.total()
    # With replacement, and in the model's proportions: "a" 0.147, "b" 0.063.
    assert names.count("a") / names.count("b") == pytest.approx(147 / 63, rel=0.25)


def test_all_that_a_model_can_write_comes_exactly_once():
    model = make_model(["ab", "ba"])
    fixed = with_fixed_logits(model, np.log([0.5, 0.3, 0.2]).tolist())
    tally = Tally()
    names: list[str] = []
    with pytest.raises(SamplingError, match="the model can write no other") as caught:
        for name in fixed.stream(99, Request(unique=True, max_length=3), tally):
            names.append(name.name)
    letters = (itertools.product("ab", repeat=length) for length in (1, 2, 3))
    assert sorted(names) == sorted("".join(name) for length in letters for name in length)
    assert "found 14 of the 99 names" in str(caught.value)
    assert tally.share_used == pytest.approx(1)


def test_without_replacement_fewer_names_are_the_head_of_more(model):
    request = Request(unique=True, new=True, temperature=0.5)
    many = [name.name for name in model.generate(1500, request)]
    assert len(set(many)) == 1500
    for count in (1, 10, 300, 1000):
        assert [name.name for name in model.generate(count, request)] == many[:count]


def test_the_share_used_is_the_probability_of_what_was_drawn():
    # Every step: the end 0.5, a 0.3, b 0.2. The empty name (0.5) is drawn too, and left out.
    model = make_model(["ab", "ba"])
    fixed = with_fixed_logits(model, np.log([0.5, 0.3, 0.2]).tolist())
    tally = Tally()
    names = [name.name for name in fixed.stream(40, Request(unique=True), tally)]
    kept = sum(0.5 * 0.3 ** name.count("a") * 0.2 ** name.count("b") for name in names)
    assert set(tally.left_out) == {"too_short", "repeated"}
    assert tally.share_used == pytest.approx(0.5 + kept)


def test_names_keep_their_distance_from_every_learnt_one(model):
    names = [name.name for name in model.generate(50, Request(min_distance=3))]
    assert min(distance for _, distance in model.nearest(names)) == 3


def test_a_distance_of_one_leaves_out_the_learnt_names_themselves():
    # Every step: the end 0.5, a 0.3, b 0.2. So "ab" and "ba" come often, if they may.
    fixed = with_fixed_logits(make_model(["ab", "ba"]), np.log([0.5, 0.3, 0.2]).tolist())
    tally = Tally()
    names = {name.name for name in fixed.stream(300, Request(min_distance=1), tally)}
    assert not {"ab", "ba"} & names
    assert {"aa", "bb", "a"} <= names
    assert tally.left_out["too_near"] > 0


def test_lengths_that_no_name_has_are_refused(model):
    with pytest.raises(SamplingError, match="min_length must be at most 12"):
        model.generate(1, Request(min_length=13))
    with pytest.raises(SamplingError, match="has 4 characters, and a name has at most 3"):
        model.generate(1, Request(prefix="bela", max_length=3))


def test_an_empty_name_is_never_given(model):
    fixed = with_fixed_logits(model, [2.0] + [0.0] * (model.vocabulary.size - 1))
    assert all(name.name for name in fixed.generate(200))


def test_impossible_request_ends_and_says_what_it_managed():
    model = make_model(["a", "aa"])
    only_a = with_fixed_logits(model, [0.0, 1.0])
    with pytest.raises(SamplingError, match="found 12 of the 50 names asked for") as caught:
        only_a.generate(50, Request(unique=True))  # twelve lengths, and no more
    assert sorted(len(name.name) for name in caught.value.managed) == list(range(1, 13))


def test_prefix_is_normalised_and_may_end_in_a_space():
    model = make_model(["new york", "new delhi", "york"])
    names = model.generate(20, Request(prefix="NEW "))
    assert all(name.name.startswith("new ") for name in names)


def test_prefix_with_a_character_never_seen_is_refused(model):
    with pytest.raises(SamplingError, match="the character 'z', which no training name has"):
        model.generate(1, Request(prefix="az"))


def test_prefix_longer_than_any_name_is_refused(model):
    with pytest.raises(SamplingError, match="has 13 characters"):
        model.generate(1, Request(prefix="a" * 13))


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
    assert model.generate(1, Request(prefix="ΟΔΥΣ"))[0].name.startswith("οδυσ")


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


def test_score_is_given_the_category_or_sums_over_all_of_them(conditional):
    shares = {"long": 0.7, "other": 0.2, "short": 0.1}
    given = {category: conditional.score(["nala"], category)[0].log_prob for category in shares}
    assert len(set(given.values())) == 3
    expected = math.log(sum(share * math.exp(given[c]) for c, share in shares.items()))
    assert conditional.score(["nala"])[0].log_prob == pytest.approx(expected, abs=1e-5)
    assert conditional.score(["nala"], " short ")[0].log_prob == given["short"]


@pytest.mark.parametrize("given", [None, "short"])
def test_generate_and_score_agree_on_categories(conditional, given):
    drawn = conditional.generate(50, Request(seed=1, given=given))
    scored = conditional.score([name.name for name in drawn], given)
    for one, other in zip(drawn, scored, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)


def test_a_category_that_is_not_known_is_refused_with_those_that_are(conditional, model):
    with pytest.raises(ListError, match=r"category 'huge'; there are 'long', 'other', 'short'$"):
        conditional.score(["ana"], "huge")
    with pytest.raises(ListError, match="this model knows no category"):
        model.score(["ana"], "long")
    names = [f"n{i}" for i in range(30)]
    many = make_model(names, dict(zip(names, names, strict=True)))
    with pytest.raises(ListError) as caught:
        many.generate(1, Request(given="ana"))
    assert str(caught.value).count("'n") == 20
    assert str(caught.value).endswith(", …")
