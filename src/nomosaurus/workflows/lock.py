"""Whether dvc.lock is that of the code, data and params beside it.

`dvc status -q` says so only where all data are: in a fresh clone, what a stage would read may be
absent, which is no reason to run it again. And `dvc repro --dry --allow-missing` exits with 0 in
any case.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from nomosaurus.errors import PipelineError
from nomosaurus.tracking.lineage import git, hashes, locked_stages, read_yaml

PIPELINE = "dvc.yaml"


def stale(folder: Path = Path()) -> list[str]:
    """Why a checkout's dvc.lock is not what `dvc repro` would leave, a line each; none if it is.

    Raises:
        PipelineError: If DVC cannot tell.
    """
    result = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json", PIPELINE],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    try:
        status = json.loads(result.stdout)
    except ValueError:
        said = (result.stderr or result.stdout).strip().splitlines()
        raise PipelineError(
            f"dvc status failed: {said[-1] if said else 'it said nothing'}"
        ) from None
    stages = locked_stages(folder=folder)
    tracked = {}
    for name in git("-C", str(folder), "ls-files", "-z", "*.dvc").split("\0")[:-1]:
        outs = hashes(read_yaml((folder / name).read_text("utf-8")).get("outs", []))
        beside = Path(name).parent
        tracked |= {(beside / out).as_posix(): md5 for out, md5 in outs.items()}
    in_git = set(git("-C", str(folder), "ls-files", "-z").split("\0"))
    return changed(status, stages, tracked, in_git)


def outputs(stages: Mapping[str, Any]) -> dict[str, str]:
    """The hash of each file that the stages of a dvc.lock wrote."""
    return {
        path: md5
        for stage in stages.values()
        for path, md5 in hashes(stage.get("outs", [])).items()
    }


def changed(
    status: Mapping[str, Any],
    stages: Mapping[str, Any],
    tracked: Mapping[str, str],
    in_git: Set[str],
) -> list[str]:
    """What differs, from what `dvc status --json` says and from dvc.lock itself.

    What DVC's cache keeps may be absent here, or that of another commit: `dvc checkout` brings
    it, so it says nothing of dvc.lock. What git keeps, such as metrics, must be as it says.

    Args:
        status: By stage, or file that DVC tracks.
        stages: The stages of dvc.lock.
        tracked: The hash of each file that a .dvc file stands for.
        in_git: Paths of the files that git has.
    """
    made = outputs(stages)
    have_hash = made | dict(tracked)
    lines = []
    for stage, changes in status.items():
        if stage.endswith(".dvc"):
            continue
        for change in changes:
            if isinstance(change, str):
                lines.append(f"{stage}: {change}")
                continue
            for path, what in change.get("changed deps", {}).items():
                if isinstance(what, dict):
                    lines += [f"{stage}: {path}: {key} {how}" for key, how in what.items()]
                elif path not in made and (what != "deleted" or path not in tracked):
                    lines.append(f"{stage}: {path} {what}")
            lines += [
                f"{stage}: {path} {what}"
                for path, what in change.get("changed outs", {}).items()
                if path in in_git
            ]
    for name, stage in stages.items():
        for path, md5 in hashes(stage.get("deps", [])).items():
            if have_hash.get(path, md5) != md5:
                lines.append(f"{name}: {path} is not the one that dvc.lock says was made")
    return list(dict.fromkeys(lines))
