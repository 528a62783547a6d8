"""Real servers for tests: each is started on a free port of this machine, and stopped."""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def process(
    command: list[str], log: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen]:
    """A process with its children, ended when the block is left."""
    with log.open("w") as output:
        started = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield started
        finally:
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.killpg(started.pid, signal.SIGTERM)  # its own group: nothing else is in it
            try:
                started.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


def wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    """Until a GET is answered."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer in {seconds} seconds:\n{log.read_text()}")


@contextmanager
def mlflow_server(backend: str, folder: Path, **environment: str) -> Iterator[str]:
    """An MLflow server; gives its address."""
    port = free_port()
    log = folder / "mlflow-server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "bucket")]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    # Of MLflow's background jobs none is ours, and they are eight processes.
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with process(command, log, environment) as server:
        wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def postgresql() -> Iterator[tuple[str, str]]:
    """A new PostgreSQL cluster with a database; gives its URI and the password.

    PostgreSQL refuses to run as root, so root starts it as the user postgres.
    """
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not installed:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    binaries = installed[-1].parent
    as_user: list[str] = []
    user = getpass.getuser()
    if os.geteuid() == 0:
        if not shutil.which("runuser"):
            pytest.skip("root has no runuser to start PostgreSQL with")
        user = "postgres"
        as_user = ["runuser", "-u", user, "--"]
    folder = Path(tempfile.mkdtemp(prefix="nomosaurus-postgresql-"))
    password = secrets.token_hex(16)
    port = free_port()

    def run(*command: str) -> None:
        result = subprocess.run(
            [*as_user, *command], capture_output=True, text=True, cwd=folder, check=False
        )
        assert result.returncode == 0, result.stderr

    (folder / "password").write_text(password)
    shutil.chown(folder, user)
    shutil.chown(folder / "password", user)
    data, log = str(folder / "data"), str(folder / "log")
    create = [str(binaries / "initdb"), "-D", data, "-U", "mlflow", "--no-sync"]
    run(*create, "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-E", "UTF8")
    settings = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
    control = [str(binaries / "pg_ctl"), "-D", data]
    try:
        run(*control, "-l", log, "-o", settings, "-w", "start")
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres", password
    finally:
        subprocess.run([*as_user, *control, "-m", "immediate", "stop"], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
