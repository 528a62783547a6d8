import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CATEGORIES, NAMES, make_model, with_fixed_logits

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.drawn import (
    draw_for_evaluation,
    nearest_distance,
    sampled_novelty,
    uniqueness,
)
from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.evaluation.evaluation import (
    bits_by_position,
    by_category,
    draw_log_probs,
    evaluate,
    exact_novelty,
    flat,
    generalisation_gap,
    length_distribution,
    likelihoods,
    memorisation,
    names_to_show,
    recall,
)
from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.request import Request
from nomosaurus.generation.sampling import Drawing, draw_samples
from nomosaurus.model.costs import event_costs, name_costs, unknown_nats
from nomosaurus.model.mixture import NETWORKS_ALONE, Mixture
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.model.trained import TrainedModel
from nomosaurus.names.dataset import EncodedNames

BOOTSTRAP = Bootstrap(100, seed=0)


def encode(model: TrainedModel, *names: str) -> EncodedNames:
    return EncodedNames.from_names(names, model.vocabulary)


def costs_of(model: TrainedModel, *names: str) -> pd.DataFrame:
    encoded = encode(model, *names)
    return name_costs(event_costs(model.mixture, model.vocabulary, encoded), encoded)


def log_probs_of(model: TrainedModel, *names: str) -> np.ndarray:
    names = encode(model, *names)
    return draw_log_probs(model, names, model.nats(names))


def sure_of(model: TrainedModel, following: dict[int, int]) -> TrainedModel:
    """The same model, sure of the one id that follows each."""
    params = model.recipe.model
    network = RecurrentNetwork(params, model.vocabulary.size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for i, (before, after) in enumerate(following.items()):  # a unit for each id
            network.layers[0].W_ax[i, before] = 20
            network.W_ya[after, i] = 1000
    networks = [network.eval()] * params.members
    return replace(model, mixture=Mixture(networks, model.mixture.ngram, NETWORKS_ALONE))


def test_one_pass_gives_what_the_parts_give_alone():
    model = make_model()
    names = encode(model, *NAMES, "zanaz")
    unknown = unknown_nats(names, model.vocabulary)
    costs = name_costs(event_costs(model.mixture, model.vocabulary, names), names)
    alone = model.mixture.networks_alone()
    for side, expected in {
        "model": model.mixture.name_nats(names),
        "networks": alone.name_nats(names),
        "ngram": model.mixture.ngram.name_nats(names),
        "forgetful": -names.sum_by_name(alone.event_log_probs(names, forget=True)),
    }.items():
        np.testing.assert_allclose(costs[side], expected + unknown, rtol=1e-12)
    assert costs["chars"].tolist() == [len(name) + 1 for name in [*NAMES, "zanaz"]]


def test_events_say_what_was_expected_and_whether_it_came():
    model = make_model(["ab", "ba"])
    fixed = with_fixed_logits(model, [0.0, math.log(2), 0.0])  # 1/4, a 1/2, b 1/4
    events = event_costs(fixed.mixture, fixed.vocabulary, encode(model, "ab", "xa"))
    unknown = model.vocabulary.unknown_mass
    assert events["name"].tolist() == [0, 0, 0, 1, 1, 1]
    assert events["position"].tolist() == [1, 2, 3, 1, 2, 3]
    assert events["correct"].tolist() == [True, False, False, False, True, False]
    np.testing.assert_allclose(events["confidence"], 0.5 * (1 - unknown))
    expected = [p * (1 - unknown) for p in (1 / 2, 1 / 4, 1 / 4)] + [unknown]
    np.testing.assert_allclose(events["model"][:4], -np.log(expected))


def test_the_unknown_event_can_be_the_likeliest():
    model = make_model(["abcdefghi"])  # each letter once: 9 / 11 is kept for the unknown
    assert model.vocabulary.unknown_mass == pytest.approx(9 / 11)
    uniform = with_fixed_logits(model, [0.0] * model.vocabulary.size)
    events = event_costs(uniform.mixture, uniform.vocabulary, encode(model, "ax"))
    assert events["confidence"].tolist() == pytest.approx([9 / 11] * 3)
    assert events["correct"].tolist() == [False, True, False]


def test_uniform_model_has_the_vocabularys_size_as_perplexity():
    model = make_model()
    uniform = with_fixed_logits(model, [0.0] * model.vocabulary.size)
    figures = flat(likelihoods(costs_of(uniform, *NAMES), BOOTSTRAP), ())
    # Each event also shares its probability with the unknown one.
    expected = model.vocabulary.size / (1 - model.vocabulary.unknown_mass)
    assert figures["perplexity"] == pytest.approx(expected, abs=1e-4)
    assert figures["bits_per_char"] == pytest.approx(math.log2(expected), abs=1e-4)
    assert figures["nats_per_char"] == pytest.approx(math.log(expected), abs=1e-4)
    assert figures["memory_gain_nats"] == 0
    assert figures["gain_nats"] < 0


def test_condition_gain_is_what_the_category_saves_by_hand(conditional):
    names = conditional.train
    costs = name_costs(event_costs(conditional.mixture, conditional.vocabulary, names), names)
    texts = names.decode(conditional.vocabulary)
    known = [conditional.score([name], CATEGORIES[name])[0].log_prob for name in texts]
    unknown = [conditional.score([name])[0].log_prob for name in texts]
    np.testing.assert_allclose(costs["model"], np.negative(known), atol=1e-4)
    np.testing.assert_allclose(costs["unconditional"], np.negative(unknown), atol=1e-4)
    figures = likelihoods(costs, BOOTSTRAP)
    gain = (sum(known) - sum(unknown)) / (names.lengths + 1).sum()
    estimate = figures["condition_gain_nats"]
    assert estimate.value == pytest.approx(gain, abs=1e-5)
    assert estimate.low <= gain <= estimate.high


def test_without_categories_nothing_speaks_of_them(model):
    costs = name_costs(event_costs(model.mixture, model.vocabulary, model.train), model.train)
    assert "unconditional" not in costs
    assert "condition_gain_nats" not in likelihoods(costs, BOOTSTRAP)
    assert by_category(costs, model.train, model.vocabulary, BOOTSTRAP) == []


def test_weighted_figures_count_each_name_by_its_weight(model):
    weights = {NAMES[0]: 7.0, NAMES[1]: 0.5}
    names = EncodedNames.from_names(NAMES, model.vocabulary, weights=weights)
    costs = name_costs(event_costs(model.mixture, model.vocabulary, names), names)
    figures = likelihoods(costs, BOOTSTRAP)
    w = np.array([weights.get(name, 1.0) for name in NAMES])
    count = (w * (names.lengths + 1)).sum()
    expected = math.exp((w * model.nats(names)).sum() / count)
    assert figures["weighted_perplexity"].value == pytest.approx(expected, rel=1e-4)
    ngram = model.mixture.ngram.name_nats(names) + unknown_nats(names, model.vocabulary)
    gain = (w * (ngram - model.nats(names))).sum() / count
    assert figures["weighted_gain_nats"].value == pytest.approx(gain, abs=1e-4)
    plain = name_costs(event_costs(model.mixture, model.vocabulary, model.train), model.train)
    without = likelihoods(plain, BOOTSTRAP)
    assert figures["perplexity"].value == pytest.approx(without["perplexity"].value)
    assert "weighted_perplexity" not in without


def test_a_name_of_several_categories_counts_once_with_the_mean_of_its_costs(
    conditional, monkeypatch
):
    monkeypatch.setattr("nomosaurus.evaluation.drawn.SAMPLES", 200)
    of = {name: ("long", "short") if name == NAMES[1] else ("long",) for name in NAMES}
    names = EncodedNames.from_names(NAMES, conditional.vocabulary, of)
    costs = name_costs(event_costs(conditional.mixture, conditional.vocabulary, names), names)
    assert len(costs) == len(NAMES)
    both = [conditional.score([NAMES[1]], c)[0].log_prob for c in ("long", "short")]
    assert costs["model"][1] == pytest.approx(-np.mean(both), abs=1e-4)
    assert costs["chars"][1] == len(NAMES[1]) + 1
    twice = replace(
        conditional,
        train=EncodedNames.from_names(
            NAMES, conditional.vocabulary, dict.fromkeys(NAMES, ("long", "other"))
        ),
    )
    novelty = [evaluate(m, m.train, BOOTSTRAP).figures["novelty"] for m in (conditional, twice)]
    assert novelty[0] == novelty[1]


def test_each_category_has_its_own_figures(conditional):
    names = conditional.train
    # The last is held out and of no category that a training name has.
    ids = np.array([*[0] * 5, *[1] * 4, 3])
    held_out = replace(names, categories=ids)
    chars = names.lengths + 1
    costs = pd.DataFrame(
        {
            "model": np.where(ids == 0, 2.0, 3.0) * chars,
            "unconditional": np.where(ids == 0, 2.5, 2.0) * chars,
            "chars": chars,
        }
    )
    rows = by_category(costs, held_out, conditional.vocabulary, BOOTSTRAP)
    nothing = {"low": None, "high": None}  # fewer than ten names
    assert rows == [
        {
            "category": "long",
            "names": 5,
            "nats_per_char": {"value": 2.0} | nothing,
            "condition_gain_nats": {"value": 0.5} | nothing,
        },
        {
            "category": "other",
            "names": 4,
            "nats_per_char": {"value": 3.0} | nothing,
            "condition_gain_nats": {"value": -1.0} | nothing,
        },
    ]


@pytest.mark.slow
def test_novelty_is_of_names_drawn_over_all_categories(conditional):
    p = [math.exp(name.log_prob) for name in conditional.score(NAMES)]
    # `score` leaves a share to the unknown event, at every step.
    spared = (1 - conditional.vocabulary.unknown_mass) ** (np.array([*map(len, NAMES)]) + 1)
    found = evaluate(conditional, conditional.train, BOOTSTRAP).figures["novelty"]
    assert found.value == pytest.approx(1 - sum(p / spared), abs=1e-6)


def test_likelihood_of_unknown_characters_is_finite():
    estimates = likelihoods(costs_of(make_model(), *["xyz", "ana"] * 5), BOOTSTRAP)
    assert all(math.isfinite(value) for value in flat(estimates, estimates).values())


def test_flat_figures_have_the_intervals_that_are_asked_for():
    estimates = {"one": Estimate(1.00004, 0.5, 2.0, 0.1), "two": Estimate(None)}
    assert flat(estimates, ()) == {"one": 1.0, "two": None}
    assert flat(estimates, ["one"]) == {"one": 1.0, "one_low": 0.5, "one_high": 2.0, "two": None}


def test_a_model_that_only_copies_has_no_novelty():
    model = make_model(["a"])  # it says "a" whenever it says one letter
    copying = with_fixed_logits(model, [0.0, 0.0])
    # p("a") = 1/2 * 1/2: the only training name, so novelty is 3/4 exactly.
    assert exact_novelty(log_probs_of(copying, "a")) == pytest.approx(0.75)


@pytest.mark.slow
def test_exact_novelty_is_what_sampling_tends_to():
    model = make_model(["ab", "ba", "a", "b"])
    fixed = with_fixed_logits(model, [1.0, 0.0, 0.0])
    p_end = math.e / (math.e + 2)
    p_letter = (1 - p_end) / 2
    expected = 1 - 2 * p_letter * p_end - 2 * p_letter**2 * p_end
    train = log_probs_of(fixed, "ab", "ba", "a", "b")
    assert exact_novelty(train) == pytest.approx(expected, abs=1e-6)
    plain = Request(temperature=1, new=False, unique=False)
    names = [name.name for name in NameGenerator(fixed).generate(5000, plain)]
    # Drawn names are never empty, which has the probability p_end.
    share = np.mean([name not in ("ab", "ba", "a", "b") for name in names])
    assert share == pytest.approx((expected - p_end) / (1 - p_end), abs=0.04)


def test_uniqueness_penalises_duplicates():
    assert uniqueness(["a", "a", "b", "b"], 4) == 0.5
    assert uniqueness(["a", "b", "b", "b"], 2) == 1.0
    assert uniqueness(["a"] * 4, 4) == 0.25
    assert uniqueness(["a"], 4) is None


def test_sampled_novelty_counts_each_name_once():
    assert sampled_novelty(["a", "a", "b", "c"], {"a", "b"}, 4) == pytest.approx(1 / 3)
    assert sampled_novelty(["a", "a", "b", "c"], {"a", "b"}, 3) == 0
    assert sampled_novelty(["a", "b"], {"a", "b"}, 3) is None


@pytest.mark.slow
def test_validity_counts_names_that_end_and_are_not_empty():
    model = make_model(["ab", "ba"])
    # Half of the draws end at once, and are empty.
    fixed = with_fixed_logits(model, [math.log(2), 0.0, 0.0])
    drawn = draw_for_evaluation(fixed, seed=0)
    assert drawn.is_valid.mean() == pytest.approx(0.5, abs=0.025)
    assert len(drawn.is_valid) == len(drawn.is_truncated) == 10_000
    assert len(drawn.valid) == pytest.approx(10_000, abs=300)
    endless = draw_for_evaluation(with_fixed_logits(model, [-1e9, 0.0, 0.0]), seed=0)
    assert not endless.is_valid.any()
    assert endless.is_truncated.all()
    assert endless.valid == []


def test_recall_by_hand_and_for_names_that_are_certain_or_impossible():
    log_probs = np.log([1e-3, 1e-9, 1.0] + [0.5] * 9)
    log_probs[1] = -np.inf
    estimates = recall(log_probs[:3], BOOTSTRAP)
    # 1 - 0.999^1000 is 0.632305, the second is never found, the third by the first draw.
    assert estimates["recall_at_1k"].value == pytest.approx((0.632305 + 0 + 1) / 3, abs=1e-6)
    assert estimates["recall_at_1m"].value == pytest.approx(2 / 3)
    assert estimates["recall_at_1k"].low is None
    assert recall(log_probs, BOOTSTRAP)["recall_at_1k"].low < 1


def test_recall_of_a_name_that_is_hardly_ever_drawn_is_not_rounded_off():
    estimates = recall(np.array([-60.0]), BOOTSTRAP)
    assert estimates["recall_at_1m"].value == pytest.approx(1e6 * math.exp(-60), rel=1e-6)


@pytest.mark.slow
def test_exact_recall_is_what_sampling_tends_to():
    model = with_fixed_logits(make_model(["ab", "ba"]), [0.0, 0.5, -4.0])
    held_out = ["aab", "abb", "bab", "bb", "xa"]
    rounds = 20
    draws = islice(draw_samples(model.mixture, Drawing(max_length=12), 0), rounds * 1000)
    names = [model.vocabulary.decode(draw.ids) if draw.ended else "" for draw in draws]
    found = [len(set(held_out) & set(names[i : i + 1000])) for i in range(0, len(names), 1000)]
    chance = [
        recall(log_probs_of(model, name), BOOTSTRAP)["recall_at_1k"].value for name in held_out
    ]
    deviation = math.sqrt(sum(p * (1 - p) for p in chance) / rounds)
    assert 0.5 < sum(chance) < 4
    assert np.mean(found) == pytest.approx(sum(chance), abs=5 * deviation)
    together = recall(log_probs_of(model, *held_out), BOOTSTRAP)["recall_at_1k"].value
    assert together == pytest.approx(np.mean(chance))


def test_memorisation_is_the_ratio_of_the_mean_probabilities():
    train, test = np.log([0.1, 0.3]), np.log([0.05, 0.05, 0.02, 0.08])
    ratio = memorisation(train, test, BOOTSTRAP)
    assert ratio.value == pytest.approx(0.2 / 0.05)
    assert ratio.low is None
    many = memorisation(train, np.tile(test, 3), Bootstrap(500, seed=0))
    assert many.low < 4 < many.high
    # 1,000 nats off, these probabilities are 0 as numbers; their ratio is the same.
    assert memorisation(train - 1000, test - 1000, BOOTSTRAP).value == pytest.approx(4)
    assert memorisation(train, np.full(12, -np.inf), BOOTSTRAP) == Estimate(None)


def test_a_model_that_finds_all_names_alike_memorises_none():
    model = make_model()
    uniform = with_fixed_logits(model, [0.0] * model.vocabulary.size)
    train, held_out = log_probs_of(uniform, "ana", "bela"), log_probs_of(uniform, "nan", "leab")
    assert memorisation(train, held_out, BOOTSTRAP).value == pytest.approx(1)


def test_a_name_with_an_unknown_character_is_never_drawn():
    model = make_model()
    log_probs = log_probs_of(model, "xana", "ana")
    assert log_probs[0] == -np.inf
    # The unknown event takes its share when names are scored, and none when they are drawn.
    assert log_probs[1] == pytest.approx(-model.mixture.name_nats(encode(model, "ana"))[0])


def test_generalisation_gap_is_in_nats_per_character():
    costs = pd.DataFrame({"model": [6.0, 14.0], "chars": [3, 7]})  # 2 nats each
    gap = generalisation_gap(costs, 1.25, BOOTSTRAP)
    assert (gap.value, gap.low) == (0.75, None)


def test_nearest_distance_by_hand_with_the_held_out_names_own():
    model = make_model(["ana", "bela"])
    found = nearest_distance(
        model, encode(model, "aan", "belaa", "ane"), encode(model, "bexx"), BOOTSTRAP
    )
    assert found.value == pytest.approx(1.0)  # two letters swapped, one more, another
    assert (found.low, found.floor) == (None, 2.0)  # letters that no name has are two changes
    assert nearest_distance(model, encode(model), encode(model, "an"), BOOTSTRAP) == Estimate(
        None, floor=1.0
    )


def test_bits_by_position_are_means_over_the_names_that_reach_it():
    bit = math.log(2)
    events = pd.DataFrame(
        {
            "position": [1, 2, 1, 2, 3],
            "model": [1 * bit, 2 * bit, 3 * bit, 5 * bit, 7 * bit],
            "networks": 2 * bit,
            "ngram": 4 * bit,
        }
    )
    table = bits_by_position(events)
    assert table["position"].tolist() == [1, 2, 3]
    assert table["names"].tolist() == [2, 2, 1]
    np.testing.assert_allclose(table["model"], [2, 3.5, 7])
    np.testing.assert_allclose(table[["networks", "ngram"]], [[2, 4]] * 3)


def test_length_distribution_sums_to_1_and_leaves_no_gap():
    model = make_model()
    table = length_distribution(
        {
            "training": encode(model, "an", "anab"),
            "generated": encode(model, "a", "an", "en", "nabela"),
        }
    )
    assert table["length"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["training"].tolist() == [0, 0.5, 0, 0.5, 0, 0]
    assert table["generated"].tolist() == [0.25, 0.5, 0, 0, 0, 0.25]


def test_every_metric_has_its_key_and_no_figure_is_hidden():
    model = make_model()
    found = evaluate(model, model.train, BOOTSTRAP)
    short, detail = found.in_short(), found.in_detail()["figures"]
    assert {key for key in short if not key.endswith(("_low", "_high"))} == set(detail)
    for key, figure in detail.items():
        assert list(figure) == ["value", "low", "high", "floor"]
        assert short[key] == figure["value"]
        if figure["low"] is not None:
            assert figure["low"] <= figure["value"] <= figure["high"], key
    assert short["perplexity_low"] < short["perplexity"] < short["perplexity_high"]
    assert short["perplexity"] == pytest.approx(math.exp(short["nats_per_char"]), rel=1e-3)
    # These "held-out" names are the training names: nothing is gained by having learnt them.
    assert short["generalisation_gap_nats"] == pytest.approx(0, abs=1e-4)
    assert short["memorisation"] == pytest.approx(1)
    assert detail["js_3gram"]["floor"] == pytest.approx(0, abs=1e-4)
    assert detail["nearest_distance"]["floor"] == 0
    assert found.in_detail()["categories"] == []


@pytest.mark.parametrize("held_out", [["b"], ["x"], ["a"] * 12])
def test_a_model_that_always_says_the_same_name(monkeypatch, held_out):
    monkeypatch.setattr("nomosaurus.evaluation.drawn.SAMPLES", 1000)
    model = make_model(["a", "b"], cell="rnn")
    certain = sure_of(model, {0: 1, 1: 0, 2: 0})  # "a" at the start, then the end
    figures = evaluate(certain, encode(model, *held_out), BOOTSTRAP).in_short()
    assert figures["uniqueness_at_1k"] == 0.001
    assert (figures["validity"], figures["truncated"]) == (1, 0)
    assert figures["novelty"] == figures["novelty_at_10k"] == pytest.approx(0, abs=1e-4)
    assert figures["nearest_distance"] is None  # it draws no new name
    assert figures["recall_at_1m"] == (1 if held_out[0] == "a" else pytest.approx(0, abs=1e-4))
    assert figures["length_wasserstein"] == 0
    assert 0 < figures["js_1gram"] < 1
    if held_out[0] == "a":
        assert figures["memorisation"] == pytest.approx(0.5, abs=1e-4)  # "b" was learnt for nothing


def test_a_model_whose_names_never_end_has_no_sampled_figure(monkeypatch):
    monkeypatch.setattr("nomosaurus.evaluation.drawn.SAMPLES", 1000)
    model = make_model(["ab", "ba"])
    endless = with_fixed_logits(model, [-100.0, 0.0, 0.0])
    figures = evaluate(endless, model.train, BOOTSTRAP).in_short()
    for key in ("uniqueness_at_1k", "novelty_at_10k", "nearest_distance", "js_2gram"):
        assert figures[key] is None
    assert (figures["validity"], figures["truncated"], figures["novelty"]) == (0, 1, 1)
    assert figures["memorisation"] == 1


def test_names_to_show_are_a_cheap_a_middling_and_a_dear_one():
    model = make_model()
    names = EncodedNames.from_names(["lana", "elba", "xx", "nabel", "a" * 17], model.vocabulary)
    costs = pd.DataFrame({"model": [8.0, 20.0, 1.0, 12.0, 0.1], "chars": [5, 5, 3, 6, 18]})
    # Nats a character: 1.6, 4 and 2; "xx" has unknown characters, and the last is too long.
    assert names_to_show(model, names, costs) == ["lana", "nabel", "elba"]
    long = EncodedNames.from_names(["a" * 18, "b" * 17, "a" * 19], model.vocabulary)
    assert names_to_show(model, long, costs.iloc[:3]) == ["b" * 17]
    only_unknown = EncodedNames.from_names(["xx"], model.vocabulary)
    assert names_to_show(model, only_unknown, costs.iloc[:1]) == [NAMES[0]]
