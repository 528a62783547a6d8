import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import NAMES, REPOSITORY, make_model

from nomosaurus.errors import ArtifactError
from nomosaurus.model.file import save_model
from nomosaurus.model.trained import Epoch
from nomosaurus.params import CrossvalidateParams
from nomosaurus.serving.promotion import FLOORS
from nomosaurus.tracking import run as tracking
from nomosaurus.tracking import store as mlflow_store
from nomosaurus.tracking.lineage import Origin, file_md5, file_sha256
from nomosaurus.tracking.lock import MODEL_FILE
from nomosaurus.tracking.runs import recorded_runs, sync
from nomosaurus.tracking.sender import send_left_over
from nomosaurus.tracking.store import NOTE_TAG
from nomosaurus.tracking.views import VIEW, with_section

# MLflow, SQLAlchemy and what they need warn of each other's ways.
pytestmark = pytest.mark.filterwarnings("ignore")

HISTORY = make_model().histories[1]
ORIGIN = Origin("")


@pytest.fixture
def store(tmp_path, monkeypatch, empty_store):
    """A fresh store in a folder with a space in its name."""
    root = tmp_path / "a checkout"
    root.mkdir()
    shutil.copy(empty_store, root)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def trained(store):
    """A model file, with its run in the store."""
    model = make_model()
    path = store / MODEL_FILE
    save_model(path, model)
    with tracking.training_run([model.recipe], "f1") as run:
        run.on_epoch(0, Epoch(1, 2.5, 2.6, True))
        run.on_epoch(0, Epoch(2, 2.4, 2.7, False))
        run.log_model(path)
    return path, model


def locked(outs: list[str], deps: list[str], **params: object) -> dict:
    entries = {
        key: [{"path": path, "md5": file_md5(Path(path))} for path in paths if Path(path).is_file()]
        for key, paths in (("deps", deps), ("outs", outs))
    }
    return entries | {"params": {"params.yaml": params}}


def write_outputs(figures: dict, names: list[str] = NAMES, seed: int = 5, **stages: dict) -> None:
    """What the stages after train leave in this folder, with the dvc.lock that names it."""
    for folder in ("metrics", "plots/evaluate", "samples"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path("metrics/evaluate.json").write_text(json.dumps(figures))
    Path("metrics/evaluate_details.json").write_text('{"figures": {}}')
    Path("plots/evaluate/lengths.csv").write_text("length\n1\n")
    Path("plots/evaluate/lengths.svg").write_text("<svg/>")
    table = pd.DataFrame({"name": names, "log_prob": [-1.5] * len(names)})
    table.to_csv("samples/names.csv", index=False)
    evaluate = locked(["metrics/evaluate.json", "metrics/evaluate_details.json"], [MODEL_FILE])
    evaluate["outs"].append({"path": "plots/evaluate", "md5": "1.dir"})
    sample = locked(["samples/names.csv"], [MODEL_FILE], sample={"seed": seed})
    train = locked([MODEL_FILE], [], train={"patience": "auto"}, seed=1)
    lock = {"train": train, "evaluate": evaluate, "sample": sample} | stages
    Path("dvc.lock").write_text(json.dumps({"stages": lock}))


def runs():
    mlflow_store.open_store()
    return mlflow_store.search("")


def test_one_model_has_one_run_with_all_that_belongs_to_it(trained, store):
    path, model = trained
    write_outputs({"perplexity": 4.5, "novelty_at_10k": None})
    for _ in range(2):
        assert tracking.log_outputs(store, ORIGIN)
    (run,) = runs()
    client = mlflow_client()
    history = client.get_metric_history(run.info.run_id, "curve/validation_nats")
    assert [(point.step, point.value) for point in history] == [(1, 2.6), (2, 2.7)]
    assert run.data.metrics["perplexity"] == 4.5
    assert run.data.params["model.cell"] == "gru"
    assert run.data.params["seed"] == str(model.recipe.seed)
    assert run.data.params["sample.seed"] == "5"
    assert run.data.tags[mlflow_store.MODEL_TAG] == file_sha256(path)
    assert run.info.status == "FINISHED"
    assert (store / "mlflow.db").is_file()
    top = [artifact.path for artifact in client.list_artifacts(run.info.run_id)]
    assert top == ["lengths.svg", "lineage", "metrics", "plots", "samples"]
    assert artifact(run, "plots/evaluate/lengths.csv") == "length\n1\n"
    account = json.loads(artifact(run, "lineage/track.json"))
    assert account["stages"] == json.loads(Path("dvc.lock").read_text())["stages"]
    assert not list((store / ".runs").iterdir())


def test_a_model_from_the_cache_gets_its_run_in_a_new_store(trained, store, tmp_path, monkeypatch):
    path, model = trained
    write_outputs({"perplexity": 4.5})
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(other))
    tracking.log_outputs(store, ORIGIN)
    (run,) = runs()
    assert run.data.metrics["perplexity"] == 4.5
    assert run.data.tags[mlflow_store.MODEL_TAG] == file_sha256(path)
    assert run.data.params["train.patience"] == str(model.recipe.train.patience)
    losses = mlflow_client().get_metric_history(run.info.run_id, "curve/validation_nats")
    assert [point.value for point in losses] == [epoch.validation_nats for epoch in HISTORY]


def test_what_was_made_of_another_model_is_left_out(trained, store):
    write_outputs({"perplexity": 4.5})
    lock = json.loads(Path("dvc.lock").read_text())
    lock["stages"]["evaluate"]["deps"][0]["md5"] = "0"
    Path("dvc.lock").write_text(json.dumps(lock))
    tracking.log_outputs(store, ORIGIN)
    (run,) = runs()
    assert "perplexity" not in run.data.metrics
    top = {artifact.path for artifact in mlflow_client().list_artifacts(run.info.run_id)}
    assert "samples" in top
    assert "metrics" not in top


def test_an_edited_metric_is_one_line_and_leaves_no_half_a_run(trained, store):
    write_outputs({"perplexity": "low"})
    with pytest.raises(ArtifactError, match=r"evaluate\.json is damaged .* --force evaluate"):
        tracking.log_outputs(store, ORIGIN)
    assert not list(store.glob(f"{tracking.JOURNALS}/*"))


def test_sync_makes_the_run_of_a_model_that_mlflow_lacks(store):
    save_model(Path(MODEL_FILE), make_model())
    write_outputs({"perplexity": 4.5})
    (line,) = sync()
    assert MODEL_FILE in line
    (run,) = runs()
    assert run.data.metrics["perplexity"] == 4.5
    assert list(sync()) == []


def test_params_that_moved_without_a_new_model_are_shown_as_tags(trained, store):
    for seed in (5, 6):
        write_outputs({"perplexity": 4.5}, seed=seed)
        tracking.log_outputs(store, ORIGIN)
    (run,) = runs()
    assert run.data.params["sample.seed"] == "5"
    assert run.data.tags["sample.seed"] == "6"


def test_the_names_are_a_table_and_the_first_ten_stand_in_the_description(trained, store):
    names = ["[a](http://b)", "a`b", *(f"name{i}" for i in range(10))]
    figures = {"perplexity": 4.5, "perplexity_low": 4.0, "perplexity_high": 5.0}
    write_outputs(figures, names)
    for _ in range(2):
        tracking.log_outputs(store, ORIGIN)
    (run,) = runs()
    assert json.loads(artifact(run, "samples/names.json")) == {
        "columns": ["number", "name", "log_prob"],
        "data": [[i, name, -1.5] for i, name in enumerate(names, start=1)],
    }
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "samples/names.json", "type": "table"}
    ]
    note = run.data.tags["mlflow.note.content"]
    assert " · ".join(["`[a](http://b)`", "``a`b``", *(f"`name{i}`" for i in range(8))]) in note
    assert "name10" not in note
    assert "| Perplexity | 4.500 | 4.000 to 5.000 |" in note
    assert note.count("## ") == 2
    assert "perplexity_low" not in run.data.metrics


def test_a_figure_that_says_what_another_says_stands_in_the_files_alone(trained, store):
    found = json.loads((REPOSITORY / "metrics/evaluate.json").read_text("utf-8"))
    found |= json.loads((REPOSITORY / "metrics/train.json").read_text("utf-8"))
    write_outputs(found)
    tracking.log_outputs(store, ORIGIN)
    (run,) = runs()
    logged = {key for key in run.data.metrics if not key.startswith(("curve/", "system/"))}
    assert set(tracking.ONLY_IN_FILES) < set(found)
    assert logged.isdisjoint(tracking.ONLY_IN_FILES)
    assert logged < set(found)
    assert len(logged) < 25
    assert {"perplexity", *tracking.HEADLINES, *FLOORS} <= logged


def test_figures_made_again_are_sent_when_they_changed_and_only_then(trained, store):
    for value in (4.5, 4.5, 4.4, 4.5):
        write_outputs({"perplexity": value})
        tracking.log_outputs(store, ORIGIN)
    (run,) = runs()
    history = mlflow_client().get_metric_history(run.info.run_id, "perplexity")
    assert [point.value for point in history] == [4.5, 4.4, 4.5]
    assert run.data.metrics["perplexity"] == 4.5


def test_a_run_is_named_after_what_differs(store, monkeypatch):
    recipe = make_model().recipe
    towns = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"path": "data/towns.txt"})}
    )
    odd = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"path": "[a](b) <\x1b`c.csv"})}
    )
    for list_recipe, fingerprint in ((recipe, "f1f1f1"), (towns, "f2f2f2"), (odd, "f0f0f0")):
        with tracking.training_run([list_recipe], fingerprint):
            pass
    with tracking.crossvalidation_run([recipe], CrossvalidateParams(folds=5), "f3f3f3"):
        pass
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    with tracking.training_run([recipe], "f4f4f4"):
        pass
    assert {run.name for run in recorded_runs()} == {
        "gru-8-2nets-dinosaurs-f1f1",
        "gru-8-2nets-towns-f2f2",
        "gru-8-2nets-_a_b_c-f0f0",
        "5-fold-gru-8-2nets-dinosaurs-f3f3",
        "gru-8-2nets-dinosaurs-bold-idea",
    }


def test_another_training_that_comes_to_the_same_model_adds_to_its_one_run(trained, capsys):
    path, model = trained
    with tracking.training_run([model.recipe], "f2") as run:
        run.on_epoch(0, Epoch(1, 2.5, 2.6, True))
        run._next_send = 0  # a run of its own is in the store by then
        run.on_epoch(0, Epoch(2, 2.4, 2.7, False))
        run.log_model(path)
        run.log_metrics({"validation_nats": 2.0})
    (run,) = runs()
    assert run.data.metrics["validation_nats"] == 2.0
    assert "has a run already" in capsys.readouterr().err
    history = mlflow_client().get_metric_history(run.info.run_id, "curve/validation_nats")
    assert [point.step for point in history] == [1, 2]


def mlflow_client():
    import mlflow

    return mlflow.MlflowClient()


def test_an_unfinished_run_goes_on_with_the_epochs_it_missed(store):
    recipe = make_model().recipe
    with pytest.raises(KeyboardInterrupt), tracking.training_run([recipe], "f1") as run:
        run.on_epoch(0, HISTORY[0])
        raise KeyboardInterrupt
    assert runs()[0].info.status == "KILLED"
    with tracking.training_run([recipe], "f1") as run:
        run.on_resume(0, HISTORY)
    (run,) = runs()
    import mlflow

    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "curve/validation_nats")
    assert [(p.step, p.value) for p in points] == [(e.number, e.validation_nats) for e in HISTORY]
    assert run.info.status == "FINISHED"


def test_training_the_same_model_again_keeps_its_one_run(trained):
    path, model = trained
    with tracking.training_run([model.recipe], "f1") as run:
        run.on_epoch(0, Epoch(1, 2.5, 2.6, True))
        run.log_model(path)
        run.log_metrics({"validation_nats": 2.0})
    (run,) = runs()
    assert run.data.metrics["validation_nats"] == 2.0


@pytest.mark.slow
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
drawn = model.predict(pd.DataFrame(), params={{"n": 7, "seed": 3, "new": True}})
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


def test_a_run_of_a_moment_has_its_use_of_the_machine(store):
    with tracking.training_run([make_model().recipe], "f1"):
        pass
    (run,) = runs()
    assert 50 < run.data.metrics["system/process_memory_megabytes"] < 10_000


def test_a_failed_stage_leaves_a_failed_run(store):
    model = make_model()
    with pytest.raises(ZeroDivisionError), tracking.training_run([model.recipe], "f1"):
        raise ZeroDivisionError
    (run,) = runs()
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/none/mlflow.db"])
def test_a_store_that_is_down_costs_one_line_and_no_training(store, monkeypatch, capsys, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    model = make_model()
    path = store / "model.safetensors"
    save_model(path, model)
    with tracking.training_run([model.recipe], "f1") as run:
        run.on_epoch(0, Epoch(1, 2.5, 2.6, True))
        run.log_model(path)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning:" in line]
    assert len(warnings) == 1
    assert "nothing is lost" in warnings[0]
    assert len(list((store / ".runs").iterdir())) == 1


@pytest.mark.slow
def test_processes_that_open_a_new_store_together_all_succeed(store):
    code = (
        "import os\nfrom conftest import make_model\n"
        "from nomosaurus.tracking.run import training_run\n"
        "with training_run([make_model().recipe], str(os.getpid())): pass\n"
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


def artifact(run, path: str) -> str:
    import mlflow

    return mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{path}")


def test_a_new_experiment_says_what_it_shows_and_has_a_view_of_its_runs(store):
    experiment = mlflow_store.open_store()
    tags = mlflow_client().get_experiment(experiment).tags
    assert f"(#/experiments/{experiment}/runs?viewStateShareKey={VIEW}&" in tags[NOTE_TAG]
    view = json.loads(tags[f"mlflow.sharedViewState.{VIEW}"])
    assert f"[{view['name']}]" in tags[NOTE_TAG]
    assert "tags.`verdict`" in json.loads(view["state"])["selectedColumns"]
    mlflow_client().set_experiment_tag(experiment, NOTE_TAG, "mine")
    mlflow_store.open_store()
    assert mlflow_client().get_experiment(experiment).tags[NOTE_TAG] == "mine"


def test_what_another_machine_makes_at_the_same_time_is_taken(store, monkeypatch):
    import mlflow

    look = mlflow.get_experiment_by_name

    def too_early(name: str):
        monkeypatch.setattr(mlflow, "get_experiment_by_name", look)
        mlflow.create_experiment(name)  # of another machine, and its note is still to come
        return None

    monkeypatch.setattr(mlflow_store, "is_local", lambda: False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    monkeypatch.setattr(mlflow, "get_experiment_by_name", too_early)
    number = mlflow_store.open_store()
    assert VIEW in mlflow.get_experiment(number).tags[NOTE_TAG]
    client = mlflow.MlflowClient()
    for _ in range(2):
        with mlflow_store.made_by_another():
            client.create_registered_model("nomosaurus")
    with pytest.raises(mlflow.MlflowException), mlflow_store.made_by_another():
        client.create_registered_model("")


def test_a_note_that_a_kill_kept_from_the_experiment_is_written_by_the_next_start(store):
    import mlflow

    number = mlflow_store.open_store()
    mlflow.MlflowClient().delete_experiment_tag(number, NOTE_TAG)
    mlflow_store.open_store()
    assert VIEW in mlflow.get_experiment(number).tags[NOTE_TAG]


def test_a_section_of_a_note_is_replaced_and_the_others_stay():
    note = with_section(with_section("", "A", "one"), "B", "two")
    assert with_section(note, "A", "three") == "## A\n\nthree\n\n## B\n\ntwo\n"
    assert with_section("mine", "A", "one") == "mine\n\n## A\n\none\n"


def write_pipeline(folder: Path) -> None:
    (folder / "code.py").write_text("one")
    (folder / "dvc.yaml").write_text(
        "stages: {train: {cmd: x, deps: [code.py], outs: [model.safetensors]}}"
    )


def test_commit_and_changes_are_in_the_run_and_find_it(store, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
        result = subprocess.run(
            ["git", *identity, *arguments], capture_output=True, text=True, check=True
        )
        return result.stdout.strip()

    write_pipeline(store)
    (store / ".gitignore").write_text("*.db*\n.runs\nmlartifacts\n*.safetensors\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    (store / "code.py").write_text("two\n")
    (store / "beside.txt").write_text("x")
    model = make_model()
    path = store / "models/model.safetensors"
    save_model(path, model)
    with tracking.training_run([model.recipe], "f1") as run:
        run.log_model(path)
    with tracking.training_run([model.recipe], "f2"):  # of another model
        pass
    kept = {run.data.tags[mlflow_store.MODEL_MD5_TAG]: run for run in runs() if model_md5(run)}
    run = kept[file_md5(path)]
    assert run.data.tags["git.commit"] == git("rev-parse", "HEAD")
    assert run.data.tags["git.dirty"] == "true"
    assert "+two" in artifact(run, "lineage/train.patch")
    assert json.loads(artifact(run, "lineage/train.json"))["untracked"] == ["beside.txt"]

    outs = [{"path": "models/model.safetensors", "md5": file_md5(path)}]
    (store / "dvc.lock").write_text(json.dumps({"stages": {"train": {"outs": outs}}}))
    git("add", "-A")
    git("commit", "-qm", "two")
    assert len(recorded_runs(commit="HEAD~1")) == 2
    assert [run.name for run in recorded_runs(commit="HEAD")] == ["gru-8-2nets-dinosaurs-f1"]
    head = git("rev-parse", "HEAD")
    git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/idea", "HEAD")
    assert [run.name for run in recorded_runs(experiment="idea")] == ["gru-8-2nets-dinosaurs-f1"]
    assert recorded_runs(experiment="other") == []


def model_md5(run) -> str:
    return run.data.tags.get(mlflow_store.MODEL_MD5_TAG, "")


def test_a_malformed_journal_is_set_aside_and_keeps_none_back(store, monkeypatch, capsys):
    for name, content in (("1-a", b"{}\n"), ("1-b", b"\xff\xfe\n[]\n"), ("1-c", b"")):
        (store / f".runs/{name}").mkdir(parents=True)
        (store / f".runs/{name}/events.jsonl").write_bytes(content)
    with tracking.training_run([make_model().recipe], "f1") as run:
        run.log_metrics({"perplexity": 4.5})
    said = capsys.readouterr().err
    assert "1-a/events.malformed is no whole journal of a run (line 1 is no event" in said
    assert "1-b/events.malformed is no whole journal" in said
    assert len(recorded_runs()) == 1
    assert sorted(path.name for path in (store / ".runs").glob("*/*.malformed")) == [
        "events.malformed",
        "events.malformed",
    ]
    assert list(send_left_over(store / ".runs")) == []


def test_a_run_that_mlflow_refuses_keeps_none_back(store, monkeypatch):
    recipe = make_model().recipe
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with tracking.training_run([recipe], "f1") as run:
        run._journal.add("metrics", values={"no such key?": 1.0}, step=0)
    with tracking.training_run([recipe], "f2") as run:
        run.log_metrics({"perplexity": 4.5})
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    refused, sent = send_left_over(store / ".runs")
    assert refused.startswith("refused run gru-8-2nets-dinosaurs-f1 (")
    assert sent.startswith("sent run gru-8-2nets-dinosaurs-f2")
    assert len(list((store / ".runs").iterdir())) == 1
