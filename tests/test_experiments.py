"""Experiments, queued or restored: each has its run, with the code and the commit it came from."""

import json
import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from clones import command, set_params, succeed
from ruamel.yaml import YAML

from nomosaurus.params import CELLS


def runs(folder: Path, *options: str) -> list[dict]:
    return [
        json.loads(line)
        for line in succeed(folder, "nomosaurus", "runs", "--json", *options).splitlines()
    ]


@pytest.mark.slowest
def test_queued_experiments_are_all_recorded_each_with_the_code_it_was_queued_with(project):
    cells = CELLS[1:]
    (project / "mlflow.db").unlink()  # the two will make it at the same time
    network = Path("src/nomosaurus/model/network.py")
    queued = locked_code(YAML(typ="safe").load(project / "dvc.lock")["stages"])
    settings = ["-S", "seed=5", "-S", f"model.cell={','.join(cells)}"]
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
    assert status.count("Success") == 2, status
    logs = [path.read_text() for path in project.glob(".dvc/tmp/exps/run/*/*.out")]
    assert len(logs) == 2
    assert not any("warning: MLflow" in log or "locked" in log for log in logs)
    (project / network).write_bytes(
        (project / network)
        .read_bytes()
        .replace(b'raise ImportError("edited after queueing")\n', b"")
    )
    found = runs(project)
    assert sorted(run["cell"] for run in found) == sorted(cells)
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
    with closing(sqlite3.connect(project / "mlflow.db")) as store:
        times = store.execute("SELECT start_time, end_time FROM runs").fetchall()
    assert all(start == end for start, end in times), times  # not from the commit until today
    assert "has its run" in succeed(project, "nomosaurus", "backfill")
    assert len(runs(project)) == 2


@pytest.mark.slowest
@pytest.mark.longest
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
