from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from conftest import NAMES, make_model
from drawings import draw_again

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.evaluation.evaluation import evaluate
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.report.charts import (
    draw_calibration,
    draw_charts,
    draw_learning_curve,
    draw_lengths,
    draw_ngrams,
    draw_positions,
)
from nomosaurus.report.pictures import save_picture

LENGTHS = pd.DataFrame(
    {"length": [1, 2], "training": [0.0, 1.0], "held_out": [0.5, 0.5], "generated": [0.25, 0.75]}
)
NGRAMS = pd.DataFrame(
    {"n": [1, 2, 3], "generated": [0.1, 0.2, 0.4], "low": 0.05, "high": 0.5, "held_out": 0.1}
)
CALIBRATION = pd.DataFrame(
    {"up_to": [0.2, 1.0], "events": [3, 9], "confidence": [0.15, 0.98], "accuracy": [0.1, 1.0]}
).assign(low=[0.0, 0.9], high=[0.3, 1.0])
POSITIONS = pd.DataFrame(
    {"position": [1, 2], "names": [9, 4], "model": [3.0, 2.0], "networks": 3.0, "ngram": [3.5, 2.5]}
)
ERROR = Estimate(0.123, 0.1, 0.15, 0.011)


def texts(path) -> list[str]:
    found = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()) for text in found]


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (
            draw_learning_curve(make_model().histories),
            ["Learning: loss by epoch", "epoch", "nats per character", "epoch kept"],
        ),
        (draw_lengths(LENGTHS), ["How long names are", "characters", "share of names"]),
        (draw_ngrams(NGRAMS), ["Jensen-Shannon distance", "as many held-out names", "1 character"]),
        (
            draw_calibration(CALIBRATION, ERROR),
            ["expected error 0.123; by chance alone 0.011", "characters", "100%"],
        ),
        (draw_positions(POSITIONS), ["bits, on average", "names", "n-gram alone", "model"]),
    ],
    ids=["learning", "lengths", "ngrams", "calibration", "positions"],
)
def test_charts_say_what_they_show_with_units(tmp_path, figure, words):
    save_picture(figure, tmp_path / "chart.svg")
    said = texts(tmp_path / "chart.svg")
    for word in words:
        assert word in said, said


def test_charts_show_the_tables():
    def line(figure, label: str, panel: int = 0) -> np.ndarray:
        (found,) = [a for a in figure.axes[panel].lines if a.get_label() == label]
        return found.get_ydata()

    assert line(draw_lengths(LENGTHS), "generated names").tolist() == [0.25, 0.75]
    assert [bar.get_height() for bar in draw_lengths(LENGTHS).axes[0].patches] == [0, 1]
    assert line(draw_ngrams(NGRAMS), "as many held-out names").tolist() == [0.1] * 3
    assert line(draw_positions(POSITIONS), "model").tolist() == [3, 2]
    assert [bar.get_height() for bar in draw_positions(POSITIONS).axes[1].patches] == [9, 4]
    calibration = draw_calibration(CALIBRATION, ERROR)
    assert calibration.axes[0].containers[0].lines[0].get_ydata().tolist() == [0.1, 1.0]
    bars = calibration.axes[1].patches
    assert [bar.get_height() for bar in bars] == [3, 9]
    np.testing.assert_allclose(
        [bar.get_x() + bar.get_width() / 2 for bar in bars], [1 / 6, 29 / 30]
    )
    history = make_model(members=3).histories
    curve = draw_learning_curve(history)
    assert line(curve, "validation names").tolist() == [2.1, 2.2]
    assert line(curve, "epoch kept") == 2.1
    assert len(curve.axes[0].lines) == 9


OTHER_LISTS = [["a"], ["東京", "京都"], ["मुंबई", "दिल्ली"], ["القاهرة"], ["$a^b$"]]


@pytest.mark.parametrize(
    "names", [NAMES, *(pytest.param(names, marks=pytest.mark.slow) for names in OTHER_LISTS)]
)
def test_charts_of_any_list_have_the_same_bytes_again(tmp_path, monkeypatch, names):
    monkeypatch.setattr("nomosaurus.evaluation.drawn.SAMPLES", 200)
    model = make_model(names)
    held_out = EncodedNames.from_names([names[0], "é"], model.vocabulary)
    found = evaluate(model, held_out, Bootstrap(100, seed=0))
    for attempt in ("one", "other"):
        for name, figure in draw_charts(found, model.histories).items():
            save_picture(figure, tmp_path / attempt / f"{name}.svg")
    paths = sorted((tmp_path / "one").iterdir())
    assert [path.stem for path in paths] == [
        "calibration",
        "learning_curve",
        "lengths",
        "ngrams",
        "positions",
    ]
    for path in paths:
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


@pytest.mark.slowest
def test_charts_have_the_same_bytes_fifty_times(tmp_path):
    def draw() -> dict:
        return {
            "learning_curve.svg": draw_learning_curve(make_model(members=3).histories),
            "lengths.svg": draw_lengths(LENGTHS),
            "ngrams.svg": draw_ngrams(NGRAMS),
            "calibration.svg": draw_calibration(CALIBRATION, ERROR),
            "positions.svg": draw_positions(POSITIONS),
        }

    draw_again(draw, tmp_path, 50)
