"""A training that is stopped, in whatever way, goes on to the same bytes, in the same run."""

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
from conftest import REPOSITORY
from ruamel.yaml import YAML

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="SIGKILL and process groups are POSIX"),
]

OUTPUTS = ("models/model.safetensors", "metrics/train.json", "plots/learning_curve.csv")
KILLS = 4


def write_params(folder: Path, **train) -> None:
    yaml = YAML()
    params = yaml.load(REPOSITORY / "params.yaml")
    params["data"]["path"] = "names.txt"
    params["model"] |= {"hidden_size": 48, "members": 2}
    params["train"] |= {"max_epochs": 60, "patience": 60, "batch_size": 16, "device": "cpu"} | train
    yaml.dump(params, folder / "params.yaml")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    names = (REPOSITORY / "data/dinosaurs.csv").read_text("utf-8").splitlines()[1::3]
    (folder / "names.txt").write_text("\n".join(row.split(",")[0] for row in names), "utf-8")
    write_params(folder)
    script = str(REPOSITORY / "pipeline/prepare.py")
    arguments = ["params.yaml", "data/prepared", "metrics/prepare.json"]
    subprocess.run([sys.executable, script, *arguments], cwd=folder, check=True)
    return folder


def start(folder: Path) -> subprocess.Popen:
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
    )


def finish(folder: Path) -> str:
    process = start(folder)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return said


def outputs(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in OUTPUTS]


@pytest.fixture(scope="module")
def straight(prepared, tmp_path_factory) -> tuple[list[bytes], float]:
    """The outputs of a training that nothing stopped, and the seconds from start to end."""
    folder = tmp_path_factory.mktemp("straight")
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    began = time.monotonic()
    finish(folder)
    return outputs(folder), time.monotonic() - began


def runs(folder: Path) -> list[tuple]:
    """Id, status, and the number of logged and of different epochs of network 1."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        return store.execute(
            "SELECT r.run_uuid, r.status, COUNT(m.step), COUNT(DISTINCT m.step) FROM runs r "
            "LEFT JOIN metrics m ON m.run_uuid = r.run_uuid AND m.key = 'validation_nats/1' "
            "WHERE r.lifecycle_stage = 'active' GROUP BY r.run_uuid"
        ).fetchall()


def wait_for_epochs(folder: Path, least: int = 1) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if len(list((folder / ".unfinished").glob("*/*.safetensors"))) >= least:
            return
        time.sleep(0.05)
    raise AssertionError("no epoch was finished in two minutes")


def test_killed_at_random_moments_it_ends_with_the_same_bytes(prepared, straight, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    expected, seconds = straight
    moments = random.Random(20261123)
    for _ in range(KILLS):
        process = start(tmp_path)
        time.sleep(moments.uniform(0.2, 0.9) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    said = finish(tmp_path)
    assert outputs(tmp_path) == expected
    assert "going on with an unfinished training" in said
    ((_, status, logged, epochs),) = runs(tmp_path)
    assert (status, logged, epochs) == ("FINISHED", 60, 60)
    assert not list((tmp_path / ".unfinished").iterdir())


def test_workers_end_with_the_process_that_was_killed(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    write_params(tmp_path, max_epochs=100_000, patience=100_000)
    process = start(tmp_path)
    wait_for_epochs(tmp_path, least=2)
    process.send_signal(signal.SIGKILL)
    process.communicate()  # ends when nobody holds the pipe any more, the workers included
    before = sorted(path.stat().st_mtime for path in tmp_path.glob(".unfinished/*/*"))
    time.sleep(1)
    assert before == sorted(path.stat().st_mtime for path in tmp_path.glob(".unfinished/*/*"))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_hand_it_says_how_to_go_on_and_marks_its_run(prepared, straight, tmp_path, stop):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    process = start(tmp_path)
    wait_for_epochs(tmp_path)
    process.send_signal(stop)
    said = process.communicate()[1]
    assert process.returncode == 130, said
    assert "the same command goes on after the last finished epoch" in said
    assert "Traceback" not in said
    ((run, status, _, _),) = runs(tmp_path)
    assert status == "KILLED"
    assert "goes on after epoch" in finish(tmp_path)
    assert outputs(tmp_path) == straight[0]
    ((same, status, logged, _),) = runs(tmp_path)
    assert (same, status, logged) == (run, "FINISHED", 60)


def test_a_change_starts_afresh_and_says_what_changed(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    process = start(tmp_path)
    wait_for_epochs(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    write_params(tmp_path, max_epochs=2)
    said = finish(tmp_path)
    assert "train.max_epochs changed" in said
    assert "goes on" not in said
    assert len(runs(tmp_path)) == 2
    assert len(list((tmp_path / ".unfinished").iterdir())) == 1  # the first can still go on
