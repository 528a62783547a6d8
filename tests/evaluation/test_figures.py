import json
import re

import pytest
from conftest import REPOSITORY

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.evaluation import evaluate
from nomosaurus.evaluation.figures import CATALOGUE, Description

OF_CATEGORIES = {"condition_gain_nats"}
OF_A_BASE = {"perplexity_with_familiar", "familiar_at_10k"}
OF_WEIGHTS = {"weighted_perplexity", "weighted_gain_nats"}


def test_every_figure_of_the_metrics_is_in_the_catalogue():
    short = json.loads((REPOSITORY / "metrics/evaluate.json").read_text("utf-8"))
    detail = json.loads((REPOSITORY / "metrics/evaluate_details.json").read_text("utf-8"))
    keys = {re.sub("_(low|high)$", "", key) for key in short} | detail["figures"].keys()
    optional = OF_CATEGORIES | OF_A_BASE | OF_WEIGHTS
    assert keys - optional == CATALOGUE.keys() - optional


@pytest.mark.parametrize(
    ("of", "missing"), [("model", OF_CATEGORIES), ("conditional", set())], ids=["without", "with"]
)
def test_an_evaluation_makes_every_figure_of_the_catalogue(request, monkeypatch, of, missing):
    monkeypatch.setattr("nomosaurus.evaluation.drawn.SAMPLES", 200)
    model = request.getfixturevalue(of)
    made = evaluate(model, model.train, Bootstrap(100, seed=0)).figures
    assert made.keys() == CATALOGUE.keys() - missing - OF_A_BASE - OF_WEIGHTS


def test_a_label_says_the_unit_once():
    assert CATALOGUE["gain_nats"].label == "Gain over the n-gram, nats per character"
    assert CATALOGUE["nats_per_char"].label == "Nats per character"
    assert Description("Perplexity", "", "lower", "").label == "Perplexity"
