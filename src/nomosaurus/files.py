"""Files: where they lie, and writing that loses nothing: beside first, then renamed."""

import errno
import functools
import json
import os
import shutil
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from nomosaurus.errors import ArtifactError

Content = TypeVar("Content")
Write = Callable[[Path], object]


def main_checkout() -> Path:
    """The checkout itself, also from DVC's temporary work trees; else the current folder.

    What outlives a stage and is no output of it lies there.
    """
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def _writes(replace: Callable[[Path, Write], None]) -> Callable[[Path, Write], None]:
    """What `replace` raises names the path that is to be, not the one beside it.

    A device or a pipe is written to, and not replaced.
    """

    @functools.wraps(replace)
    def write_or_replace(path: Path, write: Write) -> None:
        beside = str(path.with_name(f".{path.name}."))
        try:
            if path.exists() and not path.is_file() and not path.is_dir():
                write(path)
            else:
                replace(path, write)
        except OSError as error:
            if error.filename is None or str(error.filename).startswith(beside):
                error.filename, error.filename2 = str(path), None
            raise

    return write_or_replace


@_writes
def replace_file(path: Path, write: Write) -> None:
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


@_writes
def replace_folder(path: Path, write: Write) -> None:
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


def read_bytes(path: Path) -> bytes:
    """The content of a file; a folder, a pipe or a device, which may have no end, is refused.

    Raises:
        OSError: If it cannot be read, or is no file.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return path.read_bytes()


def problem_in(error: ValidationError) -> str:
    """The first rule that content broke: where, the rule, and the value, in one short line."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    rule = problem["msg"].removeprefix("Value error, ")
    value = "" if problem["type"] in ("missing", "value_error") else f", got {problem['input']!r}"
    return f"{where[:100]}: {rule[:200]}{value[:60]}".removeprefix(": ")


def read_output(path: Path, made_by: str) -> bytes:
    """The content of a file that the stage `made_by` wrote.

    Raises:
        ArtifactError: If it is missing; the message says what to run.
    """
    try:
        return read_bytes(path)
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


def read_checked(path: Path, kind: TypeAdapter[Content], made_by: str) -> Content:
    """Read JSON that the stage `made_by` wrote, and that somebody may have edited since.

    Raises:
        ArtifactError: If it is missing or not of this kind; the message says what to run.
    """
    content = read_output(path, made_by)
    try:
        return kind.validate_json(content, strict=True)
    except ValidationError as error:
        raise damaged(path, problem_in(error), made_by) from None


def read_name_table(path: Path, made_by: str, columns: Sequence[str] = ("name",)) -> pd.DataFrame:
    """Read a CSV of names that the stage `made_by` wrote; a name such as NA or 007 stays text.

    Raises:
        ArtifactError: If it is missing, not CSV, or lacks one of the columns or a number; the
            message says what to run.
    """
    texts = ["name", "nearest"]
    table = read_table(path, made_by, dict.fromkeys(texts, str), keep_default_na=False)
    for column in columns:
        if column not in table:
            raise damaged(path, f"it has no column {column!r}", made_by)
    for column in table.columns.difference(texts):
        if not pd.api.types.is_numeric_dtype(table[column]) or table[column].isna().any():
            raise damaged(path, f"the column {column!r} is not all numbers", made_by)
    return table


def read_table(
    path: Path, made_by: str, kinds: Mapping[str, type] | None = None, **settings: Any
) -> pd.DataFrame:
    """Read a CSV that the stage `made_by` wrote.

    Raises:
        ArtifactError: If it is missing or not CSV; the message says what to run.
    """
    content = BytesIO(read_output(path, made_by))
    try:
        with warnings.catch_warnings():
            # With index_col=False a row longer than the header is only warned of.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(content, dtype=kinds, index_col=False, **settings)
    except (ValueError, pd.errors.ParserWarning) as error:
        raise damaged(path, f"not valid CSV: {str(error).splitlines()[0][:200]}", made_by) from None


def damaged(path: Path, problem: str, made_by: str) -> ArtifactError:
    """The error for a file that is not as the stage `made_by` writes it."""
    return ArtifactError(f'{path} is damaged ({problem}); run "dvc repro --force {made_by}"')
