"""Files: where they lie, and writing that loses nothing: beside first, then renamed."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nomosaurus.errors import ArtifactError


def main_checkout() -> Path:
    """The checkout itself, also from DVC's temporary work trees; else the current folder.

    What outlives a stage and is no output of it lies there.
    """
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` make a file beside `path`, then rename it to `path`.

    If `write` fails, or the process is killed, what stood at `path` still stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a folder beside `path`, then put it in the place of `path`.

    A folder cannot be renamed over a full one, so there is an instant between two
    renames in which `path` is absent; its former content is deleted only after it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    former = path.with_name(f".{path.name}.{os.getpid()}.former")
    try:
        beside.mkdir()
        write(beside)
        if path.exists():
            path.replace(former)
        beside.replace(path)
    except BaseException:
        if former.exists() and not path.exists():
            former.replace(path)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with LF line ends on every system."""
    replace_file(path, lambda beside: beside.write_bytes(text.encode("utf-8")))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write readable JSON, keys in the order given, floats as Python prints them."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV with a header, without the index."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Read a JSON object that the stage `made_by` wrote.

    Raises:
        ArtifactError: If it is missing or not JSON; the message says what to run.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f'{path} not found; run "dvc repro {made_by}"') from None
    except ValueError as error:
        raise ArtifactError(
            f'{path} is not valid JSON ({error}); run "dvc repro --force {made_by}"'
        ) from None
