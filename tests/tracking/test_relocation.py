import shutil
import sqlite3

import mlflow
import pytest
from mlflow import MlflowClient

from nomosaurus.errors import TrackingError
from nomosaurus.tracking.relocation import relocate
from nomosaurus.tracking.store import open_store

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with a run that has an artifact."""
    folder = tmp_path / "a first place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    experiment = open_store()
    client = MlflowClient()
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "raptor", "names.txt")
    return folder, run.info.run_id


def test_a_store_that_was_moved_finds_its_artifacts_again(store, tmp_path, monkeypatch):
    folder, run = store
    other = tmp_path / "another place, é"
    shutil.move(folder, other)
    monkeypatch.chdir(other)
    former, changed = relocate(other)
    assert former == folder
    assert changed >= 2
    mlflow.set_tracking_uri(f"sqlite:///{(other / 'mlflow.db').as_posix()}")
    assert (
        mlflow.artifacts.load_text(MlflowClient().get_run(run).info.artifact_uri + "/names.txt")
        == "raptor"
    )
    assert relocate(other)[1] == 0


def test_a_store_elsewhere_or_none_is_one_line(store, tmp_path):
    folder, _ = store
    with pytest.raises(TrackingError, match="not found"):
        relocate(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"not a database, surely" * 100)
    with pytest.raises(TrackingError, match="not a store"):
        relocate(tmp_path)
    with sqlite3.connect(folder / "mlflow.db") as connection:
        connection.execute("UPDATE experiments SET artifact_location = 's3://bucket'")
    connection.close()
    with pytest.raises(TrackingError, match="s3://bucket"):
        relocate(folder)
