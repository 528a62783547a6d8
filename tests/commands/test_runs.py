import json
from types import SimpleNamespace

import pytest
from conftest import as_project
from finished import FIGURES, PREPARED
from invoked import invoke


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command in an empty project; gives exit code, output, errors."""
    monkeypatch.chdir(as_project(tmp_path))
    return invoke


def test_summary_shows_names_as_they_are(run, tmp_path):
    figures = {key: {"value": shown["value"]} for key, shown in FIGURES.items()}
    for path, content in {
        "metrics/prepare.json": json.dumps(PREPARED),
        "metrics/evaluate_details.json": json.dumps(
            {"model": "", "figures": figures, "categories": []}
        ),
        "samples/names.csv": "name,new\nc[nh3+]o,True\nNA,True\na name that is rather long,True\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    code, out, _ = run("summary")
    assert code == 0
    assert "  c[nh3+]o " in out
    assert "NA" in out.split()
    assert "too few names" in out


def test_summary_says_which_stage_is_to_run(run):
    code, out, err = run("summary")
    assert (code, out) == (1, "")
    assert err.replace("\\\\", "/") == (
        'error: metrics/prepare.json not found; run "dvc repro prepare"\n'
    )


def test_runs_lists_each_run_and_marks_those_of_no_commit(run, monkeypatch):
    of_a_commit = SimpleNamespace(
        name="first",
        state="FINISHED",
        perplexity=5.4321,
        gain_nats=None,
        cell="lstm",
        list="data/dinosaurs.csv",
        commit="c0ffee" * 6,
        dirty="false",
        started="2026-07-01 10:00",
    )
    of_none = SimpleNamespace(**vars(of_a_commit) | {"name": "second", "dirty": "true"})
    monkeypatch.setattr("nomosaurus.tracking.runs.recorded_runs", lambda *_: [of_none, of_a_commit])
    heading, *lines = run("runs")[1].splitlines()
    assert heading.split()[:3] == ["run", "state", "perplexity"]
    assert [line.split() for line in lines] == [
        [
            "second",
            "finished",
            "5.432",
            "lstm",
            "data/dinosaurs.csv",
            "c0ffeec",
            "dirty",
            "2026-07-01",
            "10:00",
        ],
        [
            "first",
            "finished",
            "5.432",
            "lstm",
            "data/dinosaurs.csv",
            "c0ffeec",
            "2026-07-01",
            "10:00",
        ],
    ]


@pytest.mark.parametrize("command", ["summary", "runs", "sync", "backfill", "promote"])
def test_help_teaches(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert len(out.splitlines()) > 5


def test_promote_refuses_options_that_a_rollback_has_no_use_for(run):
    code, _, err = run("promote", "--rollback", "--other-test")
    assert code == 2
    assert "--rollback goes with --json alone" in err


def test_promote_without_params_says_so(run):
    code, _, err = run("promote")
    assert code == 1
    assert err == 'error: params.yaml not found; restore it with "git checkout params.yaml"\n'
