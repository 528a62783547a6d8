import math

import numpy as np
import pytest

from nomosaurus.errors import ListError
from nomosaurus.evaluation.explain import explain
from nomosaurus.evaluation.scoring import Ranks, assess
from nomosaurus.generation.generator import NameGenerator
from nomosaurus.names.dataset import EncodedNames


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


def test_events_of_a_name_add_up_to_its_nats(model):
    names = EncodedNames.from_names(["bela", "zoé"], model.vocabulary)
    events = model.event_nats(names)
    assert len(events) == 9
    np.testing.assert_allclose([events[:5].sum(), events[5:].sum()], model.nats(names))


def test_score_is_given_the_category_or_sums_over_all_of_them(conditional):
    shares = {"long": 0.7, "other": 0.2, "short": 0.1}
    given = {category: conditional.score(["nala"], category)[0].log_prob for category in shares}
    assert len(set(given.values())) == 3
    expected = math.log(sum(share * math.exp(given[c]) for c, share in shares.items()))
    assert conditional.score(["nala"])[0].log_prob == pytest.approx(expected, abs=1e-5)
    assert conditional.score(["nala"], " short ")[0].log_prob == given["short"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((wrong, f"must be text, and number 2 is {wrong!r}") for wrong in (None, 5, 0.5, True)),
        *((wrong, "must be text, and number 2 is") for wrong in (math.nan, b"ana", ["ana"], {})),
        ("", "from 1 to 1,000 characters, and number 2 has 0"),
        (" \u200b ", "number 2 has 0"),
        ("a" * 1001, "number 2 has 1,001"),
        ("a" * 100_000, "number 2 has 100,000"),
        ("a\u0301\u0315" * 50_000, "number 2 has 150,000"),
        ("\ud800", "is not UTF-8"),
    ],
)
def test_what_is_no_name_is_scored_nowhere(model, few_draws, name, said):
    for score in (
        model.score,
        NameGenerator(model).score,
        lambda names: assess(model, names, Ranks.draw(model)),
    ):
        with pytest.raises(ListError) as caught:
            score(["ana", name])
        assert said in str(caught.value)
        assert len(str(caught.value)) < 200
    with pytest.raises(ListError):
        explain(model, name)


@pytest.mark.parametrize("names", [None, 5, "ana"])
def test_what_is_no_list_of_names_is_not_scored(model, names):
    with pytest.raises(ListError, match="names must be a list of texts, got"):
        model.score(names)


def test_names_may_have_a_thousand_characters_of_several_code_points(model):
    (scored,) = model.score(["é" * 1000])
    assert scored.chars == 1001
    (scored,) = model.score(["e\u0301\u0315" * 1000])
    assert scored.chars == 1001


@pytest.mark.parametrize("given", [5, True, ["long"], "lo\nng", "x" * 10_000])
def test_what_is_no_category_is_refused(conditional, given):
    with pytest.raises(ListError, match="no training name has the category") as caught:
        conditional.score(["ana"], given)
    assert len(str(caught.value)) < 200
