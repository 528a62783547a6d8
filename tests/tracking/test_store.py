import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from nomosaurus.errors import TrackingError
from nomosaurus.tracking import store as mlflow_store
from nomosaurus.tracking.store import open_store

# MLflow, SQLAlchemy and what they need warn of each other's ways.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def database(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "mlflow.db"


def refused(database: Path, why: str) -> None:
    began = time.monotonic()
    with pytest.raises(TrackingError, match=why) as caught:
        open_store()
    assert time.monotonic() - began < 10
    assert str(caught.value).startswith(str(database))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"no database" * 99, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_database_is_refused_at_once(database, content):
    database.write_bytes(content)
    refused(database, "move it away, and a new one is made")


def test_half_of_a_database_is_refused_at_once(database, empty_store):
    database.write_bytes(empty_store.read_bytes()[:100_000])
    refused(database, "malformed; move it away")


def test_a_folder_in_its_place_is_refused_at_once(database):
    database.mkdir()
    refused(database, "unable to open database file; move it away")


def test_a_database_of_something_else_is_refused_at_once(database):
    with closing(sqlite3.connect(database)) as other:
        other.execute("CREATE TABLE x (a)")
    refused(database, "is a database, but not MLflow's")


def test_a_database_without_the_right_to_it_is_refused_at_once(database, monkeypatch):
    database.write_bytes(b"")
    monkeypatch.setattr("os.access", lambda *arguments: False)
    refused(database, "may not be read and written; get the right to it")


def test_a_database_that_another_program_locks_is_waited_for_a_moment(
    database, empty_store, monkeypatch
):
    monkeypatch.setattr(mlflow_store, "LOCKED_SECONDS", 0.5)
    database.write_bytes(empty_store.read_bytes())
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        refused(database, "locked; another program writes to it")


def test_a_database_of_a_later_mlflow_is_refused_within_seconds(database, empty_store):
    database.write_bytes(empty_store.read_bytes())
    with closing(sqlite3.connect(database)) as other:
        other.execute("UPDATE alembic_version SET version_num = 'later'")
        other.commit()
    with pytest.raises(Exception, match="database schema"):
        open_store()
