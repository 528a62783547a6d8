from pathlib import Path

import pytest
from conftest import FROZEN, git

from nomosaurus.errors import ParamsError, TrackingError
from nomosaurus.params import load_params
from nomosaurus.serving import registry
from nomosaurus.workflows import retraining
from nomosaurus.workflows.retraining import override, overrides, typed


def test_overrides_are_parted_by_white_space_before_the_next_key():
    text = "model.cell=gru  seed=2\ntrain.learning_rate=1e-3 sample.prefix=san jose"
    assert overrides(text) == {
        "model.cell": "gru",
        "seed": 2,
        "train.learning_rate": 0.001,
        "sample.prefix": "san jose",
    }
    assert overrides(" \n ") == {}


@pytest.mark.parametrize(
    "text", ["gru", "=gru", "--help", "Model.Cell=gru", "a.b.c=1", "model.cell", "$(id)=1"]
)
def test_what_is_no_override_is_one_line(text):
    with pytest.raises(ParamsError, match=r"must be like model\.cell=gru"):
        overrides(text)


def test_a_value_is_data_whatever_it_looks_like():
    assert overrides("sample.prefix='$(touch pwned)'") == {"sample.prefix": "$(touch pwned)"}
    assert overrides('sample.prefix="${oc.env:HOME}"') == {"sample.prefix": "${oc.env:HOME}"}
    with pytest.raises(ParamsError, match="not a YAML value"):
        overrides("sample.prefix=!!python/object/apply:os.system ['id'")


def test_an_option_that_is_a_whole_number_is_one():
    assert typed({"train.max_epochs": "12", "model.cell": "gru", "data.path": "7.txt"}) == {
        "train.max_epochs": 12,
        "model.cell": "gru",
        "data.path": "7.txt",
    }


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes((FROZEN / "params.yaml").read_bytes())
    return path


def test_an_override_changes_its_value_and_no_other_line(params):
    before = params.read_text("utf-8").splitlines()
    override(params, {"model.cell": "gru", "train.max_epochs": 12, "seed": 3})
    after = params.read_text("utf-8").splitlines()
    assert len(after) == len(before)
    changed = [line.split("#")[0].strip() for line in after if line not in before]
    assert changed == ["seed: 3", "cell: gru", "max_epochs: 12"]
    assert load_params(params).train.max_epochs == 12


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model.cel": "gru"}, "did you mean cell"),
        ({"model.cell": "tcn"}, "model.cell"),
        ({"modell.cell": "gru"}, "no param modell.cell"),
        ({"model": "gru"}, "no param model;"),
        ({"seed.x": 1}, "no param seed.x"),
        ({"train.max_epochs": "many"}, "train.max_epochs"),
    ],
)
def test_an_override_that_breaks_a_rule_leaves_the_file(params, values, message):
    before = params.read_bytes()
    with pytest.raises(ParamsError, match=message):
        override(params, values)
    assert params.read_bytes() == before


@pytest.mark.slowest
@pytest.mark.filterwarnings("ignore")  # MLflow and SQLAlchemy warn of each other's ways
@pytest.mark.longest
def test_a_store_that_fails_after_training_costs_no_commit(project, monkeypatch, git_identity):
    def fail(*arguments, **options):
        raise TrackingError("the server went away")

    monkeypatch.chdir(project)
    monkeypatch.setattr(retraining, "_find_champion", lambda params, base: "")
    monkeypatch.setattr(registry, "promote", fail)
    with pytest.raises(TrackingError, match="went away"):
        retraining.retrain({"sample.count": 14}, Path(".retraining"))
    git(project, "fetch", "-q", ".retraining/commits.bundle", "retrained:kept")
    assert "count: 14" in git(project, "show", "kept:params.yaml")
    assert len(git(project, "show", "kept:samples/names.csv").splitlines()) == 15
