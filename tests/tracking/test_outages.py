"""Whatever becomes of the tracking server, the stage ends well and no figure is lost."""

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from conftest import FROZEN, REPOSITORY, as_project
from ruamel.yaml import YAML
from servers import free_port

from nomosaurus.tracking.lineage import file_md5

pytestmark = [
    pytest.mark.slowest,
    pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits and stops a real server"),
]

OUTPUTS = ("models/model.safetensors", "metrics/train.json", "plots/learning_curve.csv")
EPOCHS = 60


class Server:
    """A real MLflow server with a store of its own, that may be ended and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"),
                *("--artifacts-destination", str(self.folder / "artifacts")),
                *("--host", "127.0.0.1", "--port", str(self.port)),
            ],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                assert self._process.poll() is None, "the server ended"
                time.sleep(0.1)
        raise AssertionError("the server did not answer")

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def fill_disk(self) -> None:
        """From now on, it cannot write anything beyond a file's first byte."""
        parent = psutil.Process(self._process.pid)
        for process in [parent, *parent.children(recursive=True)]:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def logged_epochs(self) -> int:
        try:
            with sqlite3.connect(f"file:{self.folder / 'server.db'}?mode=ro", uri=True) as store:
                query = "SELECT COUNT(*) FROM metrics WHERE key = 'curve/validation_nats'"
                return store.execute(query).fetchone()[0]
        except sqlite3.Error:
            return 0

    def wait_for_epochs(self, number: int, process: subprocess.Popen) -> None:
        while self.logged_epochs() < number:
            assert process.poll() is None, "the training ended before the outage"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = as_project(tmp_path_factory.mktemp("prepared"))
    names = (FROZEN / "dinosaurs.csv").read_text("utf-8").splitlines()[1:]
    (folder / "names.txt").write_text("\n".join(row.split(",")[0] for row in names), "utf-8")
    yaml = YAML()
    params = yaml.load(FROZEN / "params.yaml")
    params["data"]["path"] = "names.txt"
    params["model"] |= {"hidden_size": 64, "members": 1}
    params["train"] |= {"max_epochs": EPOCHS, "patience": EPOCHS, "batch_size": 8}
    params["train"] |= {"device": "cpu", "start": "fresh"}
    yaml.dump(params, folder / "params.yaml")
    script = str(REPOSITORY / "pipeline/prepare.py")
    arguments = ["params.yaml", "data/prepared", "metrics/prepare.json"]
    subprocess.run([sys.executable, script, *arguments], cwd=folder, check=True)
    return folder


def start(folder: Path, uri: str, *arguments: str) -> subprocess.Popen:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW"))
    }
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(REPOSITORY / "src")},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def train(folder: Path, uri: str) -> subprocess.Popen:
    script = str(REPOSITORY / "pipeline/train.py")
    return start(folder, uri, script, "params.yaml", "data/prepared", *OUTPUTS)


def track(folder: Path, uri: str) -> subprocess.Popen:
    """The stages `sample`, which knows no MLflow, and `track`, as DVC would run them."""
    names = "samples/names.csv"
    script = str(REPOSITORY / "pipeline/sample.py")
    finish(start(folder, uri, script, "params.yaml", OUTPUTS[0], names))
    deps, outs = ([{"path": path, "md5": file_md5(folder / path)}] for path in (OUTPUTS[0], names))
    lock = {"stages": {"sample": {"deps": deps, "outs": outs}}}
    (folder / "dvc.lock").write_text(json.dumps(lock))
    return start(folder, uri, str(REPOSITORY / "pipeline/track.py"), OUTPUTS[0], ".tracked")


def command(folder: Path, uri: str, name: str) -> str:
    process = start(folder, uri, "-c", f"from nomosaurus.commands.app import app; app(['{name}'])")
    said, wrong = process.communicate(timeout=300)
    assert process.returncode == 0, wrong
    return said


def finish(process: subprocess.Popen) -> list[str]:
    """The warnings of a stage that ends well."""
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    return [line for line in said.splitlines() if "warning" in line]


def record(server: Server) -> dict[str, object]:
    """All that tells one run from another, but for times and places."""
    with sqlite3.connect(server.folder / "server.db") as store:
        runs = store.execute(
            "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active'"
        ).fetchall()
        ((run, name, status),) = runs

        def rows(query: str) -> list[tuple]:
            return sorted(store.execute(query, (run,)).fetchall())

        models = rows("SELECT name, status FROM logged_models WHERE source_run_id = ?")
        metrics = rows("SELECT key, step, value FROM metrics WHERE run_uuid = ?")
        params = rows("SELECT key, value FROM params WHERE run_uuid = ?")
        tags = dict(rows("SELECT key, value FROM tags WHERE run_uuid = ?"))
    for key in ("training", "mlflow.artifactLocation"):  # the place is part of it
        tags.pop(key, None)
    metrics = [row for row in metrics if row[0] != "cpu_seconds" and "system/" not in row[0]]
    place = server.folder / "artifacts/1" / run / "artifacts"
    files = {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }
    return {
        "name": name,
        "status": status,
        "models": models,
        "metrics": metrics,
        "params": params,
        "tags": tags,
        "files": files,
    }


@pytest.fixture
def server(tmp_path) -> Server:
    made = Server(tmp_path / "server")
    yield made
    made.kill()


@pytest.fixture
def checkout(prepared, tmp_path) -> Path:
    shutil.copytree(prepared, tmp_path / "checkout")
    return tmp_path / "checkout"


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory) -> tuple[list[bytes], dict, dict]:
    """Outputs of a training, and its record after the stages train and track."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(prepared, folder / "checkout")
    server = Server(folder / "server")
    server.start()
    try:
        assert finish(train(folder / "checkout", server.uri)) == []
        trained = record(server)
        assert finish(track(folder / "checkout", server.uri)) == []
        return outputs(folder / "checkout"), trained, record(server)
    finally:
        server.kill()


def outputs(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in OUTPUTS]


def journals(folder: Path) -> list[Path]:
    return list((folder / ".runs").iterdir())


def test_an_undisturbed_run_has_every_epoch_once_and_leaves_no_journal(undisturbed):
    _, trained, tracked = undisturbed
    steps = [step for key, step, _ in trained["metrics"] if key == "curve/validation_nats"]
    assert steps == list(range(1, EPOCHS + 1))
    assert trained["models"] == [("model", 2)]  # 2: ready
    assert tracked["metrics"] == trained["metrics"]
    assert {"samples/names.csv", "samples/names.json"} <= set(tracked["files"])


def test_down_at_the_start_all_is_sent_by_the_next_stage(checkout, server, undisturbed):
    straight, _, tracked = undisturbed
    (warning,) = finish(train(checkout, server.uri))
    assert "nothing is lost" in warning
    assert outputs(checkout) == straight
    assert len(journals(checkout)) == 1
    server.start()
    assert finish(track(checkout, server.uri)) == []
    assert record(server) == tracked
    assert not journals(checkout)


def test_killed_in_the_middle_the_rest_is_sent_by_one_command(checkout, server, undisturbed):
    straight, trained, _ = undisturbed
    server.start()
    process = train(checkout, server.uri)
    server.wait_for_epochs(3, process)
    server.kill()
    assert len(finish(process)) == 1
    assert outputs(checkout) == straight
    assert 3 <= server.logged_epochs() < EPOCHS
    server.start()
    assert "sent run" in command(checkout, server.uri, "sync")
    assert record(server) == trained
    assert not journals(checkout)
    assert command(checkout, server.uri, "sync") == "nothing was missed\n"


@pytest.mark.parametrize("fault", ["it hangs", "its disk is full"])
def test_a_server_that_fails_costs_a_few_seconds_and_no_figure(
    checkout, server, undisturbed, fault
):
    straight, trained, _ = undisturbed
    server.start()
    process = train(checkout, server.uri)
    server.wait_for_epochs(2, process)
    if fault == "it hangs":
        server.signal(signal.SIGSTOP)
    else:
        server.fill_disk()
    assert len(finish(process)) == 1
    assert outputs(checkout) == straight
    if fault == "it hangs":
        server.signal(signal.SIGCONT)
    else:
        server.kill()
        server.start()
    command(checkout, server.uri, "sync")
    assert record(server) == trained


class Broken(BaseHTTPRequestHandler):
    """Answers 500 to whatever it is asked."""

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        self.send_error(500)

    do_GET = do_POST = do_PUT = answer  # noqa: N815 (http.server's names)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def broken_server(port: int):
    made = ThreadingHTTPServer(("127.0.0.1", port), Broken)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def test_answers_of_500_are_said_once_and_lose_nothing(checkout, server, undisturbed):
    straight, _, tracked = undisturbed
    with broken_server(server.port):
        for stage in (train, track):
            (warning,) = finish(stage(checkout, server.uri))
            assert "500" in warning
    assert outputs(checkout) == straight
    server.start()
    assert command(checkout, server.uri, "sync").count("sent run") == 2
    assert record(server) == tracked
    assert not journals(checkout)


def test_a_stage_that_is_killed_leaves_its_run_killed(checkout, server):
    process = train(checkout, server.uri)
    while not any("curve/" in path.read_text() for path in checkout.glob(".runs/*/events.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    server.start()
    command(checkout, server.uri, "sync")
    kept = record(server)
    assert kept["status"] == "KILLED"
    assert kept["metrics"]


def test_sync_says_in_one_line_that_the_server_is_still_down(checkout, server):
    finish(track_without_model(checkout, server.uri))
    process = start(
        checkout, server.uri, "-c", "from nomosaurus.commands.app import app; app(['sync'])"
    )
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert said.startswith("error: MLflow failed (")
    assert len(said.splitlines()) == 1
    assert len(journals(checkout)) == 1


def track_without_model(folder: Path, uri: str) -> subprocess.Popen:
    """A run that is logged and needs no training."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from conftest import make_model\nfrom nomosaurus.tracking.run import training_run\n"
        "with training_run([make_model().recipe], 'f1'): pass\n"
    )
    return start(folder, uri, "-c", code, str(REPOSITORY / "tests"))
