"""Runs made from what git and DVC hold, for a store that is new or never saw a model.

A model file has its recipe and its losses; metrics, plots and samples are in git beside the
dvc.lock that names them. What only the process knew, such as its computing time, is gone.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from nomosaurus.errors import NomosaurusError, TrackingError
from nomosaurus.model.file import load_model
from nomosaurus.tracking import lineage
from nomosaurus.tracking import run as tracking
from nomosaurus.tracking.store import (
    MODEL_MD5_TAG,
    failures_in_one_line,
    open_store,
    search,
    with_commit,
)


def backfill() -> Iterator[tuple[str, str]]:
    """Give a run to the model of the checked-out commit and to that of each DVC experiment.

    Yields:
        What was looked at, "HEAD" or an experiment's name, and what came of it.

    Raises:
        TrackingError: If MLflow fails.
    """
    with failures_in_one_line():
        open_store()
        yield from _backfill()


def _backfill() -> Iterator[tuple[str, str]]:
    for name, commit in ({"HEAD": lineage.head()} | lineage.experiments()).items():
        md5 = lineage.model_at(commit) if commit else ""
        if not md5:
            yield name, "has no model in its dvc.lock"
        elif found := search(f"tags.{MODEL_MD5_TAG} = '{md5}'"):
            with_commit(found[0])
            yield name, "has its run"
        else:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    _take_out(commit, Path(folder))
                    model = load_model(Path(folder) / lineage.MODEL_FILE)
                    experiment = "" if name == "HEAD" else name
                    tracking.log_committed_run(commit, experiment, model, Path(folder))
            except NomosaurusError as error:
                yield name, f"has no run: {error}"
            else:
                yield name, "has a run now"


def _take_out(commit: str, folder: Path) -> None:
    """Write the files that dvc.lock names as outputs at a commit into a folder.

    Raises:
        TrackingError: If neither DVC's cache nor its remote has the model.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    files = DVCFileSystem(rev=commit)
    for stage in lineage.locked_stages(commit).values():
        for path in lineage.hashes(stage.get("outs", [])):
            if path.startswith("data/"):
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            try:
                files.get_file(path, str(folder / path))
            except (OSError, DvcException):
                if path == lineage.MODEL_FILE:
                    raise TrackingError(
                        f"DVC's cache has no {path} of commit {commit[:7]}; "
                        '"dvc fetch --all-commits" gets it from a remote'
                    ) from None
