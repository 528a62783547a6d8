"""Where a run comes from, as git and DVC have it: commit, changes, and the hashes of inputs.

Outside of a git or DVC checkout there is nothing to say, and nothing fails.
"""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nomosaurus.errors import TrackingError

MODEL_FILE = "models/model.safetensors"
NOT_OUTPUTS = [  # what the pipeline rewrites, and the log of promotions, make no checkout dirty
    f":(exclude){path}"
    for path in ("dvc.lock", "*/dvc.lock", "metrics", "plots", "samples", "promotions.jsonl")
]
MOST_PATCH = 1_000_000  # characters


def git(*arguments: str) -> str:
    """What a git command says; nothing where it fails, as outside of a checkout."""
    try:
        result = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.rstrip("\n")


def head() -> str:
    """The commit that is checked out, 40 hexadecimal digits."""
    return git("rev-parse", "HEAD")


def full_commit(name: str) -> str:
    """The 40 digits of a commit, given as git takes it: a hash's beginning, a branch, a tag.

    Raises:
        TrackingError: If this checkout has no such commit.
    """
    commit = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not commit:
        raise TrackingError(f"git knows no commit {name!r} here; give a hash, a branch or a tag")
    return commit


def changes() -> str:
    """The patch from the commit to what is checked out, without the pipeline's outputs."""
    patch = git("diff", "HEAD", "--binary", "--", ".", *NOT_OUTPUTS)
    if len(patch) > MOST_PATCH:
        return git("diff", "HEAD", "--stat", "--", ".", *NOT_OUTPUTS)
    return patch


def untracked() -> list[str]:
    """The files that git neither has nor ignores."""
    listing = git("ls-files", "-z", "--others", "--exclude-standard", "--", ".", *NOT_OUTPUTS)
    return [name for name in listing.split("\0") if name]


def experiments() -> dict[str, str]:
    """The commit of each DVC experiment in this checkout, by its name."""
    listing = git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
    found = re.findall(
        r"^refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(\S+) ([0-9a-f]{40})$", listing, re.MULTILINE
    )
    return dict(found)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dvc_md5(path: Path) -> str:
    """The hash by which DVC knows a file or a folder, as in dvc.lock; empty if there is none.

    Of a folder: of the JSON list of its files' hashes and relative paths, sorted by path, and
    ".dir" after it.
    """
    try:
        if path.is_dir():
            listing = [
                {"md5": dvc_md5(file), "relpath": file.relative_to(path).as_posix()}
                for file in path.rglob("*")
                if file.is_file()
            ]
            listing.sort(key=lambda entry: entry["relpath"])
            return hashlib.md5(json.dumps(listing).encode()).hexdigest() + ".dir"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError:
        return ""


def stage_inputs(stage: str) -> dict[str, Any]:
    """What dvc.yaml says that a stage depends on, as it is now.

    Args:
        stage: As DVC addresses it, such as experiments/dvc.yaml:crossvalidate.

    Returns:
        The hash of each file, by its path, and the value of each param, by section.key.
    """
    params = read_yaml(_text(Path("params.yaml")))
    declared = _declared(stage)
    inputs: dict[str, Any] = {}
    for dep in declared.get("deps", []):
        path = re.sub(r"\$\{([\w.]+)\}", lambda key: str(param_value(params, key[1])), dep)
        inputs[path] = dvc_md5(Path(path))
    for param in declared.get("params", []):
        if isinstance(param, str):
            inputs[param] = param_value(params, param)
        else:  # all of a file
            inputs |= {path: dvc_md5(Path(path)) for path in param}
    return inputs


def stage_outputs(stage: str) -> dict[str, str]:
    """The hash of each file that a stage writes, as it is now; none of those it has not."""
    declared = _declared(stage)
    entries = [entry for key in ("outs", "metrics", "plots") for entry in declared.get(key, [])]
    paths = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    found = {path: dvc_md5(Path(path)) for path in paths}
    return {path: md5 for path, md5 in found.items() if md5}


def changed_inputs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The files and params that are not as they were."""
    names = list(before) + [name for name in after if name not in before]
    return [name for name in names if before.get(name) != after.get(name)]


def locked_stages(commit: str = "", folder: Path = Path()) -> dict[str, dict[str, Any]]:
    """The stages in dvc.lock, in a folder or at a commit; none where there is no such file."""
    text = git("show", f"{commit}:dvc.lock") if commit else _text(folder / "dvc.lock")
    return read_yaml(text).get("stages", {})


def hashes(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The hash of each file that a list of deps or outs in dvc.lock names."""
    return {entry["path"]: entry.get("md5", "") for entry in entries}


def model_at(commit: str) -> str:
    """DVC's hash of the model that dvc.lock names at a commit; empty if it names none."""
    outs = locked_stages(commit).get("train", {}).get("outs", [])
    return hashes(outs).get(MODEL_FILE, "")


def commit_of_model(md5: str) -> str:
    """The checked-out commit, if a model follows from what it holds; else empty.

    A pipeline usually runs before its result is committed. The commit vouches for the model
    if nothing but outputs was changed since, its dvc.lock names the model, and what lies here
    is what that lock says the model was made of.

    Args:
        md5: DVC's hash of the model.
    """
    commit = head()
    stages = locked_stages(commit) if commit and not changes() else {}
    prepare, train = stages.get("prepare", {}), stages.get("train", {})
    if not md5 or hashes(train.get("outs", [])).get(MODEL_FILE) != md5:
        return ""
    deps = hashes(prepare.get("deps", []) + train.get("deps", []))
    params = read_yaml(_text(Path("params.yaml")))
    locked = train.get("params", {}).get("params.yaml", {})
    is_same = all(dvc_md5(Path(path)) == locked_md5 for path, locked_md5 in deps.items()) and all(
        param_value(params, key) == value for key, value in locked.items()
    )
    return commit if is_same else ""


def stage_address(stage: str) -> str:
    """How DVC, which runs this process, addresses the stage; else its name."""
    return os.environ.get("DVC_STAGE") or stage


def _declared(stage: str) -> dict[str, Any]:
    file, _, name = stage.rpartition(":")
    stages = read_yaml(_text(Path(file or "dvc.yaml"))).get("stages", {})
    return stages.get(name.partition("@")[0], {})


def param_value(params: Any, key: str) -> Any:
    """The value of section.key; None where there is none."""
    for part in key.split("."):
        params = params.get(part) if isinstance(params, Mapping) else None
    return params


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def read_yaml(text: str) -> dict[str, Any]:
    """A mapping; empty if the text is none."""
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return {}
    return content if isinstance(content, dict) else {}
