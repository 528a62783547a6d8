"""A training run that is stopped, in whatever way, resumes: the same bytes, one run in MLflow."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FROZEN, REPOSITORY, as_project
from ruamel.yaml import YAML

pytestmark = [
    pytest.mark.slowest,
    pytest.mark.skipif(os.name == "nt", reason="SIGKILL and process groups are POSIX"),
]

OUTPUTS = ("models/model.safetensors", "metrics/train.json", "plots/learning_curve.csv")
KILLS = 4


def write_params(folder: Path, **train) -> None:
    yaml = YAML()
    params = yaml.load(FROZEN / "params.yaml")
    params["data"]["path"] = "names.txt"
    params["model"] |= {"hidden_size": 48, "members": 2}
    fixed = {"batch_size": 16, "device": "cpu", "start": "fresh"}
    params["train"] |= {"max_epochs": 60, "patience": 60} | fixed | train
    yaml.dump(params, folder / "params.yaml")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = as_project(tmp_path_factory.mktemp("prepared"))
    names = (FROZEN / "dinosaurs.csv").read_text("utf-8").splitlines()[1:]
    (folder / "names.txt").write_text("\n".join(row.split(",")[0] for row in names), "utf-8")
    write_params(folder)
    script = str(REPOSITORY / "pipeline/prepare.py")
    arguments = ["params.yaml", "data/prepared", "metrics/prepare.json"]
    subprocess.run([sys.executable, script, *arguments], cwd=folder, check=True)
    return folder


def start(folder: Path) -> subprocess.Popen:
    # A script's background jobs, and what they start, ignore Ctrl-C; this one shall not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW"))
    }
    return subprocess.Popen(
        [
            sys.executable,
            str(REPOSITORY / "pipeline/train.py"),
            "params.yaml",
            "data/prepared",
            *OUTPUTS,
        ],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as in a terminal
    )


def finish(folder: Path) -> str:
    process = start(folder)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return said


def outputs(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in OUTPUTS]


@pytest.fixture(scope="module")
def straight(prepared, tmp_path_factory) -> list[bytes]:
    """The outputs of a training that nothing stopped."""
    folder = tmp_path_factory.mktemp("straight")
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    finish(folder)
    return outputs(folder)


def runs(folder: Path) -> list[tuple]:
    """Id, status, and the number of logged and of different epochs of the curve."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        return store.execute(
            "SELECT r.run_uuid, r.status, COUNT(m.step), COUNT(DISTINCT m.step) FROM runs r "
            "LEFT JOIN metrics m ON m.run_uuid = r.run_uuid AND m.key = 'curve/validation_nats' "
            "WHERE r.lifecycle_stage = 'active' GROUP BY r.run_uuid"
        ).fetchall()


def snapshots(folder: Path) -> dict[str, int]:
    return {str(f): f.stat().st_mtime_ns for f in folder.glob(".unfinished/*/*.safetensors")}


def wait_for_epochs(folder: Path, number: int = 1) -> None:
    """Wait until networks have finished so many more epochs, as far as one can see."""
    deadline = time.monotonic() + 120
    seen = snapshots(folder)
    while number > 0:
        assert time.monotonic() < deadline, "no epoch was finished in two minutes"
        time.sleep(0.01)
        try:
            now = snapshots(folder)
        except FileNotFoundError:  # renamed meanwhile
            continue
        number -= sum(seen.get(file) != moment for file, moment in now.items())
        seen = now


def end(process: subprocess.Popen, how: signal.Signals) -> str:
    """End a training; what it said. Nobody may hold its pipe afterwards, workers included."""
    os.kill(process.pid, how)
    return process.communicate(timeout=60)[1]


def test_killed_at_random_moments_it_ends_with_the_same_bytes(prepared, straight, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    moments = random.Random(20261123)
    for _ in range(KILLS):
        process = start(tmp_path)
        wait_for_epochs(tmp_path, moments.randint(1, 8))
        time.sleep(moments.uniform(0, 0.1))
        end(process, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    said = finish(tmp_path)
    assert outputs(tmp_path) == straight
    assert "resuming an unfinished training run" in said
    ((_, status, logged, epochs),) = runs(tmp_path)
    assert (status, logged, epochs) == ("FINISHED", 60, 60)
    assert not [path for path in (tmp_path / ".unfinished").iterdir() if path.is_dir()]


def test_workers_end_with_the_process_that_was_killed(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    write_params(tmp_path, max_epochs=100_000, patience=100_000)
    process = start(tmp_path)
    wait_for_epochs(tmp_path, 2)
    end(process, signal.SIGKILL)
    before = snapshots(tmp_path)
    time.sleep(1)
    assert snapshots(tmp_path) == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_hand_it_says_how_to_go_on_and_marks_its_run(prepared, straight, tmp_path, stop):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    process = start(tmp_path)
    wait_for_epochs(tmp_path)
    said = end(process, stop)
    assert process.returncode == 130, said
    assert "run the same command again to resume after the last finished epoch" in said
    assert "Traceback" not in said
    ((run, status, _, _),) = runs(tmp_path)
    assert status == "KILLED"
    assert "resumes after epoch" in finish(tmp_path)
    assert outputs(tmp_path) == straight
    ((same, status, logged, _),) = runs(tmp_path)
    assert (same, status, logged) == (run, "FINISHED", 60)


@pytest.mark.skipif(shutil.which("pgrep") is None, reason="pgrep finds the workers")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.6])
def test_stopped_while_the_workers_start_it_is_one_line(prepared, tmp_path, seconds, stop):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    process = start(tmp_path)
    while not workers_of(process.pid):
        time.sleep(0.01)
    time.sleep(seconds)  # they import torch now
    os.killpg(process.pid, stop)  # to all, as a terminal and a cancelled job send it
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in said, said
    assert said.count("stopped") == 1, said


def workers_of(pid: int) -> list[str]:
    found = subprocess.run(
        ["pgrep", "-P", str(pid), "-f", "spawn_main"], capture_output=True, text=True, check=False
    )
    return found.stdout.split()


def test_a_change_starts_afresh_and_says_what_changed(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    process = start(tmp_path)
    wait_for_epochs(tmp_path)
    end(process, signal.SIGKILL)
    write_params(tmp_path, max_epochs=2)
    said = finish(tmp_path)
    assert "train.max_epochs changed" in said
    assert "resumes after" not in said
    assert len(runs(tmp_path)) == 2
    assert snapshots(tmp_path)  # the first can still go on
