"""The MLflow store: opening it, finding runs in it, and sending it what journals hold.

MLflow is imported late, since that takes seconds. Whatever a store may do, such as
refuse, hang or break off, comes out of these functions as an exception.
"""

import logging
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from nomosaurus.errors import NomosaurusError, TrackingError, in_one_line
from nomosaurus.files import main_checkout
from nomosaurus.tracking.lock import commit_of_model
from nomosaurus.tracking.views import experiment_note, experiment_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT = "nomosaurus"
CROSSVALIDATION = "nomosaurus-crossvalidation"
KEY_TAG = "training"  # of what the training follows from, and where; finds an unfinished run
MODEL_TAG = "model_sha256"
MODEL_MD5_TAG = "model_md5"  # as in dvc.lock, which finds the run of a commit
NOTE_TAG = "mlflow.note.content"  # the description, in Markdown
SETTINGS = {  # where the environment does not say otherwise
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A request that is sent again may be done twice; what fails is in a journal anyway.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",  # seconds
}
LOCKED_SECONDS = 3  # to wait for another program that has mlflow.db itself locked
LOCK_SECONDS = 15  # to wait for another process that writes to the store in this folder


def choose_store() -> None:
    """Point MLflow to the store: MLFLOW_TRACKING_URI, else mlflow.db in the main checkout."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    local = is_local()
    address = _local_store() if local else os.environ["MLFLOW_TRACKING_URI"]
    import mlflow

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    mlflow.set_tracking_uri(address)
    if local:
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it; it is the user's to set


def _local_store() -> str:
    """The address of mlflow.db in the main checkout, which can be used or is still to be made."""
    database = main_checkout() / "mlflow.db"
    if database.exists():
        with one_at_a_time():  # another process may be making its tables
            _check(database)
    else:
        print("MLflow: creating the store mlflow.db, once (about ten seconds)", file=sys.stderr)
    return f"sqlite:///{database.as_posix()}"


def open_store(experiment: str = EXPERIMENT) -> str:
    """Choose the store, make it and the experiment where they do not exist yet; returns its id."""
    choose_store()
    import mlflow

    artifacts = (main_checkout() / "mlartifacts").as_uri() if is_local() else None
    with one_at_a_time():
        if mlflow.get_experiment_by_name(experiment) is None:
            with made_by_another():
                mlflow.create_experiment(experiment, artifacts, experiment_tags())
        found = mlflow.set_experiment(experiment)
        number = found.experiment_id
        if experiment == EXPERIMENT and NOTE_TAG not in found.tags:  # it has the number in it
            mlflow.MlflowClient().set_experiment_tag(number, NOTE_TAG, experiment_note(number))
        return number


@contextmanager
def made_by_another() -> Iterator[None]:
    """To make what did not exist: another machine may make it at the same time."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _check(database: Path) -> None:
    """Refuse a database that cannot be used; MLflow itself tries again and again.

    Raises:
        TrackingError: If it cannot be read or written, or is none of MLflow's.
    """
    remedy = "move it away, and a new one is made"
    if not os.access(database, os.R_OK | os.W_OK):
        raise TrackingError(f"{database} may not be read and written; get the right to it")
    try:
        address = f"{database.resolve().as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, timeout=LOCKED_SECONDS, uri=True)) as opened:
            opened.execute("BEGIN IMMEDIATE")
            tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master")}
            opened.rollback()
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            remedy = "another program writes to it; end that first"
        raise TrackingError(f"{database}: {error}; {remedy}") from None
    if tables and "experiments" not in tables:
        raise TrackingError(f"{database} is a database, but not MLflow's; {remedy}")


def is_local() -> bool:
    """Whether the store is mlflow.db in the main checkout, and not a server."""
    return not os.environ.get("MLFLOW_TRACKING_URI")


def one_at_a_time() -> AbstractContextManager[object]:
    """Holds other processes off the store in this folder.

    Two that make its tables at the same time break each other, and two that write get in each
    other's way. A server sees to that itself.
    """
    if not is_local():
        return nullcontext()
    return FileLock(main_checkout() / "mlflow.db.lock", timeout=LOCK_SECONDS)


def search(condition: str, experiments: Iterable[str] = (EXPERIMENT,)) -> list["Run"]:
    """The runs that meet a condition, in MLflow's words, the latest first."""
    import mlflow

    return mlflow.search_runs(
        experiment_names=[name for name in experiments if mlflow.get_experiment_by_name(name)],
        filter_string=condition,
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )


def find_run_of_model(sha256: str) -> "Run | None":
    """The run that holds a model with this content."""
    return next(iter(search(f"tags.{MODEL_TAG} = '{sha256}'")), None)


def with_commit(run: "Run") -> "Run":
    """A run of a checkout with changes, now that these are committed; else the run as it is."""
    if run.data.tags.get("git.dirty") != "true":
        return run
    commit = commit_of_model(run.data.tags.get(MODEL_MD5_TAG, ""))
    if not commit:
        return run
    import mlflow
    from mlflow.entities import RunTag

    client = mlflow.MlflowClient()
    tags = [RunTag(*item) for item in commit_tags(commit, dirty=False).items()]
    client.log_batch(run.info.run_id, tags=tags)  # all or none
    return client.get_run(run.info.run_id)


def commit_tags(commit: str, *, dirty: bool) -> dict[str, str]:
    """How a run says from which commit it comes; nothing where there is no git."""
    if not commit:
        return {}
    return {
        "git.commit": commit,
        "git.dirty": str(dirty).lower(),
        "mlflow.source.git.commit": commit,
    }


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """For commands that need the store.

    Raises:
        TrackingError: Instead of whatever MLflow raises.
    """
    try:
        yield
    except NomosaurusError:
        raise
    except Exception as error:
        raise TrackingError(f"MLflow failed ({in_one_line(error)})") from error
