"""A model file by its address: on the web, as a release has it, or in MLflow's registry."""

import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from nomosaurus.errors import ModelFileError
from nomosaurus.files import main_checkout

ON_THE_WEB = ("https://", "http://")
IN_MLFLOW = "models:/"
SECONDS = 60  # to wait for a server's next answer


def is_address(model: str) -> bool:
    """Whether this is an address, and no path of a file."""
    return model.startswith((*ON_THE_WEB, IN_MLFLOW))


def fetch(address: str, folder: Path) -> Path:
    """Download a model file into a folder; returns its path.

    Its content is not believed: whoever reads the file checks it.

    Args:
        address: `https://...` of a model file, or `models:/NAME@champion` or `models:/NAME/1`. The
            registry is that of MLFLOW_TRACKING_URI, else the store of this project.
        folder: Empty.

    Raises:
        ModelFileError: If there is none, or it cannot be fetched.
        TrackingError: If MLflow fails.
    """
    if address.startswith(IN_MLFLOW):
        return _from_mlflow(address, folder)
    path = folder / "model.safetensors"
    try:
        with urlopen(address, timeout=SECONDS) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except HTTPError as error:
        error.close()
        raise ModelFileError(f"{address}: the server says {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ModelFileError(f"{address} cannot be fetched: {reason}") from None
    return path


def _from_mlflow(address: str, folder: Path) -> Path:
    from nomosaurus.tracking.store import choose_store, failures_in_one_line, is_local

    with failures_in_one_line():
        if is_local() and not (database := main_checkout() / "mlflow.db").is_file():
            raise ModelFileError(
                f'{address}: there is no {database}; run "make repro", or set '
                "MLFLOW_TRACKING_URI to your team's server"
            )
        choose_store()
        path = download(address, folder)
    if path is None:
        raise ModelFileError(f"{address} holds no model of Nomosaurus")
    return path


def download(uri: str, folder: Path) -> Path | None:
    """The model file among the artifacts that MLflow keeps at an address, if there is one."""
    import mlflow

    downloaded = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    return next(iter(downloaded.rglob("*.safetensors")), None)
