"""What MLflow is told of a model that it is to serve: what may be asked, and what comes back.

`serving.served_model` is the code that answers; MLflow runs it as a file of its own.
"""

import tempfile
import warnings
from pathlib import Path

from nomosaurus.generation.request import Request

PACKAGE = Path(__file__).parents[1]
CODE = PACKAGE / "serving" / "served_model.py"
NEEDS = (
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

MOST_NAMES = 1_000
"""Names that one request may ask for, and names that it may have scored."""

MOST_DRAWS = 50_000
"""Draws after which a request counts as one that is met too rarely to be served."""

LONGEST_SCORED = 1_000
"""Characters of a name that is scored; no list has longer ones (data.max_length)."""

TYPES = {int: "long", float: "double", str: "string", bool: "boolean"}
SETTINGS = (
    "seed",
    "temperature",
    "top_k",
    "top_p",
    "prefix",
    "min_length",
    "max_length",
    "min_distance",
    "new",
    "unique",
)
"""The fields of `Request` that a client may set; `given` too, empty for none. Not `match` and
`avoid`: a pattern from a stranger may take any time."""


def log_servable_model(path: Path, run_id: str) -> None:
    """Log a model file and this package's code to a run; no pickle among them."""
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    defaults = Request()
    settings = {name: getattr(defaults, name) for name in SETTINGS} | {"given": ""}
    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "name", required=False)]),
        outputs=Schema(
            [
                ColSpec("string", "name"),
                ColSpec("double", "log_prob"),
                ColSpec("long", "chars"),
                ColSpec("double", "bits_per_char"),
                ColSpec("boolean", "new"),
            ]
        ),
        params=ParamSchema(
            [
                ParamSpec("n", "long", 0),
                *(ParamSpec(name, TYPES[type(value)], value) for name, value in settings.items()),
            ]
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        # A copy without compiled files, so that equal code gives equal artifacts.
        package = Path(folder) / PACKAGE.name
        for module in PACKAGE.rglob("*.py"):
            copy = package / module.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(module.read_bytes())
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
                pip_requirements=_requirements(),
            )


def _requirements() -> list[str]:
    """What the served model needs, at the versions in use."""
    from importlib.metadata import version

    return [f"{name}=={version(name).split('+')[0]}" for name in NEEDS]
