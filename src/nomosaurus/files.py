"""Files: where they lie, and writing that loses nothing: beside first, then renamed."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from nomosaurus.errors import ArtifactError

FORMULA = re.compile(r"'*[=+@\t\r\n\uff0b\uff0d\uff1d\uff20-]")
"""How text begins that a spreadsheet runs, with quotes that `guarded` may have put before it."""


def main_checkout() -> Path:
    """The checkout itself, also from DVC's temporary work trees; else the current folder.

    What outlives a stage and is no output of it lies there.
    """
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
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


def guarded(cell: Any) -> Any:
    """A CSV's cell with a ' before text that a spreadsheet would run as a formula.

    One that begins so with quotes before it gets another, so `unguarded` gives back any text.
    """
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The text of a cell that `guarded` wrote."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV with a header, without the index; its text is `guarded`."""
    cells = table.map(guarded).astype(table.dtypes)
    write_text(path, cells.to_csv(index=False, lineterminator="\n"))


def read_output(path: Path, made_by: str) -> bytes:
    """The content of a file that the stage `made_by` wrote.

    Raises:
        ArtifactError: If it is missing; the message says what to run.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f'{path} not found; run "dvc repro {made_by}"') from None


def read_pictures(folder: Path, made_by: str) -> dict[str, bytes]:
    """The SVGs in a folder that the stage `made_by` wrote, by name.

    Raises:
        ArtifactError: If there is none; the message says what to run.
    """
    found = {path.name: path.read_bytes() for path in sorted(folder.glob("*.svg"))}
    if not found:
        raise ArtifactError(f'{folder} has no pictures; run "dvc repro --force {made_by}"')
    return found


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Read a JSON object that the stage `made_by` wrote.

    Raises:
        ArtifactError: If it is missing or not JSON; the message says what to run.
    """
    try:
        return json.loads(read_output(path, made_by))
    except ValueError as error:
        raise _damaged(path, "JSON", error, made_by) from None


def read_name_table(path: Path, made_by: str) -> pd.DataFrame:
    """Read a CSV of names that the stage `made_by` wrote, and every name as it was.

    A name such as NA or 007 stays text.

    Raises:
        ArtifactError: If it is missing or not CSV; the message says what to run.
    """
    content = BytesIO(read_output(path, made_by))
    try:
        table = pd.read_csv(content, keep_default_na=False, dtype={"name": str, "nearest": str})
    except ValueError as error:
        raise _damaged(path, "CSV", error, made_by) from None
    return table.map(lambda cell: unguarded(cell) if isinstance(cell, str) else cell)


def _damaged(path: Path, kind: str, error: ValueError, made_by: str) -> ArtifactError:
    return ArtifactError(f'{path} is not valid {kind} ({error}); run "dvc repro --force {made_by}"')
