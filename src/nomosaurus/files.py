"""Files: where they lie, and writing that loses nothing: beside first, then renamed."""

import errno
import inspect
import json
import os
import platform
import re
import shutil
import stat
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, suppress
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from nomosaurus.errors import ArtifactError, PipelineError, in_one_line

if TYPE_CHECKING:
    import pandas as pd

PROJECT = (".dvc", "src/nomosaurus")
"""The folders by which a project's root is known; the first is that by which DVC knows it."""


def project_root() -> Path:
    """The root of the project in which the current folder lies; the nearest going up.

    Raises:
        PipelineError: If it lies in none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if all((folder / part).is_dir() for part in PROJECT):
            return folder
    raise PipelineError(
        f"{here} is in no Nomosaurus project, which is a folder with {' and '.join(PROJECT)}; "
        "change to one"
    )


def in_project(command: Callable[..., None]) -> Callable[..., None]:
    """Have a command or a stage run in the project's root, wherever in the project one stands.

    The paths among its arguments stay what they are where one stands.
    """

    @wraps(command)
    def run(*given: Any, **named: Any) -> None:
        arguments = inspect.signature(command).bind(*given, **named).arguments
        here, root = Path.cwd(), project_root()
        if here != root:
            for name, value in arguments.items():
                arguments[name] = here / value if isinstance(value, Path) else value
        _refuse_conflicts(root)
        with chdir(root):
            command(**arguments)

    return run


def _refuse_conflicts(root: Path) -> None:
    """Say how to resolve a merge conflict in the files that describe the pipeline.

    Raises:
        PipelineError: If there is one.
    """
    for path in (root / "params.yaml", *root.glob("dvc.*"), *root.glob("experiments/dvc.*")):
        content = path.read_bytes() if path.is_file() else b""
        if marker := re.search(rb"^<{7} ", content, re.MULTILINE):
            name, line = path.relative_to(root).as_posix(), content.count(b"\n", 0, marker.start())
            how = "choose between its sides in an editor"
            if path.suffix == ".lock":
                how = f'take either side with "git checkout --ours {name}"'
            raise PipelineError(
                f'{name}, line {line + 1}: a merge conflict; {how}, then run "dvc repro" and commit'
            )


Content = TypeVar("Content")
Write = Callable[[Path], object]

FORMULA = re.compile(r"'*[=+@\t\r\n\uff0b\uff0d\uff1d\uff20-]")
"""How text begins that a spreadsheet runs, with quotes that `guarded` may have put before it."""


def main_checkout() -> Path:
    """The checkout itself, also from DVC's temporary work trees; else the current folder.

    What outlives a stage and is no output of it lies there.
    """
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def _writes(replace: Callable[[Path, Write], None]) -> Callable[[Path, Write], None]:
    """What `replace` raises names the path that is to be, not the one beside it.

    A device or a pipe is written to, and not replaced.
    """

    @wraps(replace)
    def write_or_replace(path: Path, write: Write) -> None:
        beside = str(path.with_name(f".{path.name}."))
        try:
            if path.exists() and not path.is_file() and not path.is_dir():
                write(path)
            else:
                replace(path, write)
        except OSError as error:
            own = error.filename is None or str(error.filename).startswith(beside)
            if own and error.errno is not None:  # without a number it says what it says
                error.filename, error.filename2 = str(path), None
            raise

    return write_or_replace


@_writes
def replace_file(path: Path, write: Write) -> None:
    """Have `write` make a file beside `path`, then rename it to `path`.

    If `write` fails, or the process is killed, what stood at `path` still stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
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
    beside = _beside(path)
    former = beside.with_suffix(".former.tmp")
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


MACHINE = re.sub(r"[^A-Za-z0-9]", "", platform.node())
"""Part of a temporary name, since machines and containers that share a disk share process ids."""
DAY = 24 * 60 * 60


def _beside(path: Path) -> Path:
    """The temporary name beside `path` that only this process writes; .gitignore has its pattern.

    What processes that were killed left beside `path` is removed first. If one was killed while
    `path` was absent, its former content is put back.
    """
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\w*)-(\d+)(\.former)?\.tmp")
    for left in sorted(path.parent.glob(".*.tmp")):
        parts = pattern.fullmatch(left.name)
        with suppress(OSError):  # another process may be sweeping too
            if not parts or _is_being_written(left, parts[1], int(parts[2])):
                continue
            if parts[3] and not path.exists():
                left.replace(path)
            elif left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
    return path.with_name(f".{path.name}.{MACHINE}-{os.getpid()}.tmp")


def _is_being_written(path: Path, machine: str, pid: int) -> bool:
    """Whether the process that writes a temporary file or folder lives."""
    changed = path.stat().st_mtime
    if machine != MACHINE:  # which cannot be asked for its processes
        return time.time() - changed < DAY
    if pid == os.getpid():  # which is only beginning to write
        return False
    import psutil  # here, since a served model comes without it

    try:
        process = psutil.Process(pid)
        is_later = process.create_time() > changed + 60  # and has the same id by chance
        return not is_later and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a CSV with a header, without the index; its text is `guarded`."""
    cells = table.map(guarded).astype(table.dtypes)
    write_text(path, cells.to_csv(index=False, lineterminator="\n"))


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


def read_name_table(path: Path, made_by: str, columns: Sequence[str] = ("name",)) -> "pd.DataFrame":
    """Read a CSV of names that the stage `made_by` wrote, and every name as it was.

    A name such as NA or 007 stays text.

    Raises:
        ArtifactError: If it is missing, not CSV, or lacks one of the columns or a number; the
            message says what to run.
    """
    import pandas as pd  # late, since this module is imported by each command

    texts = ["name", "nearest"]
    table = read_table(path, made_by, dict.fromkeys(texts, str), keep_default_na=False)
    for column in columns:
        if column not in table:
            raise damaged(path, f"it has no column {column!r}", made_by)
    for column in table.columns.difference(texts):
        if not pd.api.types.is_numeric_dtype(table[column]) or table[column].isna().any():
            raise damaged(path, f"the column {column!r} is not all numbers", made_by)
    return table.map(lambda cell: unguarded(cell) if isinstance(cell, str) else cell)


def read_table(
    path: Path, made_by: str, kinds: Mapping[str, type] | None = None, **settings: Any
) -> "pd.DataFrame":
    """Read a CSV that the stage `made_by` wrote.

    Raises:
        ArtifactError: If it is missing or not CSV; the message says what to run.
    """
    import pandas as pd  # late, since this module is imported by each command

    content = BytesIO(read_output(path, made_by))
    try:
        with warnings.catch_warnings():
            # With index_col=False a row longer than the header is only warned of.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(content, dtype=kinds, index_col=False, **settings)
    except (ValueError, pd.errors.ParserWarning) as error:
        raise damaged(path, f"not valid CSV: {in_one_line(error)}", made_by) from None


def damaged(path: Path, problem: str, made_by: str) -> ArtifactError:
    """The error for a file that is not as the stage `made_by` writes it."""
    return ArtifactError(f'{path} is damaged ({problem}); run "dvc repro --force {made_by}"')
