import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from conftest import NAMES, make_model, with_fixed_logits

from nomosaurus.evaluation.scoring import FEWEST_BELOW, Rank, Ranks, assess
from nomosaurus.model.trained import ListBits

NONE_DRAWN = Ranks(np.empty(0), np.empty(0), 1)


def drawn(probabilities: np.ndarray, num_draws: int, generator: np.random.Generator) -> Ranks:
    """Ranks from draws of a distribution that is known; probabilities, likeliest first."""
    chosen = np.sort(generator.choice(len(probabilities), num_draws, p=probabilities))
    p = probabilities[chosen]
    return Ranks(np.log(p), 1 / (num_draws * p), num_draws)


@pytest.fixture(scope="module")
def zipf() -> np.ndarray:
    weights = 1 / np.arange(1, 5001) ** 1.5
    return weights / weights.sum()


@pytest.mark.parametrize("rank", [1, 2, 8, 50, 300])
def test_ranks_are_right_on_average_and_within_their_intervals(zipf, rank):
    generator = np.random.default_rng(rank)
    repeats = 400
    found = [drawn(zipf, 2000, generator).of(math.log(zipf[rank - 1])) for _ in range(repeats)]
    values = np.array([one.value for one in found])
    error = values.std() / math.sqrt(repeats)
    assert abs(values.mean() - rank) <= 5 * error + 0.01 * rank  # and rounding to three digits
    held = np.mean([one.low <= rank <= one.high for one in found])
    assert held >= 0.95 - 5 * math.sqrt(0.95 * 0.05 / repeats)


def test_where_no_draw_is_likelier_the_interval_says_what_may_have_been_missed():
    # 1,000 draws, all of names of probability 0.0001: a name of 0.001 may have likelier ones
    # that were not drawn. With E = 0 and w = 1 at most z^2 w = 3.84, and it comes after them.
    ranks = Ranks(np.full(1000, math.log(1e-4)), np.full(1000, 10.0), 1000)
    assert ranks.of(math.log(1e-3)) == Rank(1, 1, 5)


def test_a_name_rarer_than_the_draws_gets_a_bound_that_holds(zipf):
    generator = np.random.default_rng(0)
    for _ in range(20):
        ranks = drawn(zipf, 200, generator)
        bounded = ranks.of(math.log(zipf[-1]) - 1)
        assert bounded.value is None
        assert bounded.high is None
        assert 1 < bounded.low < 5001
        last = ranks.log_probs[-FEWEST_BELOW]  # as many draws are no likelier than this one
        assert ranks.of(last).value is not None
        assert ranks.of(last).low == bounded.low


def test_without_draws_nothing_is_known():
    assert NONE_DRAWN.of(-3.0) == Rank(None, 1, None)


def test_ranks_are_those_of_all_names_the_model_can_write():
    model = with_fixed_logits(make_model(["ab", "ba"]), [0.0, 1.0, 0.3])
    p_end, p_a, p_b = np.exp([0.0, 1.0, 0.3]) / np.exp([0.0, 1.0, 0.3]).sum()
    # Of all steps the unknown event has its share, so a letter more costs that too.
    known = 1 - model.vocabulary.unknown_mass
    a, b, end = math.log(p_a * known), math.log(p_b * known), math.log(p_end * known)
    # Every name of one to twelve letters, the limit; the empty one is no name.
    every = [(n.count("a"), n.count("b")) for k in range(1, 13) for n in product("ab", repeat=k)]
    log_probs = np.array(every) @ [a, b] + end
    ranks = Ranks.draw(model)
    for name in ("a", "b", "aa", "ab", "aab", "bba", "aaaa", "abab"):
        own = name.count("a") * a + name.count("b") * b + end
        exact = 1 + int((log_probs > own + 1e-9).sum())
        found = ranks.of(model.score([name])[0].log_prob)
        deviation = (found.high - found.low) / (2 * 1.96)
        assert abs(found.value - exact) <= 5 * deviation, name
    assert ranks.of(model.score(["a"])[0].log_prob) == Rank(1, 1, 1)


@pytest.mark.slow
def test_the_same_name_has_the_same_rank_each_time(model):
    one, other = Ranks.draw(model), Ranks.draw(model)
    assert one.of(-10.0) == other.of(-10.0)


def test_an_assessment_has_the_names_score(model):
    names = ["bela", " ANA", "zoé"]
    for one, score in zip(assess(model, names, NONE_DRAWN), model.score(names), strict=True):
        for key, value in vars(score).items():
            assert getattr(one, key) == pytest.approx(value, abs=1e-5), key


def test_percentile_is_the_share_of_names_as_costly_or_costlier(model):
    bits = model.score(["bela"])[0].bits_per_char
    around = np.array([bits - 1, bits, bits + 1, bits + 2], dtype=np.float32)
    compared = replace(model, list_bits=ListBits(around, around[:1]))
    (one,) = assess(compared, ["bela"], NONE_DRAWN)
    assert (one.percentile_train, one.percentile_held_out) == (75.0, 0.0)


def test_of_the_learnt_names_the_cheapest_is_as_typical_as_all(model):
    assessed = assess(model, NAMES, NONE_DRAWN)
    shares = sorted(one.percentile_train for one in assessed)
    assert shares == [10.0 * i for i in range(1, 11)]
    by_cost = sorted(assessed, key=lambda one: one.bits_per_char)
    assert by_cost[0].percentile_train == 100.0


@pytest.mark.parametrize(
    ("name", "logits", "character", "place"),
    [("aab", [0.0, 2.0, -1.0], "b", 3), ("Aa", [-2.0, 2.0, -1.0], "", 3)],
)
def test_surprise_is_the_costliest_character_or_the_end(name, logits, character, place):
    model = with_fixed_logits(make_model(["ab", "ba"]), logits)
    (one,) = assess(model, [name], NONE_DRAWN)
    assert (one.surprise.character, one.surprise.place) == (character, place)
    p = math.exp(min(logits)) / sum(map(math.exp, logits))
    # The unknown event takes its share of every step.
    assert one.surprise.bits == pytest.approx(
        -math.log2(p * (1 - model.vocabulary.unknown_mass)), abs=1e-4
    )


def test_a_character_never_seen_surprises_by_the_unknown_event():
    model = with_fixed_logits(make_model(["ab", "ba"] * 50), [0.0, 0.0, 0.0])
    (one,) = assess(model, ["aéb"], NONE_DRAWN)
    assert (one.surprise.character, one.surprise.place) == ("é", 2)
    assert one.surprise.bits == pytest.approx(-math.log2(model.vocabulary.unknown_mass), abs=1e-4)


def test_the_three_nearest_learnt_names_are_shown_nearest_first(model):
    (one,) = assess(model, ["anabela"], NONE_DRAWN)
    assert [(near.name, near.distance) for near in one.nearest] == [
        ("anabel", 1),
        ("bela", 3),
        ("abel", 3),  # as near, and later on the list
    ]
