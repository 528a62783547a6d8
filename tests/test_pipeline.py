"""The real stages, run by DVC on a small list in a clone of this checkout."""

import json
import os
import re
import shlex
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from clones import command, set_params, succeed
from conftest import FROZEN, REPOSITORY
from invoked import invoke
from ruamel.yaml import YAML

from nomosaurus.params import CELLS

pytestmark = pytest.mark.slow

STAGES = ["prepare", "train", "evaluate", "sample", "report", "track"]
OUTPUTS = [
    "dvc.lock",
    "metrics/prepare.json",
    "metrics/train.json",
    "metrics/evaluate.json",
    "metrics/evaluate_details.json",
    "plots/learning_curve.csv",
    "plots/evaluate/lengths.csv",
    "plots/evaluate/ngrams.csv",
    "plots/evaluate/calibration.csv",
    "plots/evaluate/positions.csv",
    "plots/evaluate/learning_curve.svg",
    "plots/evaluate/lengths.svg",
    "plots/evaluate/ngrams.svg",
    "plots/evaluate/calibration.svg",
    "plots/evaluate/positions.svg",
    "plots/evaluate/activations.svg",
    "plots/evaluate/unrolled.svg",
    "plots/evaluate/compact.svg",
    "samples/names.csv",
    "models/model.safetensors",
    "report.html",
]


def state(folder: Path) -> dict[str, bytes]:
    """Every output, prepared data included, by path."""
    paths = [folder / name for name in OUTPUTS]
    paths += [path for path in (folder / "data/prepared").rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_every_output_is_made_and_says_what_it_should(finished):
    assert state(finished)
    prepared = json.loads((finished / "metrics/prepare.json").read_text())
    rows = len((finished / "small.txt").read_text().splitlines())
    assert prepared["rows_read"] == prepared["names_kept"] == rows > 300
    evaluated = json.loads((finished / "metrics/evaluate.json").read_text())
    # Two epochs teach a network less than the n-gram knows.
    assert 1 < evaluated["baseline_perplexity"] < evaluated["network_perplexity"] < 27
    details = json.loads((finished / "metrics/evaluate_details.json").read_text())
    assert details["figures"]["js_2gram"]["floor"] > 0
    assert all(details["figures"][key]["value"] == evaluated[key] for key in details["figures"])
    names = pd.read_csv(finished / "samples/names.csv", keep_default_na=False)
    assert len(names) == 15
    assert names["new"].all()
    curve = pd.read_csv(finished / "plots/learning_curve.csv")
    assert curve["epoch"].tolist() == [1, 2]


def test_model_and_data_lie_in_the_cache_and_the_rest_in_git(finished):
    tracked = succeed(finished, "git", "ls-files").splitlines()
    assert set(OUTPUTS) - set(tracked) == {"models/model.safetensors", "report.html"}
    assert not any(name.startswith("data/prepared/") for name in tracked)
    assert not any("mlflow" in name or "mlartifacts" in name for name in tracked)


def test_a_second_run_does_nothing(finished):
    before = state(finished)
    said = succeed(finished, "dvc", "repro")
    assert "up to date" in said
    assert "Running stage" not in said
    assert state(finished) == before
    assert succeed(finished, "git", "status", "--porcelain") == ""


@pytest.mark.slowest
def test_the_same_commit_gives_the_same_bytes_in_another_clone(finished, tmp_path):
    succeed(finished, "git", "clone", "-q", ".", str(tmp_path / "other"))
    other = tmp_path / "other"
    succeed(other, "dvc", "repro", OMP_NUM_THREADS="2", PYTHONHASHSEED="7")
    assert state(other) == state(finished)
    assert succeed(other, "git", "status", "--porcelain") == ""


NO_TRACKING = '''
"""In place of tracking/run.py: it says nothing to anyone."""
from contextlib import contextmanager
from nomosaurus.training.loop import Watcher

class Silent(Watcher):
    def log_model(self, path): pass
    def log_metrics(self, metrics): pass

@contextmanager
def training_run(recipe, fingerprint):
    yield Silent()

def log_outputs(folder, origin): pass
'''


@pytest.mark.slowest
@pytest.mark.parametrize("store", ["none", "dead"])
def test_tracking_decides_no_byte(finished, tmp_path, store):
    # `finished` has a live store.
    succeed(finished, "git", "clone", "-q", ".", str(tmp_path / "other"))
    other = tmp_path / "other"
    if store == "none":
        (other / "src/nomosaurus/tracking/run.py").write_text(NO_TRACKING)
        said = succeed(other, "dvc", "repro")
        assert "MLflow" not in said
    else:
        said = succeed(other, "dvc", "repro", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
        assert said.count("warning: MLflow failed") == 2  # train and track
    assert not (other / "mlflow.db").exists()
    assert state(other) == state(finished)
    assert (other / ".tracked").read_bytes() == (finished / ".tracked").read_bytes()


@pytest.mark.parametrize("room", ["tracking", "serving", "report", "workflows", "commands"])
def test_a_comment_in_what_shows_or_tracks_makes_no_training_stale(project, room):
    for path in (project / "src/nomosaurus" / room).glob("*.py"):
        with path.open("a") as file:
            file.write("# a comment\n")
    assert "up to date" in succeed(project, "dvc", "status", "prepare", "train", "sample")


def test_one_model_has_one_run_in_the_store(finished):
    code = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
runs = mlflow.search_runs(experiment_names=["nomosaurus"], output_format="list")
assert len(runs) == 1, runs
run = runs[0]
metrics = "curve/train_nats curve/validation_nats validation_nats perplexity memory_gain_nats"
for key in metrics.split():
    assert key in run.data.metrics, key
for key in ("seed", "model.cell", "data.path", "evaluate.bootstrap_samples", "sample.temperature"):
    assert key in run.data.params, key
names = {dataset.dataset.name: dataset.dataset.digest for dataset in run.inputs.dataset_inputs}
assert set(names) == {"small.txt", "data/prepared"}, names
assert open("dvc.lock").read().count(names["data/prepared"]) > 0
folders = {a.path for a in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
assert {"metrics", "plots", "samples", "lineage", "report.html"} <= folders, folders
"""
    succeed(finished, "python", "-W", "ignore", "-c", code)


@pytest.mark.slowest
def test_experiments_run_elsewhere_but_log_to_the_same_store(project):
    succeed(project, "dvc", "exp", "run", "--temp", "-n", "small-rnn", "-S", "model.cell=rnn")
    code = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
runs = mlflow.search_runs(experiment_names=["nomosaurus"], output_format="list")
rnn = [run for run in runs if run.data.params["model.cell"] == "rnn"]
assert [run.info.run_name for run in rnn] == ["rnn-16-2nets-small-small-rnn"], runs
assert rnn[0].data.tags["dvc.experiment"] == "small-rnn"
assert "perplexity" in rnn[0].data.metrics
"""
    succeed(project, "python", "-W", "ignore", "-c", code)
    table = succeed(project, *documented("docs/team.md", "dvc exp show"), "--csv").splitlines()
    assert table[0].split(",") == ["Experiment", "perplexity", "model.cell", "model.hidden_size"]
    (row,) = [line.split(",") for line in table if "small-rnn" in line]
    assert float(row[1]) > 1
    assert row[2:] == ["rnn", "16"]


def runs(folder: Path, *options: str) -> list[dict]:
    return [
        json.loads(line)
        for line in succeed(folder, "nomosaurus", "runs", "--json", *options).splitlines()
    ]


@pytest.mark.slowest
def test_queued_experiments_are_all_recorded_each_with_the_code_it_was_queued_with(project):
    (project / "mlflow.db").unlink()  # the three will make it, two of them at a time
    network = Path("src/nomosaurus/model/network.py")
    queued = locked_code(YAML(typ="safe").load(project / "dvc.lock")["stages"])
    settings = ["-S", "seed=5", "-S", f"model.cell={','.join(CELLS)}"]
    succeed(project, "dvc", "exp", "run", "--queue", *settings)
    with (project / network).open("a") as file:
        file.write('raise ImportError("edited after queueing")\n')
    try:
        succeed(project, "dvc", "queue", "start", "--jobs", "2")
        for _ in range(600):
            status = succeed(project, "dvc", "queue", "status")
            if not re.search("Queued|Running", status):
                break
            time.sleep(1)
    finally:
        succeed(project, "dvc", "queue", "stop", "--kill")
    assert status.count("Success") == 3, status
    logs = [path.read_text() for path in project.glob(".dvc/tmp/exps/run/*/*.out")]
    assert len(logs) == 3
    assert not any("warning: MLflow" in log or "locked" in log for log in logs)
    (project / network).write_bytes(
        (project / network)
        .read_bytes()
        .replace(b'raise ImportError("edited after queueing")\n', b"")
    )
    found = runs(project)
    assert sorted(run["cell"] for run in found) == sorted(CELLS)
    for run in found:
        assert run["state"] == "FINISHED"
        assert run["perplexity"] > 1
        assert runs(project, "--experiment", run["experiment"]) == [run]
        lineage = next(project.glob(f"mlartifacts/{run['run_id']}/artifacts/lineage/track.json"))
        assert locked_code(json.loads(lineage.read_text())["stages"]) == queued
    assert not list((project / ".runs").iterdir())


def locked_code(stages: dict) -> dict[str, str]:
    """The hashes of the code that `train` ran with."""
    deps = {dep["path"]: dep["md5"] for dep in stages["train"]["deps"]}
    return {path: md5 for path, md5 in deps.items() if path.startswith(("src/", "pipeline/"))}


@pytest.mark.slowest
def test_a_new_store_is_filled_from_git_and_dvc(project):
    succeed(project, "dvc", "exp", "run", "-n", "other-seed", "-S", "seed=6")
    succeed(project, "git", "checkout", "-q", ".")
    before = {run["perplexity"] for run in runs(project)}
    assert len(before) == 2
    (project / "mlflow.db").unlink()
    shutil.rmtree(project / "mlartifacts")
    said = succeed(project, "nomosaurus", "backfill")
    assert "HEAD: has a run now" in said
    assert "other-seed: has a run now" in said
    found = runs(project)
    assert {run["perplexity"] for run in found} == before
    assert {run["state"] for run in found} == {"FINISHED"}
    assert [run["experiment"] for run in runs(project, "--experiment", "other-seed")] == [
        "other-seed"
    ]
    (head,) = runs(project, "--commit", "HEAD")
    place = project / "mlartifacts" / head["run_id"] / "artifacts"
    for name in ("metrics/evaluate.json", "plots/evaluate/unrolled.svg", "samples/names.csv"):
        kept = name.removeprefix("plots/evaluate/")  # pictures are at the top
        assert (place / kept).read_bytes() == (project / name).read_bytes()
    assert "has its run" in succeed(project, "nomosaurus", "backfill")
    assert len(runs(project)) == 2


@pytest.mark.slowest
def test_a_run_made_before_its_commit_counts_as_clean_once_that_holds_it(project):
    def origin() -> str:
        report = command(project, "nomosaurus", "promote", "--json")
        (check,) = [c for c in json.loads(report.stdout)["checks"] if c["rule"] == "a clean commit"]
        return check["found"]

    set_params(project, seed=7)
    succeed(project, "dvc", "repro")
    assert "changes that were not committed" in origin()
    succeed(project, "git", "commit", "-qam", "another seed")
    head = succeed(project, "git", "rev-parse", "HEAD").strip()
    assert origin() == f"trained from commit {head[:7]}"
    (run,) = runs(project, "--commit", "HEAD")
    assert (run["commit"], run["dirty"]) == (head, "false")


def test_crossvalidation_is_one_command_cached_and_in_mlflow(project):
    # All cores for one network, so one after the other: else another may be first to say a line.
    set_params(project, train__num_threads=os.cpu_count())
    stage = "experiments/dvc.yaml:crossvalidate"
    said = succeed(project, "dvc", "repro", stage)
    assert "fold 1, network 1, epoch 1 of at most 2" in said
    figures = json.loads((project / "metrics/crossvalidate.json").read_text())
    for key in ("perplexity", "gain_nats", "network_gain_nats", "memory_gain_nats"):
        assert figures[f"cv_{key}_low"] < figures[f"cv_{key}"] < figures[f"cv_{key}_high"]
    assert "Running stage" not in succeed(project, "dvc", "repro", stage)
    code = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
(run,) = mlflow.search_runs(experiment_names=["nomosaurus-crossvalidation"], output_format="list")
assert run.info.run_name.startswith("3-fold-lstm-16-2nets-small-"), run.info.run_name
assert run.data.params["crossvalidate.folds"] == "3"
for key in ("perplexity", "gain_nats", "cpu_seconds"):
    assert key in run.data.metrics, key
"""
    succeed(project, "python", "-W", "ignore", "-c", code)


@pytest.mark.slowest
def test_a_stage_runs_again_for_what_it_uses_and_nothing_else(project):
    set_params(project, sample__temperature=0.7)
    # prepare checks all of params.yaml; the report says how names are drawn
    assert stages_run(project) == ["prepare", "sample", "report", "track"]
    set_params(project, evaluate__bootstrap_samples=200)
    assert stages_run(project) == ["prepare", "evaluate", "report", "track"]
    set_params(project, model__hidden_size=12)
    assert stages_run(project) == STAGES


@pytest.mark.slowest
def test_the_categories_of_a_list_reach_the_model_and_the_figures(project):
    table = pd.read_csv(FROZEN / "dinosaurs.csv")
    table.to_csv(project / "small.csv", index=False)
    set_params(project, data__path="small.csv", data__condition="clade")
    assert stages_run(project) == STAGES
    assert json.loads((project / "metrics/prepare.json").read_text())["categories"] == 6
    figures = json.loads((project / "metrics/evaluate.json").read_text())
    assert figures["condition_gain_nats_low"] < figures["condition_gain_nats_high"]
    details = json.loads((project / "metrics/evaluate_details.json").read_text())
    gain = details["figures"]["condition_gain_nats"]
    assert gain["low"] < gain["value"] < gain["high"]
    assert len(details["categories"]) > 3
    score = ("nomosaurus", "score", "bela", "--json")
    scored = {
        succeed(project, *score),
        succeed(project, *score, "--given", "Theropoda"),
        succeed(project, *score, "--given", "Ornithopoda"),
    }
    assert len(scored) == 3


@pytest.mark.slowest
def test_dvc_restores_a_model_that_it_trained_before(project):
    before = state(project)
    (project / "models/model.safetensors").unlink()
    set_params(project, model__hidden_size=12)
    assert "train" in stages_run(project)
    set_params(project, model__hidden_size=16)
    said = succeed(project, "dvc", "repro")
    assert "Stage 'train' is cached" in said
    assert state(project) == before


def stages_run(project: Path) -> list[str]:
    said = succeed(project, "dvc", "repro")
    return [stage for stage in STAGES if f"Running stage '{stage}'" in said]


def bad_bytes(project: Path) -> None:
    (project / "small.txt").write_bytes(b"ana\nM\xfcller\n")


def no_such_column(project: Path) -> None:
    (project / "small.csv").write_text("town\nana\n")
    set_params(project, data__path="small.csv")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "small.txt").write_text(""), "small.txt has no usable name"),
        (lambda p: (p / "small.txt").write_text("ana\n"), "1 different names split into"),
        (bad_bytes, "small.txt, line 2: not UTF-8"),
        (no_such_column, "small.csv has no column 'name'"),
        (lambda p: set_params(p, data__condition="clade"), "small.txt has no columns, and so no"),
        (lambda p: (p / "small.txt").unlink(), "small.txt"),
        (lambda p: set_params(p, model__hidden_size="big"), "model.hidden_size must be a whole"),
        (lambda p: set_params(p, train__lerning_rate=1), "did you mean learning_rate?"),
        (lambda p: set_params(p, sample__temperature=-1), "sample.temperature must be greater"),
    ],
    ids=[
        *("empty", "one-name", "bytes", "column", "condition", "missing"),
        *("type", "unknown-key", "range"),
    ],
)
def test_bad_input_stops_the_pipeline_and_leaves_all_outputs(project, spoil, message):
    before = state(project)
    spoil(project)
    result = command(project, "dvc", "repro")
    assert result.returncode != 0
    said = result.stdout + result.stderr
    assert message in said
    assert "Traceback" not in said
    assert state(project) == before


def test_a_prefix_never_seen_is_refused_by_the_sample_stage(project):
    before = state(project)
    set_params(project, sample__prefix="ñ")
    result = command(project, "dvc", "repro")
    assert result.returncode != 0
    after = state(project)
    del before["dvc.lock"], after["dvc.lock"]  # prepare has run, with the new params
    assert after == before
    assert "error: the prefix 'ñ' has the character 'ñ'" in result.stderr


def test_a_model_cut_short_is_refused_by_the_stages_that_read_it(project):
    path = project / "models/model.safetensors"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:500])
    for stage in ("evaluate", "sample"):
        evaluated = ["metrics/evaluate.json", "metrics/evaluate_details.json"]
        outputs = [*evaluated, "plots/evaluate/lengths.csv", "samples/names.csv"]
        before = [(project / name).read_bytes() for name in outputs]
        arguments = {
            "evaluate": ["params.yaml", "data/prepared", str(path), *evaluated, "plots/evaluate"],
            "sample": ["params.yaml", str(path), outputs[-1]],
        }[stage]
        result = command(project, "python", f"pipeline/{stage}.py", *arguments)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
        assert "is cut short" in result.stderr
        assert [(project / name).read_bytes() for name in outputs] == before


def documented(document: str, beginning: str) -> list[str]:
    """The words of the one command in a document that begins so."""
    text = (REPOSITORY / document).read_text("utf-8").replace("\\\n", " ")
    (line,) = re.findall(rf"^\$ ({re.escape(beginning)}.*)$", text, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.parametrize("document", ["README.md", "docs/names.md", "docs/learning.md"])
def test_the_commands_and_the_python_of_the_documents_work(
    finished, tmp_path, monkeypatch, capsys, document
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "models", tmp_path / "models")
    (tmp_path / "names.txt").write_text("belasaurus\n")
    (tmp_path / "taken.txt").write_text("*rex*\n")
    text = (REPOSITORY / document).read_text("utf-8").replace("\\\n", " ")
    commands = re.findall(r"^\$ (nomosaurus .*)$", text, re.MULTILINE)
    assert commands
    for line in commands:
        # The model is small and hardly trained, so a rare beginning or ending takes too long.
        words = shlex.split(line.replace("tyr", "a").replace(" --match 'us$'", ""))
        code, out, _ = invoke(*words[1:])
        assert code == 0, line
        assert out.strip(), line
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block.replace("tyr", "a"), {})
        assert capsys.readouterr().out.strip()


def test_dvcs_own_commands_read_the_projects_files(project):
    metrics = succeed(project, "dvc", "metrics", "show")
    assert "perplexity" in metrics
    assert "details" not in metrics
    assert "prepare" in succeed(project, "dvc", "dag")
    set_params(project, model__hidden_size=12)
    assert "model.hidden_size" in succeed(project, "dvc", "params", "diff")
    succeed(project, "dvc", "plots", "show")
    page = (project / "dvc_plots/index.html").read_text()
    for words in ("nats per character", "share of names", "Jensen-Shannon", "bits, on average"):
        assert words in page
    for picture in ("activations", "unrolled", "compact"):
        assert f"{picture}.svg" in page
