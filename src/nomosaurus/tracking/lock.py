"""dvc.lock: what each stage read and wrote, and whether that is true of what lies beside it."""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from ruamel.yaml import YAML

from nomosaurus.errors import PipelineError
from nomosaurus.files import problem_in
from nomosaurus.params import UNREADABLE
from nomosaurus.tracking.lineage import changes, git, head
from nomosaurus.tracking.programs import run

MODEL_FILE = "models/model.safetensors"


class _Entry(BaseModel):
    path: str
    md5: str = ""


class _Stage(BaseModel):
    deps: list[_Entry] = []
    outs: list[_Entry] = []
    params: dict[str, dict[str, Any]] = {}


STAGES = TypeAdapter(dict[str, _Stage])
"""What is read of the stages in dvc.lock."""


def locked_stages(commit: str = "", folder: Path = Path()) -> dict[str, dict[str, Any]]:
    """The stages in dvc.lock, in a folder or at a commit; none where there is no such file.

    Raises:
        PipelineError: If a stage in it is not one.
    """
    if commit:
        text = git("show", f"{commit}:./dvc.lock")
    else:
        try:
            text = (folder / "dvc.lock").read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
    stages = read_yaml(text).get("stages") or {}
    try:
        STAGES.validate_python(stages)
    except ValidationError as error:
        raise PipelineError(
            f"{folder / 'dvc.lock'}: stages.{problem_in(error)}; restore it with "
            '"git checkout dvc.lock"'
        ) from None
    return stages


def hashes(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The hash of each file that a list of deps or outs in dvc.lock names."""
    return {entry["path"]: entry.get("md5", "") for entry in entries}


def outputs(stages: Mapping[str, Any]) -> dict[str, str]:
    """The hash of each file that the stages of a dvc.lock wrote."""
    return {
        path: md5
        for stage in stages.values()
        for path, md5 in hashes(stage.get("outs", [])).items()
    }


def model_at(commit: str) -> str:
    """DVC's hash of the model that dvc.lock names at a commit; empty if it names none."""
    return outputs(locked_stages(commit)).get(MODEL_FILE, "")


def commit_of_model(md5: str) -> str:
    """The checked-out commit, if it vouches for the model with DVC's hash `md5`; else empty.

    A pipeline usually runs before its outcome is committed. The commit vouches for the model if
    its dvc.lock names the model and is fresh up to there, and nothing but outputs has changed.

    Raises:
        PipelineError: If DVC cannot tell whether the lock is fresh.
    """
    commit = head()
    if not commit or not md5 or model_at(commit) != md5 or changes():
        return ""
    return "" if stale(only=("prepare", "train")) else commit


def stale(
    folder: Path = Path(), *, only: Sequence[str] = (), cached_too: bool = False
) -> list[str]:
    """Why a checkout's dvc.lock is not what `dvc repro` would leave, a line each; none if it is.

    `dvc status -q` says so only where all data are: in a fresh clone, what a stage would read may
    be absent, which is no reason to run it again. And `dvc repro --dry --allow-missing` exits
    with 0 in any case.

    Args:
        folder: The checkout.
        only: Stages to ask about; without one, all of the pipeline.
        cached_too: Whether outputs that DVC's cache keeps, such as the model, must be here too.

    Raises:
        PipelineError: If DVC cannot tell.
    """
    status = _status(folder, only or ["dvc.yaml"])
    in_git = set(git("-C", str(folder), "ls-files", "-z").split("\0"))
    tracked = _tracked(folder, in_git)
    stages = locked_stages(folder=folder)
    if only:
        stages = {stage: locked for stage, locked in stages.items() if stage in only}
    kept = in_git | outputs(stages).keys() if cached_too else in_git
    return changed(status, stages, tracked, kept)


def missing_sources(folder: Path = Path()) -> list[str]:
    """The files that stages read and that DVC tracks, such as a list, but that are not here.

    Raises:
        PipelineError: If DVC cannot tell.
    """
    tracked = _tracked(folder, git("-C", str(folder), "ls-files", "-z").split("\0"))
    if not tracked:
        return []
    deleted = {
        path: None
        for changes_of_stage in _status(folder, ["dvc.yaml"]).values()
        for change in changes_of_stage
        if isinstance(change, dict)
        for path, what in change.get("changed deps", {}).items()
        if what == "deleted"
    }
    return [path for path in deleted if _lies_in(path, tracked)]


def _status(folder: Path, targets: Sequence[str]) -> dict[str, Any]:
    said = run("dvc", "status", "--json", *targets, folder=folder)
    try:
        return json.loads(said)
    except ValueError:
        raise PipelineError(f"dvc status did not answer with JSON: {said[:100]!r}") from None


def _tracked(folder: Path, in_git: Iterable[str]) -> dict[str, str]:
    """The hash of each file or folder that a .dvc file stands for."""
    tracked: dict[str, str] = {}
    for name in in_git:
        if name.endswith(".dvc"):
            outs = hashes(read_yaml((folder / name).read_text("utf-8")).get("outs", []))
            tracked |= {(Path(name).parent / out).as_posix(): md5 for out, md5 in outs.items()}
    return tracked


def _lies_in(path: str, tracked: Iterable[str]) -> bool:
    """Whether a path is one of those that are tracked, or lies in one."""
    return any(Path(path).is_relative_to(whole) for whole in tracked)


def changed(
    status: Mapping[str, Any],
    stages: Mapping[str, Any],
    tracked: Mapping[str, str],
    kept: Set[str],
) -> list[str]:
    """What differs, from what `dvc status --json` says and from dvc.lock itself.

    What DVC's cache keeps may be absent here, or that of another commit: `dvc checkout` brings
    it, so it says nothing of dvc.lock. What git keeps, such as metrics, must be as it says.

    Args:
        status: By stage, or file that DVC tracks.
        stages: The stages of dvc.lock.
        tracked: The hash of each file or folder that a .dvc file stands for.
        kept: Paths of the files that must be as dvc.lock says; others may be absent.
    """
    made = outputs(stages)
    have_hash = made | dict(tracked)
    lines = []
    for stage, changes_of_stage in status.items():
        if stage.endswith(".dvc"):
            continue
        for change in changes_of_stage:
            if isinstance(change, str):
                lines.append(f"{stage}: {change}")
                continue
            for path, what in change.get("changed deps", {}).items():
                if isinstance(what, dict):
                    lines += [f"{stage}: {path}: {key} {how}" for key, how in what.items()]
                elif path not in made and (what != "deleted" or not _lies_in(path, tracked)):
                    lines.append(f"{stage}: {path} {what}")
            lines += [
                f"{stage}: {path} {what}"
                for path, what in change.get("changed outs", {}).items()
                if path in kept and what != "not in cache"  # but here, as the lock says
            ]
    for name, stage in stages.items():
        for path, md5 in hashes(stage.get("deps", [])).items():
            if have_hash.get(path, md5) != md5:
                lines.append(f"{name}: {path} is not the one that dvc.lock says was made")
    return list(dict.fromkeys(lines))


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Params by section.key, each value as text."""
    found: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)
    return found


def read_yaml(text: str) -> dict[str, Any]:
    """A mapping; empty if the text is none."""
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except UNREADABLE:
        return {}
    return content if isinstance(content, dict) else {}
