"""The real stages, run by DVC on a small list in a clone of this checkout."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from clones import command, set_params, succeed
from conftest import FROZEN, REPOSITORY
from invoked import invoke
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

STAGES = ["prepare", "train", "evaluate", "sample", "report", "play", "track"]
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
    "play.html",
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
    assert set(OUTPUTS) - set(tracked) == {"models/model.safetensors", "report.html", "play.html"}
    assert not any(name.startswith("data/prepared/") for name in tracked)
    assert not any(name.startswith(("mlflow.db", "mlartifacts/", "mlruns/")) for name in tracked)


def test_a_second_run_does_nothing(finished):
    before = state(finished)
    said = succeed(finished, "dvc", "repro")
    assert "up to date" in said
    assert "Running stage" not in said
    assert state(finished) == before
    assert succeed(finished, "git", "status", "--porcelain") == ""


NO_TRACKING = '''
"""In place of tracking/run.py: it says nothing to anyone."""
from contextlib import contextmanager
from nomosaurus.training.loop import Watcher

class Silent(Watcher):
    def log_model(self, path): pass
    def log_metrics(self, metrics): pass

@contextmanager
def training_run(recipes, fingerprint):
    yield Silent()

def log_outputs(folder, origin): pass
'''


@pytest.mark.slowest
@pytest.mark.parametrize("store", ["none", "dead"])
def test_the_same_commit_gives_the_same_bytes_whatever_tracks_it(finished, tmp_path, store):
    # `finished` has a live store. Neither threads nor hash seeds decide a byte.
    succeed(finished, "git", "clone", "-q", ".", str(tmp_path / "other"))
    other = tmp_path / "other"
    if store == "none":
        (other / "src/nomosaurus/tracking/run.py").write_text(NO_TRACKING)
        said = succeed(other, "dvc", "repro")
        assert "MLflow" not in said
    else:
        surroundings = {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}
        dead = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
        said = succeed(other, "dvc", "repro", **surroundings, **dead)
        assert said.count("warning: MLflow failed") == 2  # train and track
        assert succeed(other, "git", "status", "--porcelain") == ""
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
    set_params(project, sample__temperature=0.9)
    # prepare checks all of params.yaml; the report says how names are drawn
    assert stages_run(project) == ["prepare", "sample", "report", "track"]
    set_params(project, evaluate__bootstrap_samples=200)
    assert stages_run(project) == ["prepare", "evaluate", "report", "track"]
    set_params(project, model__hidden_size=12)
    assert stages_run(project) == STAGES


@pytest.mark.slowest
def test_a_folder_of_lists_with_weights_gives_a_model_of_several_categories(project):
    table = pd.read_csv(FROZEN / "dinosaurs.csv")
    table["count"] = range(1, len(table) + 1)
    (project / "lists").mkdir()
    for clade, rows in table.groupby("clade"):
        both = pd.concat([rows, table.head(20)])  # some names stand in all lists
        both.to_csv(project / f"lists/{clade}.csv", index=False)
    set_params(project, data__path="lists", data__condition="<file>", data__weight="count")
    assert stages_run(project) == STAGES
    prepared = json.loads((project / "metrics/prepare.json").read_text())
    assert prepared["categories"] == 6
    assert prepared["several_categories"] == 20
    short = json.loads((project / "metrics/evaluate.json").read_text())
    assert short["weighted_perplexity"] != short["perplexity"]
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


STARTS = ("North", "South", "Wood", "Ash", "Mill", "Stone", "Green", "King's", "Black", "White")
TOWNS = [f"{start}{end}" for start in STARTS for end in ("ford", "bury", "ham", " Wick")]


def test_a_short_list_starts_from_the_base_and_keeps_its_spelling(project):
    (project / "towns.txt").write_text("\n".join([*TOWNS, "London", "Madrid", "Anna"]) + "\n")
    set_params(
        project,
        data__path="towns.txt",
        data__validation_share=0.2,
        data__test_share=0.2,
        model__hidden_size="auto",
        model__members=1,
        train__max_epochs=4,
        train__learning_rate=0.01,
    )
    said = succeed(project, "dvc", "repro")
    assert "train.start: base is kept" in said
    prepared = json.loads((project / "metrics/prepare.json").read_text())
    assert prepared["case_kept"] > 0.9
    learnt = json.loads((project / "metrics/train.json").read_text())
    assert learnt["base_validation_nats"] == learnt["validation_nats"]
    assert learnt["base_validation_nats"] < learnt["fresh_validation_nats"]
    figures = json.loads((project / "metrics/evaluate.json").read_text())
    assert 0 < figures["familiar_at_10k"] < 1
    names = pd.read_csv(project / "samples/names.csv", keep_default_na=False)["name"]
    assert all(name[0].isupper() for name in names)
    assert "models/base.safetensors" in (project / "report.html").read_text("utf-8")
    raw = succeed(project, "nomosaurus", "generate", "--raw", "--seed", "1").splitlines()
    assert all(name == name.lower() for name in raw)
    code = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
run, _ = mlflow.search_runs(experiment_names=["nomosaurus"], output_format="list")
assert run.data.params["train.start"] == "base", run.data.params
assert run.data.params["model.hidden_size"] == "256", run.data.params
assert not any("train.start" in tag for tag in run.data.tags), run.data.tags
import hashlib
base = open("models/base.safetensors", "rb").read()
assert run.data.tags["base_md5"] == hashlib.md5(base).hexdigest()
assert not any("base" in data.dataset.name for data in run.inputs.dataset_inputs)
"""
    succeed(project, "python", "-W", "ignore", "-c", code)
    set_params(project, train__start="base", model__hidden_size=8)
    result = command(project, "dvc", "repro")
    assert result.returncode != 0
    assert "train.start is base, but model.hidden_size is 8" in result.stdout + result.stderr


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


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("prefix", "ñ", "the prefix 'ñ' has the character 'ñ'"),
        ("prefix", "a" * 101, "characters, and a name has at most 100"),
        ("min_length", 101, "min_length must be at most 100"),
        ("match", "(", "match must be a regular expression, got '('"),
        ("match", "(" * 400 + ")" * 400, "match must not nest so deep"),
        ("given", "bird", "this model knows no category, so not 'bird' either"),
    ],
)
def test_a_mistake_in_what_is_to_be_sampled_is_said_before_any_training(
    tmp_path, monkeypatch, capsys, key, value, said
):
    monkeypatch.syspath_prepend(REPOSITORY / "pipeline")
    import prepare

    monkeypatch.chdir(REPOSITORY)
    content = YAML(typ="safe", pure=True).load(FROZEN / "params.yaml")
    content["data"]["path"] = str(FROZEN / "dinosaurs.csv")
    content["sample"][key] = value
    params = tmp_path / "params.yaml"
    YAML(typ="safe", pure=True).dump(content, params)
    with pytest.raises(SystemExit):
        prepare.main(params, tmp_path / "prepared", tmp_path / "metrics.json")
    error = capsys.readouterr().err
    assert f"error: {params}, section sample: " in error
    assert said in error
    assert not (tmp_path / "prepared").exists()


def test_a_prefix_never_seen_is_refused_before_anything_is_made(project):
    before = state(project)
    set_params(project, sample__prefix="ñ")
    result = command(project, "dvc", "repro")
    assert result.returncode != 0
    assert state(project) == before
    assert "error: params.yaml, section sample: the prefix 'ñ' has the character" in result.stderr


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


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def other_list(project: Path) -> None:
    """Prepared data of other names, as when only the first stage was run on them."""
    (project / "other.txt").write_text("\n".join(TOWNS) + "\n")
    set_params(project, data__path="other.txt")
    prepare = ("params.yaml", "data/prepared", "metrics/prepare.json")
    succeed(project, "python", "pipeline/prepare.py", *prepare)
    set_params(project, data__path="small.txt")


def other_names(project: Path) -> None:
    path = project / "samples/names.csv"
    table = pd.read_csv(path, keep_default_na=False)
    table["log_prob"] -= 1
    table.to_csv(path, index=False)


PREPARED_OF_ANOTHER = (
    "data/prepared is not what the model learnt from, which is a split of small.txt"
)


@pytest.mark.slowest
@pytest.mark.parametrize(
    ("stage", "spoil", "message"),
    [
        ("train", other_list, "data/prepared was made with data.path 'other.txt', and params.yaml"),
        ("evaluate", other_list, PREPARED_OF_ANOTHER),
        ("report", other_list, "what stage prepare wrote is not of models/model.safetensors"),
        ("evaluate", lambda p: set_params(p, seed=2), "was trained with seed 1, and params.yaml"),
        ("sample", lambda p: set_params(p, seed=2), "was trained with seed 1, and params.yaml"),
        ("report", lambda p: set_params(p, seed=2), "was trained with seed 1, and params.yaml"),
        (
            "report",
            lambda p: edit(p / "metrics/train.json", '"epochs": 4', '"epochs": 5'),
            "what stage train wrote is not of",
        ),
        (
            "report",
            lambda p: edit(p / "metrics/evaluate_details.json", '"model": "', '"model": "0'),
            "what stage evaluate wrote is not of",
        ),
        ("report", other_names, "what stage sample wrote is not of"),
        ("track", other_names, "samples/names.csv is not what stage sample wrote for"),
        (
            "track",
            lambda p: (p / "models/base.safetensors").replace(p / "models/model.safetensors"),
            "models/model.safetensors is not the model that dvc.lock names",
        ),
    ],
)
def test_what_is_of_another_list_model_or_params_is_refused(project, stage, spoil, message):
    commands = YAML(typ="safe", pure=True).load(project / "dvc.yaml")["stages"]
    spoil(project)
    outputs = ["models/model.safetensors", "metrics/evaluate.json", "samples/names.csv"]
    before = [(project / name).read_bytes() for name in outputs]
    result = command(project, *shlex.split(commands[stage]["cmd"]))
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.endswith('; run "dvc repro"\n')
    assert len(result.stderr.splitlines()) == 1
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


def test_dvcs_own_commands_read_the_projects_files(project, tmp_path):
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
    assert "nomosaurus@v0.0.1" in succeed(project, "gto", "register", "nomosaurus")
    got = tmp_path / "got.safetensors"
    succeed(project, "dvc", "artifacts", "get", ".", "nomosaurus", "-o", str(got))
    assert got.read_bytes() == (project / "models/model.safetensors").read_bytes()
