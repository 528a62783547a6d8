import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clones import REPOSITORY
from conftest import as_project

from nomosaurus.errors import one_line_errors
from nomosaurus.files import replace_file, replace_folder, write_text

COMMAND = [sys.executable, "-c", "from nomosaurus.commands.app import app; app()"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "full", "a/b"), "a/b: full; free some space"),
        (OSError(errno.ENOSPC, "full"), "standard output: full; free some space"),
        (OSError(errno.EACCES, "denied", "a/b"), "a/b: denied; get the right to it"),
        (OSError(errno.EMFILE, "too many", "a"), "a: too many; allow more open files"),
        (OSError(errno.ENOENT, "absent", "a"), "a: absent; check the path"),
        (OSError(errno.EXDEV, "moved", "a", None, "b"), "a to b: moved; check the path"),
        (OSError("200 requested and 0 written"), "200 requested and 0 written; check"),
        (TimeoutError(), "TimeoutError; check"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_its_path_and_what_to_do(capsys, error, line):
    with pytest.raises(SystemExit) as stopped, one_line_errors():
        raise error
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {line}")
    assert said.count("\n") == 1


def test_output_that_nobody_reads_is_left_to_the_caller():
    with pytest.raises(BrokenPipeError), one_line_errors():
        raise BrokenPipeError


def test_a_failed_write_names_what_was_to_be_written(tmp_path):
    def full(beside: Path) -> None:
        raise OSError(errno.ENOSPC, "full")

    def half(beside: Path) -> None:
        np.save(beside / "a.npy", np.zeros(3))
        raise OSError(errno.EFBIG, "too large", str(beside / "a.npy"))

    write_text(tmp_path / "file", "before")
    (tmp_path / "folder").mkdir()
    for replace, path, fail in (
        (replace_file, tmp_path / "file", full),
        (replace_folder, tmp_path / "folder", half),
    ):
        with pytest.raises(OSError, match=r"full|large") as caught:
            replace(path, fail)
        assert caught.value.filename == str(path)
    assert (tmp_path / "file").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    with pytest.raises(IsADirectoryError) as caught:
        write_text(tmp_path / "folder", "")
    assert caught.value.filename == str(tmp_path / "folder")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True)
    write_text(tmp_path / "pipe", "content")
    assert reader.communicate()[0] == "content"
    assert (tmp_path / "pipe").is_fifo()


def run(command: list[str], folder: Path, stdout: object = subprocess.PIPE, most_bytes: int = -1):
    """Exit code and the lines on standard error, where no file may have more bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    result = subprocess.run(
        command,
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment,
        text=True,
        preexec_fn=limit,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stderr.splitlines()


@pytest.mark.slow
def test_a_full_output_is_one_line(tmp_path):
    with Path("/dev/full").open("wb") as full:
        code, lines = run([*COMMAND, "--help"], tmp_path, full)
        assert code != 0
        code, lines = run([*COMMAND, "ci", "pull"], REPOSITORY, full)
    assert code == 1
    assert lines == ["error: standard output: No space left on device; " + lines[0][49:]]


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/dev/zero", "pipe", "."])
@pytest.mark.parametrize("arguments", [["info", "--model"], ["score", "--file"]])
def test_what_is_no_file_is_refused_at_once(tmp_path, path, arguments):
    os.mkfifo(tmp_path / "pipe")
    code, lines = run([*COMMAND, *arguments, path], tmp_path)
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("error: ")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_nothing_replaced_in_part(tmp_path):
    as_project(tmp_path)
    (tmp_path / "list.csv").write_text((REPOSITORY / "tests/frozen/dinosaurs.csv").read_text())
    params = (REPOSITORY / "tests/frozen/params.yaml").read_text()
    params = params.replace("path: data/dinosaurs.csv", "path: list.csv")
    (tmp_path / "params.yaml").write_text(params.replace("start: auto", "start: fresh"))
    script = [sys.executable, str(REPOSITORY / "pipeline/prepare.py")]
    command = [*script, "params.yaml", "data/prepared", "metrics/prepare.json"]
    assert run(command, tmp_path)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    code, lines = run(command, tmp_path, most_bytes=400)
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("error: data/prepared: File too large; allow larger files")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


SCRIPTS = sorted(set((REPOSITORY / "pipeline").glob("*.py")) - {REPOSITORY / "pipeline/base.py"})


@pytest.mark.parametrize("command", [COMMAND, *([sys.executable, str(path)] for path in SCRIPTS)])
def test_ctrl_c_while_modules_are_read_is_one_line(tmp_path, command):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY / "src")])
    result = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (130, "stopped before the end\n")


WORKERS = """
import multiprocessing, signal
from nomosaurus.errors import one_line_errors

with one_line_errors():
    import json

def handler(_):
    return signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        print(handler(0), *workers.map(handler, [0]))
"""


def test_a_worker_that_reads_its_script_again_just_ends_on_a_request(tmp_path):
    (tmp_path / "script.py").write_text(WORKERS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
