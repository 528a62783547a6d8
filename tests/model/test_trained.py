import math

import numpy as np
import pytest

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
