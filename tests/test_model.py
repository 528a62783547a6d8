import math

import pytest
from conftest import NAMES, make_model, with_fixed_logits

from nomosaurus.errors import ListError, SamplingError
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
    drawn = conditional.generate(50, seed=1, given=given)
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
        many.generate(1, given="ana")
    assert str(caught.value).count("'n") == 20
    assert str(caught.value).endswith(", …")
