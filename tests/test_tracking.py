import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, make_model

from nomosaurus import tracking
from nomosaurus.model_file import save_model
from nomosaurus.params import CrossvalidateParams
from nomosaurus.training import Epoch

pytestmark = [
    pytest.mark.slow,
    # MLflow, SQLAlchemy and what they need warn of each other's ways.
    pytest.mark.filterwarnings("ignore"),
]


HISTORY = make_model().histories[1]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A fresh store in a folder with a space in its name."""
    root = tmp_path / "a checkout"
    root.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def trained(store):
    """A model file, with its run in the store."""
    model = make_model()
    path = store / "model.safetensors"
    save_model(path, model)
    with tracking.training_run("train", model.recipe, "f1") as run:
        run.on_epoch(0, Epoch(1, 2.5, 2.6, True))
        run.on_epoch(0, Epoch(2, 2.4, 2.7, False))
        run.log_model(path)
    return path, model


def runs_with_tag(fingerprint: str) -> str:
    (run,) = [run for run in runs() if run.data.tags[tracking.TRAINING_TAG] == fingerprint]
    return run.info.run_id


def runs():
    import mlflow

    return mlflow.search_runs(experiment_names=[tracking.EXPERIMENT], output_format="list")


def test_one_model_has_one_run_with_all_that_belongs_to_it(trained, store):
    path, model = trained
    table = store / "samples" / "names.csv"
    table.parent.mkdir()
    table.write_text("name\nana\n")
    for stage in ("evaluate", "sample"):
        with tracking.model_run(stage, path, model) as run:
            run.log_metrics({"perplexity": 4.5, "novelty_at_10k": None})
            run.log_files(table)
    (run,) = runs()
    import mlflow

    client = mlflow.MlflowClient()
    history = client.get_metric_history(run.info.run_id, "validation_nats/1")
    assert [(point.step, point.value) for point in history] == [(1, 2.6), (2, 2.7)]
    assert run.data.metrics["perplexity"] == 4.5
    assert run.data.params["model.cell"] == "gru"
    assert run.data.params["seed"] == str(model.recipe.seed)
    assert run.data.tags[tracking.MODEL_TAG] == tracking.file_sha256(path)
    assert {f"dvc.stage.{stage}" for stage in ("train", "evaluate", "sample")} <= set(run.data.tags)
    assert run.info.status == "FINISHED"
    assert (store / "mlflow.db").is_file()
    assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["samples"]


def test_a_model_from_the_cache_gets_its_run_in_a_new_store(trained, store, tmp_path, monkeypatch):
    path, model = trained
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(other))
    with tracking.model_run("evaluate", path, model) as run:
        run.log_metrics({"perplexity": 4.5})
    (run,) = runs()
    assert run.data.metrics["perplexity"] == 4.5
    assert run.data.tags[tracking.MODEL_TAG] == tracking.file_sha256(path)

    import mlflow

    losses = mlflow.MlflowClient().get_metric_history(run.info.run_id, "validation_nats/2")
    assert [point.value for point in losses] == [epoch.validation_nats for epoch in HISTORY]


def test_stages_that_dvc_will_skip_are_in_the_run_all_the_same(store):
    model = make_model()
    path = Path("models/model.safetensors")
    save_model(path, model)
    (store / "metrics").mkdir()
    (store / "metrics/evaluate.json").write_text('{"perplexity": 4.5, "gain_nats_low": null}')
    (store / "metrics/details.json").write_text('{"figures": {"perplexity": {"value": 4.5}}}')
    for name, md5 in ("evaluate", hashlib.md5(path.read_bytes()).hexdigest()), ("sample", "0"):
        (store / f"{name}.txt").write_text("x")
        lock = {
            "deps": [{"path": path.as_posix(), "md5": md5}],
            "params": {"params.yaml": {name: {"seed": 5}}},
            "outs": [
                {"path": "metrics/details.json", "md5": "2"},
                {"path": "metrics/evaluate.json", "md5": "1"},
            ],
        }
        stages = json.loads((store / "dvc.lock").read_text())["stages"] if name == "sample" else {}
        (store / "dvc.lock").write_text(json.dumps({"stages": stages | {name: lock}}))
    with tracking.training_run("train", model.recipe, "f1") as run:
        run.log_model(path)
    (run,) = runs()
    assert run.data.metrics["perplexity"] == 4.5
    assert "figures" not in run.data.metrics

    import mlflow

    logged = mlflow.MlflowClient().list_artifacts(run.info.run_id, "metrics")
    assert [artifact.path for artifact in logged] == [
        "metrics/details.json",
        "metrics/evaluate.json",
    ]
    assert run.data.params["evaluate.seed"] == "5"
    assert "sample.seed" not in run.data.params  # that stage knew another model


def test_a_run_is_named_after_what_differs(trained, monkeypatch):
    _, model = trained
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    with tracking.training_run("train", model.recipe, "f2"):
        pass
    folds = CrossvalidateParams(folds=5)
    monkeypatch.delenv("DVC_EXP_NAME")
    with tracking.crossvalidation_run(model.recipe, folds, "f3"):
        pass
    import mlflow

    found = mlflow.search_runs(search_all_experiments=True, output_format="list")
    first, fifth, bold = sorted(run.info.run_name for run in found)
    assert re.fullmatch(r"2x gru-8-nogit-[0-9a-f]{4}", first)
    assert (fifth, bold) == ("5-fold 2x gru-8", "bold-idea")


def test_two_that_share_a_run_keep_it(trained):
    path, model = trained
    with tracking.training_run("train", model.recipe, "f2") as run:
        import mlflow

        mlflow.set_tag(tracking.MODEL_TAG, tracking.file_sha256(path))  # the other was first
        mlflow.delete_run(runs_with_tag("f1"))
        run.log_model(path)
        run.log_metrics({"validation_nats": 2.0})
    (run,) = runs()
    assert run.data.metrics["validation_nats"] == 2.0


def test_an_unfinished_run_goes_on_with_the_epochs_it_missed(store):
    recipe = make_model().recipe
    with pytest.raises(KeyboardInterrupt), tracking.training_run("train", recipe, "f1") as run:
        run.on_epoch(0, HISTORY[0])
        raise KeyboardInterrupt
    assert runs()[0].info.status == "KILLED"
    with tracking.training_run("train", recipe, "f1") as run:
        run.on_resume(0, HISTORY)
    (run,) = runs()
    import mlflow

    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "validation_nats/1")
    assert [(p.step, p.value) for p in points] == [(e.number, e.validation_nats) for e in HISTORY]
    assert run.info.status == "FINISHED"


def test_training_the_same_model_again_keeps_its_one_run(trained, capsys):
    path, model = trained
    with tracking.training_run("train", model.recipe, "f1") as run:
        run.on_epoch(0, Epoch(1, 2.5, 2.6, True))
        run.log_model(path)
        run.log_metrics({"validation_nats": 2.0})
    (run,) = runs()
    assert run.data.metrics["validation_nats"] == 2.0
    assert "has a run already" in capsys.readouterr().err


def test_params_that_moved_without_a_new_model_are_shown_as_tags(trained):
    path, model = trained
    for data in (model.recipe.data, model.recipe.data.model_copy(update={"path": "other.csv"})):
        with tracking.model_run("sample", path, model) as run:
            run.log_params("sample", data)
    (run,) = runs()
    assert run.data.params["sample.path"] == model.recipe.data.path
    assert run.data.tags["sample.path"] == "other.csv"


def test_the_logged_model_loads_without_pickle_and_serves_both_requests(trained, store):
    import mlflow

    (run,) = runs()
    models = mlflow.search_logged_models(
        experiment_ids=[run.info.experiment_id], output_format="list"
    )
    assert len(models) == 1
    code = f"""
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model("models:/{models[0].model_id}")
request = pd.DataFrame({{"name": ["ana"]}})
print(model.predict(request).iloc[0]["name"])
drawn = model.predict(request, params={{"count": 7, "seed": 3}})
print(len(drawn), drawn["new"].all())
"""
    environment = os.environ | {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_TRACKING_URI": f"sqlite:///{(store / 'mlflow.db').as_posix()}",
        "PYTHONPATH": "",
    }
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert result.stdout.splitlines()[-2:] == ["ana", "7 True"], result.stderr
    assert not list((store / "mlartifacts").rglob("*.pkl"))


def test_a_failed_stage_leaves_a_failed_run(store):
    model = make_model()
    with pytest.raises(ZeroDivisionError), tracking.training_run("train", model.recipe, "f1"):
        raise ZeroDivisionError
    (run,) = runs()
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/none/mlflow.db"])
def test_a_store_that_is_down_costs_one_line_and_no_training(store, monkeypatch, capsys, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    import mlflow

    mlflow.set_tracking_uri(uri)
    model = make_model()
    path = store / "model.safetensors"
    save_model(path, model)
    with tracking.training_run("train", model.recipe, "f1") as run:
        run.on_epoch(0, Epoch(1, 2.5, 2.6, True))
        run.log_model(path)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning:" in line]
    assert len(warnings) == 1
    assert "goes on untracked" in warnings[0]


def test_processes_that_open_a_new_store_together_all_succeed(store):
    code = (
        "import os\nfrom conftest import make_model\n"
        "from nomosaurus import tracking\n"
        "with tracking.training_run('train', make_model().recipe, str(os.getpid())): pass\n"
    )
    folders = (REPOSITORY / "tests", REPOSITORY / "src")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    errors = [process.communicate()[1].decode() for process in processes]
    assert all(process.returncode == 0 for process in processes), errors
    assert all("warning: MLflow failed" not in error for error in errors), errors
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{(store / 'mlflow.db').as_posix()}")
    assert len(runs()) == 3
