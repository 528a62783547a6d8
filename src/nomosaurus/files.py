"""Files: where they lie, and writing that loses nothing: beside first, then renamed."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import chdir
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    def run(**arguments: Any) -> None:
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


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a CSV with a header, without the index."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


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


def read_name_table(path: Path, made_by: str) -> "pd.DataFrame":
    """Read a CSV of names that the stage `made_by` wrote; a name such as NA or 007 stays text.

    Raises:
        ArtifactError: If it is missing or not CSV; the message says what to run.
    """
    import pandas as pd  # late, since this module is imported by each command

    content = BytesIO(read_output(path, made_by))
    try:
        return pd.read_csv(content, keep_default_na=False, dtype={"name": str, "nearest": str})
    except ValueError as error:
        raise _damaged(path, "CSV", error, made_by) from None


def _damaged(path: Path, kind: str, error: ValueError, made_by: str) -> ArtifactError:
    return ArtifactError(
        f'{path} is not valid {kind} ({in_one_line(error)}); run "dvc repro --force {made_by}"'
    )
