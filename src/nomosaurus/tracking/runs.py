"""The runs in the store, for the commands that list them and send what was missed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from nomosaurus.errors import TrackingError
from nomosaurus.files import main_checkout
from nomosaurus.tracking import lineage
from nomosaurus.tracking.lineage import Origin, file_sha256
from nomosaurus.tracking.lock import MODEL_FILE, model_at
from nomosaurus.tracking.run import JOURNALS, log_outputs
from nomosaurus.tracking.sender import send_left_over
from nomosaurus.tracking.store import (
    CROSSVALIDATION,
    EXPERIMENT,
    MODEL_MD5_TAG,
    failures_in_one_line,
    find_run_of_model,
    is_local,
    open_store,
    search,
)


def sync() -> Iterator[str]:
    """Send what earlier stages could not, and the checkout's own model; yields a line a run.

    Raises:
        TrackingError: If MLflow fails.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # nothing waits for it
    root = main_checkout()
    with failures_in_one_line():
        yield from send_left_over(root / JOURNALS)
        if (root / MODEL_FILE).is_file():
            open_store()
            if find_run_of_model(file_sha256(root / MODEL_FILE)) is None:
                log_outputs(root, Origin.of_checkout())
                yield f"made the run of {MODEL_FILE}, which MLflow lacked"


@dataclass(frozen=True)
class RecordedRun:
    """A run as `nomosaurus runs` shows it; what a run does not have is empty or None."""

    name: str
    state: str
    perplexity: float | None
    gain_nats: float | None
    cell: str
    list: str
    commit: str
    dirty: str
    experiment: str
    started: str
    run_id: str


def recorded_runs(commit: str = "", experiment: str = "") -> list[RecordedRun]:
    """The runs in the store, the latest first: all, or those of a commit or of an experiment.

    Those of a commit were started there, or have the model that its dvc.lock names: a run
    comes before the commit that holds what it made. The same goes for an experiment.

    Raises:
        TrackingError: If git does not know the commit, or MLflow fails.
    """
    conditions = [""]
    if commit:
        commit = lineage.full_commit(commit)
        conditions = [f"tags.`git.commit` = '{commit}'"]
    if experiment:
        conditions = [f"tags.`dvc.experiment` = '{experiment}'"]
        commit = lineage.experiments().get(experiment, "")
    if commit and (md5 := model_at(commit)):
        conditions.append(f"tags.{MODEL_MD5_TAG} = '{md5}'")
    if is_local() and not (main_checkout() / "mlflow.db").exists():
        raise TrackingError(
            'there is no mlflow.db here yet; run "dvc repro", or "nomosaurus backfill"'
        )
    with failures_in_one_line():
        open_store()
        found = {
            run.info.run_id: run
            for condition in conditions
            for run in search(condition, (EXPERIMENT, CROSSVALIDATION))
        }
    return [
        RecordedRun(
            name=run.info.run_name,
            state=run.info.status,
            perplexity=run.data.metrics.get("perplexity"),
            gain_nats=run.data.metrics.get("gain_nats"),
            cell=run.data.params.get("model.cell", ""),
            list=run.data.params.get("data.path", ""),
            commit=run.data.tags.get("git.commit", ""),
            dirty=run.data.tags.get("git.dirty", ""),
            experiment=run.data.tags.get("dvc.experiment", ""),
            started=f"{datetime.fromtimestamp(run.info.start_time / 1000):%Y-%m-%d %H:%M}",
            run_id=run.info.run_id,
        )
        for run in sorted(found.values(), key=lambda run: run.info.start_time, reverse=True)
    ]
