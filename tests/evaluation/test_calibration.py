import numpy as np
import pandas as pd
import pytest

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.calibration import calibration

BOOTSTRAP = Bootstrap(100, seed=0)


def events(confidence, correct, events_a_name=1) -> pd.DataFrame:
    confidence, correct = np.broadcast_arrays(np.asarray(confidence, float), correct)
    name = np.arange(len(confidence)) // events_a_name
    return pd.DataFrame({"name": name, "confidence": confidence, "correct": correct})


def test_error_is_the_mean_gap_of_the_bins_over_all_events():
    found, table = calibration(
        events([0.51, 0.52, 0.53, 0.97, 1.0], [True, False, False, True, True]), BOOTSTRAP
    )
    # The bins (7/15, 8/15] and (14/15, 1]: |1 - 1.56| and |2 - 1.97|, over five events.
    assert found.value == pytest.approx((0.56 + 0.03) / 5)
    assert found.low is found.high is None
    assert table[["low", "high"]].isna().all(axis=None)
    assert table["up_to"].tolist() == [8 / 15, 1.0]
    assert table["events"].tolist() == [3, 2]
    np.testing.assert_allclose(table["confidence"], [0.52, 0.985])
    np.testing.assert_allclose(table["accuracy"], [1 / 3, 1])


def test_a_model_that_is_sure_and_always_wrong_has_the_error_1():
    found, table = calibration(events(np.ones(20), False), BOOTSTRAP)
    assert (found.value, found.floor) == (1, 0)
    assert table[["low", "high"]].to_numpy().tolist() == [[0, 0]]


def test_a_calibrated_model_is_at_its_floor_and_a_cocksure_one_above():
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.1, 0.8, size=3000)
    correct = generator.random(3000) < confidence
    bootstrap = Bootstrap(400, seed=0)
    found, table = calibration(events(confidence, correct, events_a_name=10), bootstrap)
    assert found.value == pytest.approx(found.floor, rel=0.5)
    inside = (table["low"] <= table["confidence"]) & (table["confidence"] <= table["high"])
    assert inside.sum() >= len(table) - 2
    found, table = calibration(events(confidence + 0.2, correct, events_a_name=10), bootstrap)
    assert found.value == pytest.approx(0.2, abs=5 * 0.5 / np.sqrt(3000))
    assert (table["high"] < table["confidence"]).all()


def test_floor_is_what_chance_gives():
    # One bin of 4 events at 1/2: |k - 2| / 4 is 1/2, 1/4, 0, 1/4, 1/2 with the probabilities
    # 1/16, 4/16, 6/16, 4/16, 1/16; its mean is 3/16 and its mean square 1/16.
    found, _ = calibration(events(np.full(4, 0.5), True), Bootstrap(2000, seed=0))
    deviation = np.sqrt(1 / 16 - 9 / 256)
    assert found.floor == pytest.approx(3 / 16, abs=5 * deviation / np.sqrt(2000))


def test_one_event_of_one_name():
    found, table = calibration(events([0.25], [True]), BOOTSTRAP)
    assert found.value == pytest.approx(0.75)
    assert len(table) == 1
