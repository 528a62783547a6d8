"""One fault or bad input, what must come of it, and how that is checked.

A new kind of fault is a `Case` whose `make` sets it up in a project's folder and whose `run` runs
what must stand it; `check` holds all of them to the same promises.
"""

import contextlib
import importlib.util
import io
import json
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from clones import FROZEN, REPOSITORY
from conftest import as_project
from ruamel.yaml import YAML

SECONDS = 20
"""What takes longer hangs."""
MOST_SAID = 1000
"""Characters that a person reads of one line."""
NAMES = [
    f"{start}{middle}{end}"
    for start in ("bra", "ty", "ste", "al", "di")
    for middle in ("chio", "ranno", "go", "lo", "plo")
    for end in ("saurus", "don", "ceratops")
]
"""Enough for each side of a split to get some."""


@dataclass(frozen=True)
class Came:
    """What a command came to; `code` is None if it hung."""

    code: int | None
    out: str = ""
    err: str = ""


@dataclass(frozen=True)
class Case:
    """A fault or a bad input.

    Attributes:
        name: What it is.
        make: Sets it up in a project's folder, in which all that was made before stands.
        says: A regular expression for the one line that refuses it; empty if it is accepted, None
            if either will do.
        counts: Where it is accepted, what metrics/prepare.json says of it.
        run: What is run, with that folder as the current one.
    """

    name: str
    make: Callable[[Path], object]
    says: str | None = ""
    counts: Mapping[str, object] = field(default_factory=dict)
    run: Callable[[Path], Came] = field(default=lambda folder: in_process(folder))


def check(case: Case, folder: Path, record: Callable[[str, object], None]) -> None:
    """Run a case in an empty folder, and assert that all promises are kept.

    `record` is pytest's `record_property`; `conftest.py` in tests/ prints the sums of what it gets.
    """
    make_project(folder)
    case.make(folder)
    before = contents(folder)
    with contextlib.chdir(folder):
        came = case.run(folder)
    after = contents(folder)
    lost = [path for path in before if came.code != 0 and after.get(path) != before[path]]
    said = [line for line in came.err.splitlines() if line.startswith("error: ")]
    outcome = "refused" if came.code else "accepted"
    if came.code is None:
        outcome = "hangs"
    elif "Traceback" in came.err:
        outcome = "tracebacks"
    elif lost:
        outcome = "lost"
    record("fault", outcome)
    assert outcome not in ("hangs", "tracebacks", "lost"), (case.name, lost, came.err[-3000:])
    assert not list(folder.rglob(".*.tmp")), case.name
    if case.says or (case.says is None and came.code):
        assert came.code, f"{case.name} was accepted: {came.err}"
        assert len(said) == 1, (case.name, came.err)
        assert came.err.splitlines()[-1] == said[0], (case.name, came.err)
        assert re.search(case.says or "", said[0]), (case.name, said[0])
        assert len(said[0]) <= MOST_SAID, (case.name, len(said[0]))
        assert said[0].isprintable(), (case.name, said[0])
    else:
        assert came.code == 0, (case.name, came.err)
        counted = json.loads((folder / "metrics/prepare.json").read_text("utf-8"))
        assert {key: counted[key] for key in case.counts} == dict(case.counts), case.name


def rows(cases: Sequence[Case]) -> list[Any]:
    """Cases for `pytest.mark.parametrize`."""
    return [pytest.param(case, id=ascii(case.name)[1:-1]) for case in cases]


def make_project(folder: Path) -> None:
    """params.yaml with a good list, and what an earlier run wrote."""
    as_project(folder)
    (folder / "params.yaml").write_bytes((FROZEN / "params.yaml").read_bytes())
    (folder / "list.csv").write_text("\n".join(["name", *NAMES]) + "\n", "utf-8")
    set_params(folder, {"data.path": "list.csv", "train.start": "fresh"})
    for name in ("data/prepared/vocabulary.json", "data/prepared/train/ids.npy"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("made before")
    (folder / "metrics").mkdir()
    (folder / "metrics/prepare.json").write_text("made before")


def set_params(folder: Path, values: Mapping[str, object]) -> None:
    """Replace values in params.yaml, by section.key."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    content = yaml.load(folder / "params.yaml")
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        (content[section] if section else content)[key] = value
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, by its path; what is no plain file is left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


STAGE = ("params.yaml", "data/prepared", "metrics/prepare.json")


@cache
def prepare() -> Callable[..., None]:
    """The real stage."""
    spec = importlib.util.spec_from_file_location("prepare", REPOSITORY / "pipeline/prepare.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def in_process(folder: Path) -> Came:
    """Run stage `prepare` here, in milliseconds."""
    err = io.StringIO()
    code = 0
    try:
        with time_limit(), contextlib.redirect_stderr(err):
            prepare()(*map(Path, STAGE))
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except HangError:
        return Came(None, err=err.getvalue())
    except BaseException:
        code = 1
        err.write(traceback.format_exc())
    return Came(code, err=err.getvalue())


def in_a_process(folder: Path) -> Came:
    """Run stage `prepare` as DVC does; for what could take this process along."""
    command = [sys.executable, str(REPOSITORY / "pipeline/prepare.py"), *STAGE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=3 * SECONDS
        )
    except subprocess.TimeoutExpired:
        return Came(None)
    return Came(done.returncode, done.stdout, done.stderr)


class HangError(BaseException):
    """Nothing that catches errors may catch this."""


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Break off what hangs, and leave the signals' handlers as they were."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise HangError

    terminate = signal.getsignal(signal.SIGTERM)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, stop)
        signal.alarm(SECONDS)
    try:
        yield
    finally:
        if hasattr(signal, "SIGALRM"):
            signal.alarm(0)
        signal.signal(signal.SIGTERM, terminate)
