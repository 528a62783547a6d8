import math

import numpy as np
import pandas as pd
import pytest
from conftest import CATEGORIES, NAMES, make_model, with_fixed_logits

from nomosaurus.dataset import EncodedNames
from nomosaurus.evaluation import (
    bootstrap_ratios,
    by_category,
    draw_for_evaluation,
    evaluate,
    exact_novelty,
    length_distribution,
    likelihoods,
    name_costs,
    names_to_show,
    sampled_novelty,
    uniqueness,
)


def test_ratio_is_sum_over_count_and_the_interval_holds_it():
    sums = np.array([[2.0, 4.0, 6.0, 8.0] * 3])
    (estimate,) = bootstrap_ratios(sums, np.array([1, 1, 4, 4] * 3), 500, seed=0)
    assert estimate.value == 2.0
    assert estimate.low < 2.0 < estimate.high


def test_interval_of_names_that_are_all_alike_is_a_point():
    (estimate,) = bootstrap_ratios(np.full((1, 12), 3.0), np.full(12, 2), 100, seed=0)
    assert (estimate.low, estimate.value, estimate.high) == (1.5, 1.5, 1.5)


def test_interval_is_as_wide_as_theory_says():
    # The mean of 400 normal draws has a standard error of 1/20: the interval is +- 1.96/20.
    draws = np.random.default_rng(0).normal(size=(1, 400))
    (estimate,) = bootstrap_ratios(draws, np.ones(400), 4000, seed=0)
    expected = 2 * 1.96 / 20 * draws.std()
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.1)


def test_too_few_names_get_no_interval():
    (estimate,) = bootstrap_ratios(np.ones((1, 9)), np.ones(9), 100, seed=0)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, None, None)
    assert estimate.map(math.exp).low is None


def test_a_paired_difference_is_sharper_than_its_parts():
    generator = np.random.default_rng(0)
    ours = generator.normal(5, 2, size=200)
    theirs = ours + generator.normal(0.5, 0.1, size=200)
    one, _, difference = bootstrap_ratios(
        np.stack([ours, theirs, theirs - ours]), np.ones(200), 500, seed=0
    )
    assert difference.high - difference.low < (one.high - one.low) / 5


def test_uniform_model_has_the_vocabularys_size_as_perplexity():
    model = make_model()
    uniform = with_fixed_logits(model, [0.0] * model.vocabulary.size)
    names = EncodedNames.from_names(NAMES, model.vocabulary)
    figures = likelihoods(name_costs(uniform, names), 100, seed=0)
    # Each event also shares its probability with the unknown one.
    expected = model.vocabulary.size / (1 - model.vocabulary.unknown_mass)
    assert figures["perplexity"] == pytest.approx(expected)
    assert figures["bits_per_char"] == pytest.approx(math.log2(expected))
    assert figures["nats_per_char"] == pytest.approx(math.log(expected))
    assert figures["memory_gain_nats"] == 0
    assert figures["gain_nats"] < 0


def test_condition_gain_is_what_the_category_saves_by_hand(conditional):
    names = conditional.train
    costs = name_costs(conditional, names)
    texts = names.decode(conditional.vocabulary)
    known = [conditional.score([name], CATEGORIES[name])[0].log_prob for name in texts]
    unknown = [conditional.score([name])[0].log_prob for name in texts]
    np.testing.assert_allclose(costs["model"], np.negative(known), atol=1e-4)
    np.testing.assert_allclose(costs["unconditional"], np.negative(unknown), atol=1e-4)
    figures = likelihoods(costs, 100, seed=0)
    gain = (sum(known) - sum(unknown)) / (names.lengths + 1).sum()
    assert figures["condition_gain_nats"] == pytest.approx(gain, abs=1e-5)
    assert figures["condition_gain_nats_low"] <= gain <= figures["condition_gain_nats_high"]


def test_without_categories_nothing_speaks_of_them(model):
    costs = name_costs(model, model.train)
    assert "unconditional" not in costs
    assert "condition_gain_nats" not in likelihoods(costs, 100, seed=0)
    assert by_category(costs, model.train, model.vocabulary, 100, seed=0) == []


def test_each_category_has_its_own_figures(conditional):
    names = conditional.train
    # The last is held out and of no category that a training name has.
    ids = np.array([*[0] * 5, *[1] * 4, 3])
    held_out = EncodedNames(names.ids, names.offsets, ids)
    chars = names.lengths + 1
    costs = pd.DataFrame(
        {
            "model": np.where(ids == 0, 2.0, 3.0) * chars,
            "unconditional": np.where(ids == 0, 2.5, 2.0) * chars,
            "chars": chars,
        }
    )
    rows = by_category(costs, held_out, conditional.vocabulary, 100, seed=0)
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


def test_novelty_is_of_names_drawn_over_all_categories(conditional):
    p = [math.exp(name.log_prob) for name in conditional.score(NAMES)]
    # `score` leaves a share to the unknown event, at every step.
    spared = (1 - conditional.vocabulary.unknown_mass) ** (np.array([*map(len, NAMES)]) + 1)
    assert exact_novelty(conditional) == pytest.approx(1 - sum(p / spared), abs=1e-6)


def test_likelihood_of_the_empty_list_of_unknowns_is_finite():
    model = make_model()
    names = EncodedNames.from_names(["xyz", "ana"] * 5, model.vocabulary)
    figures = likelihoods(name_costs(model, names), 100, seed=0)
    assert all(math.isfinite(value) for value in figures.values())


def test_a_model_that_only_copies_has_no_novelty():
    model = make_model(["a"])  # it says "a" whenever it says one letter
    copying = with_fixed_logits(model, [0.0, 0.0])
    # p("a") = 1/2 * 1/2: the only training name, so novelty is 3/4 exactly.
    assert exact_novelty(copying) == pytest.approx(0.75)


def test_exact_novelty_is_what_sampling_tends_to():
    model = make_model(["ab", "ba", "a", "b"])
    fixed = with_fixed_logits(model, [1.0, 0.0, 0.0])
    p_end = math.e / (math.e + 2)
    p_letter = (1 - p_end) / 2
    expected = 1 - 2 * p_letter * p_end - 2 * p_letter**2 * p_end
    assert exact_novelty(fixed) == pytest.approx(expected, abs=1e-6)
    names = [name.name for name in fixed.generate(5000)]
    # Drawn names are never empty, which has the probability p_end.
    share = np.mean([name not in ("ab", "ba", "a", "b") for name in names])
    assert share == pytest.approx((expected - p_end) / (1 - p_end), abs=0.04)


def test_uniqueness_penalises_duplicates():
    assert uniqueness(["a", "a", "b", "b"], 4) == 0.5
    assert uniqueness(["a", "b", "b", "b"], 2) == 1.0
    assert uniqueness(["a"] * 4, 4) == 0.25
    assert uniqueness(["a"], 4) is None


def test_sampled_novelty_counts_each_name_once():
    assert sampled_novelty(["a", "a", "b", "c"], ["a", "b"]) == pytest.approx(1 / 3)
    assert sampled_novelty(["a", "b"], ["a", "b"]) == 0
    assert sampled_novelty([], ["a"]) is None


def test_validity_counts_names_that_end_and_are_not_empty():
    model = make_model(["ab", "ba"])
    # Half of the draws end at once, and are empty.
    fixed = with_fixed_logits(model, [math.log(2), 0.0, 0.0])
    drawn = draw_for_evaluation(fixed, seed=0)
    assert drawn.validity == pytest.approx(0.5, abs=0.025)
    assert len(drawn.valid) == pytest.approx(10_000, abs=300)
    endless = draw_for_evaluation(with_fixed_logits(model, [-1e9, 0.0, 0.0]), seed=0)
    assert (endless.validity, endless.truncated, endless.valid) == (0.0, 1.0, [])


def test_length_distribution_sums_to_1_and_leaves_no_gap():
    table = length_distribution(["ab", "abcd"], ["a", "ab", "ab", "abcdef"])
    assert table["length"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["training"].tolist() == [0, 0.5, 0, 0.5, 0, 0]
    assert table["generated"].tolist() == [0.25, 0.5, 0, 0, 0, 0.25]


def test_every_metric_has_its_key_and_no_figure_is_hidden():
    model = make_model()
    figures, _ = evaluate(model, name_costs(model, model.train), 100, seed=0)
    for likelihood in ("perplexity", "bits_per_char", "network_perplexity", "baseline_perplexity"):
        assert figures[f"{likelihood}_low"] <= figures[likelihood] <= figures[f"{likelihood}_high"]
    for metric in ("memory_gain_nats", "novelty", "novelty_at_10k", "uniqueness_at_1k"):
        assert metric in figures
    assert figures["perplexity"] == pytest.approx(math.exp(figures["nats_per_char"]), rel=1e-3)


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
