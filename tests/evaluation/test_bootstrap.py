import math

import numpy as np
import pytest

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.estimate import Estimate


def test_ratio_is_sum_over_count_and_the_interval_holds_it():
    sums = np.array([[2.0, 4.0, 6.0, 8.0] * 3])
    (estimate,) = Bootstrap(500, seed=0).ratios(sums, np.array([1, 1, 4, 4] * 3))
    assert estimate.value == 2.0
    assert estimate.low < 2.0 < estimate.high


def test_interval_of_names_that_are_all_alike_is_a_point():
    (estimate,) = Bootstrap(100, seed=0).ratios(np.full((1, 12), 3.0), np.full(12, 2))
    assert (estimate.low, estimate.value, estimate.high) == (1.5, 1.5, 1.5)


def test_interval_is_as_wide_as_theory_says():
    # The mean of 400 normal draws has a standard error of 1/20: the interval is +- 1.96/20.
    draws = np.random.default_rng(0).normal(size=(1, 400))
    (estimate,) = Bootstrap(4000, seed=0).ratios(draws, np.ones(400))
    expected = 2 * 1.96 / 20 * draws.std()
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.1)


def test_too_few_names_get_no_interval():
    (estimate,) = Bootstrap(100, seed=0).ratios(np.ones((1, 9)), np.ones(9))
    assert estimate == Estimate(1.0, None, None)
    assert estimate.map(math.exp) == Estimate(math.e, None, None)


def test_a_paired_difference_is_sharper_than_its_parts():
    generator = np.random.default_rng(0)
    ours = generator.normal(5, 2, size=200)
    theirs = ours + generator.normal(0.5, 0.1, size=200)
    one, _, difference = Bootstrap(500, seed=0).ratios(
        np.stack([ours, theirs, theirs - ours]), np.ones(200)
    )
    assert difference.high - difference.low < (one.high - one.low) / 5


def test_a_count_of_0_gives_no_value_and_an_infinite_end_is_none():
    assert Bootstrap(100, seed=0).ratios(np.ones((2, 12)), np.zeros(12)) == [Estimate(None)] * 2
    # A third of the samples have no part of the one name that counts.
    (estimate,) = Bootstrap(1000, seed=0).ratios(np.ones((1, 12)), np.eye(12)[0])
    assert (estimate.value, estimate.high) == (12.0, None)
    assert estimate.low < 12


def test_resamples_draw_every_name_equally_often_and_repeat_some():
    drawn = np.concatenate(list(Bootstrap(2000, seed=0).resamples(5)))
    share = np.bincount(drawn, minlength=5) / len(drawn)
    deviation = math.sqrt(0.2 * 0.8 / len(drawn))
    assert np.abs(share - 0.2).max() < 5 * deviation
    assert any(len(set(rows.tolist())) < 5 for rows in Bootstrap(20, seed=0).resamples(5))
