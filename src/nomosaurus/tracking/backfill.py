"""Runs made from what git and DVC hold, for a store that is new or never saw a model.

A model file has its recipe and its losses; metrics, plots and samples are in git beside the
dvc.lock that names them. What only the process knew, such as its computing time, is gone.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from nomosaurus.errors import NomosaurusError, TrackingError
from nomosaurus.files import write_text
from nomosaurus.tracking.lineage import Origin, experiments, git, head, place_in_git
from nomosaurus.tracking.lock import MODEL_FILE, locked_stages, model_at, outputs
from nomosaurus.tracking.run import log_outputs
from nomosaurus.tracking.store import (
    MODEL_MD5_TAG,
    failures_in_one_line,
    open_store,
    search,
    with_commit,
)


def backfill() -> Iterator[tuple[str, str]]:
    """Give a run to the model of the checked-out commit and to that of each DVC experiment.

    Yields "HEAD" or an experiment's name, and the outcome.

    Raises:
        TrackingError: If MLflow fails.
    """
    with failures_in_one_line():
        open_store()
        for name, commit in ({"HEAD": head()} | experiments()).items():
            yield name, _backfill(commit, "" if name == "HEAD" else name)


def _backfill(commit: str, experiment: str) -> str:
    md5 = model_at(commit) if commit else ""
    if not md5:
        return "has no model in its dvc.lock"
    if found := search(f"tags.{MODEL_MD5_TAG} = '{md5}'"):
        with_commit(found[0])
        return "has its run"
    committed = int(git("show", "-s", "--format=%ct", commit)) * 1000
    try:
        with tempfile.TemporaryDirectory() as folder:
            _take_out(commit, Path(folder))
            origin = Origin(commit, experiment=experiment, milliseconds=committed)
            if not log_outputs(Path(folder), origin):
                raise TrackingError('MLflow failed; "nomosaurus sync" sends what is missing')
    except NomosaurusError as error:
        return f"has no run: {error}"
    return "has a run now"


def _take_out(commit: str, folder: Path) -> None:
    """Write a commit's dvc.lock, and the outputs that it names, into a folder.

    Raises:
        TrackingError: If neither DVC's cache nor its remote has the model.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    write_text(folder / "dvc.lock", git("show", f"{commit}:./dvc.lock"))
    # At a commit, paths are those of git, for which this project may be in a subfolder.
    files, place = DVCFileSystem(rev=commit, subrepos=True), f"/{place_in_git()}"
    for path in outputs(locked_stages(commit)):
        if path.startswith("data/"):
            continue
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get(place + path, str(folder / path), recursive=files.isdir(place + path))
        except (OSError, DvcException):
            if path == MODEL_FILE:
                raise TrackingError(
                    f"DVC's cache has no {path} of commit {commit[:7]}; "
                    '"dvc fetch --all-commits" gets it from a remote'
                ) from None
