"""What MLflow is told of a model that it is to serve: what may be asked, and what comes back.

`serving.served_model` is the code that answers; MLflow runs it as a file of its own.
"""

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nomosaurus.model.trained import ScoredName
from nomosaurus.params import SampleSettings

if TYPE_CHECKING:
    from mlflow.types import ParamSchema

PACKAGE = Path(__file__).parents[1]
CODE = PACKAGE / "serving" / "served_model.py"
NEEDS = (
    "badwords-py",
    "jellyfish",
    "mlflow",
    "numpy",
    "pandas",
    "pydantic",
    "rapidfuzz",
    "regex",
    "ruamel.yaml",
    "safetensors",
    "torch",
)
"""The packages that the served model imports."""
TYPES: dict[Any, str] = {
    int: "long",
    float: "double",
    str: "string",
    str | None: "string",
    str | Sequence[str]: "string",
    bool: "boolean",
}
NOT_SERVED = ("match", "avoid")
"""Settings that no client may send: a pattern from a stranger may take any time."""


def served_params() -> "ParamSchema":
    """What a request's params may hold: `n` and settings; there, an empty `given` is none.

    MLflow knows no param that is text or a list, so further prefixes have one of their own.
    """
    from mlflow.types import ParamSchema, ParamSpec

    return ParamSchema(
        [
            ParamSpec("n", "long", 0),
            ParamSpec("prefixes", "string", [], (-1,)),
            *(
                ParamSpec(
                    name, TYPES[field.annotation], "" if field.default is None else field.default
                )
                for name, field in SampleSettings.model_fields.items()
                if name not in NOT_SERVED
            ),
        ]
    )


def log_servable_model(path: Path, run_id: str) -> None:
    """Log a model file and this package's code to a run; no pickle among them."""
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "name", required=False)]),
        outputs=Schema([ColSpec(TYPES[field.type], field.name) for field in fields(ScoredName)]),
        params=served_params(),
    )
    with tempfile.TemporaryDirectory() as folder:
        # A copy without compiled files, so that equal code gives equal artifacts.
        package = Path(folder) / PACKAGE.name
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.jinja"))
        with warnings.catch_warnings():
            # MLflow wants an input example, and would run the model on it to log it.
            warnings.filterwarnings("ignore", message=".*input example")
            # Not pyfunc.log_model: that takes the run from a global state, which ends it too.
            Model.log(
                artifact_path=None,
                name="model",
                flavor=mlflow.pyfunc,
                run_id=run_id,
                python_model=str(CODE),
                artifacts={"model": str(path)},
                code_paths=[str(package)],
                signature=signature,
                pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in NEEDS],
            )
