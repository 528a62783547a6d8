import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_model, with_fixed_logits
from rapidfuzz.distance import DamerauLevenshtein

from nomosaurus.errors import ListError, SamplingError
from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.nearest import neighbours
from nomosaurus.generation.request import Request, Tally
from nomosaurus.names.casing import Casing

PLAIN = {"temperature": 1.0, "new": False, "unique": False}
"""Draws from the model's own distribution."""


def test_generate_and_score_agree(model):
    drawn = NameGenerator(model).generate(50, Request(**PLAIN, seed=1))
    for one, other in zip(drawn, model.score([name.name for name in drawn]), strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
        assert (one.name, one.chars, one.new) == (other.name, other.chars, other.new)


def test_new_means_on_no_side_of_the_list(model):
    assert [name.new for name in model.score(["ana", "anas"])] == [False, True]
    assert all(name.new for name in NameGenerator(model).generate(40, Request(new=True)))


def test_unique_leaves_out_repeats(model):
    fixed = with_fixed_logits(model, [0.0] * model.vocabulary.size)
    names = [name.name for name in NameGenerator(fixed).generate(100, Request(unique=True))]
    assert len(set(names)) == 100


def test_what_is_filtered_only_leaves_out(model):
    everything = [name.name for name in NameGenerator(model).generate(500, Request(**PLAIN))]
    wishes = {"min_length": 3, "max_length": 12, "match": "[eo]", "min_distance": 2}
    request = Request(**PLAIN, avoid=["bel*"], **wishes)
    kept = [
        name
        for name, (near,) in zip(everything, neighbours(model, everything, 1), strict=True)
        if len(name) >= 3 and "e" in name and not name.startswith("bel") and near.distance >= 2
    ]
    assert len(kept) > 20
    assert [name.name for name in NameGenerator(model).generate(20, request)] == kept[:20]


@pytest.mark.slow
def test_names_between_two_lengths_come_as_often_as_the_model_says():
    # Every step: the end 0.5, a 0.3, b 0.2. Among names of two or three letters, those of two
    # have 0.125 of 0.1875.
    model = make_model(["ab", "ba"])
    fixed = with_fixed_logits(model, np.log([0.5, 0.3, 0.2]).tolist())
    names = [
        name.name
        for name in NameGenerator(fixed).generate(
            6000, Request(**PLAIN, min_length=2, max_length=3)
        )
    ]
    for name, p in {"aa": 0.045, "ab": 0.03, "bbb": 0.004, "aba": 0.009}.items():
        p /= 0.1875
        deviation = math.sqrt(p * (1 - p) / len(names))
        assert abs(names.count(name) / len(names) - p) < 5 * deviation, name


def test_new_names_come_from_a_model_that_nearly_always_copies():
    model = make_model(["ab", "ba", "aab"])
    # p("ab") = 0.2401 and the like: to copy is likelier than anything else.
    fixed = with_fixed_logits(model, np.log([0.3, 0.49, 0.21]).tolist())
    tally = Tally()
    request = Request(**PLAIN | {"new": True})
    names = [name.name for name in NameGenerator(fixed).stream(2000, request, tally)]
    assert not {"ab", "ba", "aab"} & set(names)
    assert tally.drawn == tally.kept + tally.left_out.total()
    # With replacement, and in the model's proportions: "a" 0.147, "b" 0.063.
    assert names.count("a") / names.count("b") == pytest.approx(147 / 63, rel=0.25)


def test_all_that_a_model_can_write_comes_exactly_once():
    model = make_model(["ab", "ba"])
    fixed = with_fixed_logits(model, np.log([0.5, 0.3, 0.2]).tolist())
    tally = Tally()
    request = Request(**PLAIN | {"unique": True}, max_length=3)
    names: list[str] = []
    with pytest.raises(SamplingError, match="the model cannot write any others") as caught:
        for name in NameGenerator(fixed).stream(99, request, tally):
            names.append(name.name)
    letters = (itertools.product("ab", repeat=length) for length in (1, 2, 3))
    assert sorted(names) == sorted("".join(name) for length in letters for name in length)
    assert "found 14 of the 99 names" in str(caught.value)
    assert tally.share_used == pytest.approx(1)


def test_without_replacement_fewer_names_are_the_head_of_more(model):
    request = Request(unique=True, new=True, temperature=0.5)
    many = [name.name for name in NameGenerator(model).generate(1500, request)]
    assert len(set(many)) == 1500
    for count in (1, 10, 300, 1000):
        assert [name.name for name in NameGenerator(model).generate(count, request)] == many[:count]


def test_the_share_used_is_the_probability_of_what_was_drawn():
    # Every step: the end 0.5, a 0.3, b 0.2. The empty name (0.5) is drawn too, and left out.
    model = make_model(["ab", "ba"])
    fixed = with_fixed_logits(model, np.log([0.5, 0.3, 0.2]).tolist())
    tally = Tally()
    request = Request(**PLAIN | {"unique": True})
    names = [name.name for name in NameGenerator(fixed).stream(40, request, tally)]
    kept = sum(0.5 * 0.3 ** name.count("a") * 0.2 ** name.count("b") for name in names)
    assert set(tally.left_out) == {"too_short", "repeated"}
    assert tally.share_used == pytest.approx(0.5 + kept)


def test_names_keep_their_distance_from_every_learnt_one(model):
    names = [name.name for name in NameGenerator(model).generate(50, Request(min_distance=3))]
    assert min(near.distance for (near,) in neighbours(model, names, 1)) == 3


def test_a_distance_of_one_leaves_out_the_learnt_names_themselves():
    # Every step: the end 0.5, a 0.3, b 0.2. So "ab" and "ba" come often, if they may.
    fixed = with_fixed_logits(make_model(["ab", "ba"]), np.log([0.5, 0.3, 0.2]).tolist())
    tally = Tally()
    request = Request(**PLAIN, min_distance=1)
    names = {name.name for name in NameGenerator(fixed).stream(300, request, tally)}
    assert not {"ab", "ba"} & names
    assert {"aa", "bb", "a"} <= names
    assert tally.left_out["too_near"] > 0


def test_names_keep_their_distance_from_those_to_avoid_too(model):
    free = [name.name for name in NameGenerator(model).generate(40, Request(min_distance=2))]
    request = Request(min_distance=2, avoid=[free[0].upper(), free[7], "*zz*"])
    names = [name.name for name in NameGenerator(model).generate(40, request)]
    for avoided in (free[0], free[7]):
        assert min(DamerauLevenshtein.distance(avoided, name) for name in names) >= 2


def test_no_name_costs_more_bits_than_asked(model):
    free = NameGenerator(model).generate(200)
    limit = sorted(name.bits_per_char for name in free)[100]
    tally = Tally()
    names = list(NameGenerator(model).stream(50, Request(max_bits=limit), tally))
    assert max(name.bits_per_char for name in names) <= limit
    assert tally.left_out["unnatural"] > 0
    wanted = [name for name in free if name.bits_per_char <= limit]
    assert names == wanted[:50]


def test_lengths_that_no_name_has_are_refused(model):
    with pytest.raises(SamplingError, match="min_length must be at most 12"):
        NameGenerator(model).generate(1, Request(min_length=13))
    with pytest.raises(SamplingError, match="has 4 characters, and a name has at most 3"):
        NameGenerator(model).generate(1, Request(prefix="bela", max_length=3))


def test_names_are_written_as_the_list_writes_them(model):
    upper = Casing.learn([name.upper() for name in ("ana", "bela")])
    written = NameGenerator(replace(model, casing=upper)).generate(30)
    raw = NameGenerator(replace(model, casing=upper)).generate(30, Request(raw=True))
    assert [name.name for name in written] == [name.name.upper() for name in raw]
    assert all(name.name.islower() for name in raw)
    assert [name.log_prob for name in written] == [name.log_prob for name in raw]
    near = neighbours(replace(model, casing=upper), ["BELANA"], 1)[0][0]
    assert near.name.isupper()


def test_a_list_that_keeps_its_capitals_is_written_as_it_is_learnt(model):
    data = model.recipe.data.model_copy(update={"lowercase": False})
    recipe = model.recipe.model_copy(update={"data": data})
    cased = replace(model, recipe=recipe, casing=Casing.learn(["ANA", "BELA"]))
    assert [name.name for name in NameGenerator(cased).generate(5)] == [
        name.name for name in NameGenerator(model).generate(5)
    ]


def test_an_empty_name_is_never_given(model):
    fixed = with_fixed_logits(model, [2.0] + [0.0] * (model.vocabulary.size - 1))
    assert all(name.name for name in NameGenerator(fixed).generate(200))


def test_impossible_request_ends_and_says_what_it_managed():
    model = make_model(["a", "aa"])
    only_a = with_fixed_logits(model, [0.0, 1.0])
    with pytest.raises(SamplingError, match="found 12 of the 50 names asked for") as caught:
        NameGenerator(only_a).generate(50, Request(new=False))  # twelve lengths, and no more
    assert sorted(len(name.name) for name in caught.value.managed) == list(range(1, 13))


def test_prefix_is_normalised_and_may_end_in_a_space():
    model = make_model(["new york", "new delhi", "york"])
    names = NameGenerator(model).generate(20, Request(prefix="NEW "))
    assert all(name.name.startswith("new ") for name in names)


def test_prefix_with_a_character_never_seen_is_refused(model):
    with pytest.raises(SamplingError, match="the character 'z', which no training name has"):
        NameGenerator(model).generate(1, Request(prefix="az"))


def test_prefix_longer_than_any_name_is_refused(model):
    with pytest.raises(SamplingError, match="has 13 characters"):
        NameGenerator(model).generate(1, Request(prefix="a" * 13))


def test_a_name_whose_characters_join_is_not_given():
    # A consonant with a virama and the next consonant are one cluster when they meet.
    model = make_model(["\u0915\u094d", "\u0937\u0915", "\u0937\u0915\u094d", "\u0915\u0937"])
    drawn = NameGenerator(model).generate(200)
    assert drawn
    for one, other in zip(drawn, model.score([name.name for name in drawn]), strict=True):
        assert one.chars == other.chars
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)


def test_prefix_that_ends_in_sigma_keeps_its_form():
    model = make_model(["οδυσσεας", "σωσος"])
    assert NameGenerator(model).generate(1, Request(prefix="ΟΔΥΣ"))[0].name.startswith("οδυσ")


@pytest.mark.parametrize("given", [None, "short"])
def test_generate_and_score_agree_on_categories(conditional, given):
    drawn = NameGenerator(conditional).generate(50, Request(seed=1, given=given))
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
        NameGenerator(many).generate(1, Request(given="ana"))
    assert str(caught.value).count("'n") == 20
    assert str(caught.value).endswith(", …")


@pytest.mark.parametrize("count", [0, -1, 10**40, 2.5, "5", None, True])
def test_a_count_is_a_whole_number_with_bounds(model, count):
    with pytest.raises(SamplingError, match=r"^count must be") as caught:
        NameGenerator(model).generate(count)
    assert len(str(caught.value)) < 200
