"""A store that was copied to another folder, as from an artifact of GitHub Actions.

MLflow writes down where each artifact lies, as an address in full, and has no command that changes
it. So this does, in the tables of SQLite.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nomosaurus.errors import TrackingError
from nomosaurus.tracking.store import EXPERIMENT, one_at_a_time

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def relocate(folder: Path) -> tuple[Path, int]:
    """Have mlflow.db in a folder name the artifacts that lie beside it.

    Returns:
        Where they were, and how many addresses were changed.

    Raises:
        TrackingError: If there is no such store, or its artifacts do not lie in `mlartifacts`.
    """
    database = folder / "mlflow.db"
    if not database.is_file():
        raise TrackingError(f"{database} not found; run it where mlflow.db and mlartifacts lie")
    here = (folder / "mlartifacts").resolve().as_uri()
    with one_at_a_time(), closing(sqlite3.connect(database)) as connection, connection:
        try:
            row = connection.execute(
                "SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)
            ).fetchone()
        except sqlite3.DatabaseError as error:
            raise TrackingError(f"{database} is not a store of MLflow: {error}") from None
        there = row[0] if row else ""
        if not there.startswith("file:") or not there.endswith("/mlartifacts"):
            raise TrackingError(
                f"{database} keeps its artifacts elsewhere, in {there or 'no place'}"
            )
        moved = 0
        if there != here:
            for table, column in COLUMNS:
                moved += connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (here, len(there) + 1, there, len(there) + 1, f"{there}/"),
                ).rowcount
    return Path(unquote(urlsplit(there).path)).parent, moved
