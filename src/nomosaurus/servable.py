"""The trained model as MLflow keeps it: what `serving` runs, with its schema and its needs."""

import tempfile
import warnings
from pathlib import Path

SERVING_NEEDS = (
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
SERVING = Path(__file__).with_name("serving.py")


def log_servable_model(path: Path, run_id: str) -> None:
    """Log a model file as a model of the run, in the experiment that is set."""
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "name")]),
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
                ParamSpec("count", "long", 0),
                ParamSpec("seed", "long", 0),
                ParamSpec("temperature", "double", 1.0),
                ParamSpec("top_k", "long", 0),
                ParamSpec("top_p", "double", 1.0),
                ParamSpec("prefix", "string", ""),
                ParamSpec("min_length", "long", 1),
                ParamSpec("max_length", "long", 0),
                ParamSpec("match", "string", ""),
                ParamSpec("min_distance", "long", 0),
                ParamSpec("new", "boolean", True),
                ParamSpec("unique", "boolean", True),
            ]
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        # A copy without compiled files, so that equal code gives equal artifacts.
        package = Path(folder) / "nomosaurus"
        package.mkdir()
        for module in SERVING.parent.glob("*.py"):
            (package / module.name).write_bytes(module.read_bytes())
        with warnings.catch_warnings():
            # MLflow wants an input example, and would run the model on it to log it.
            warnings.filterwarnings("ignore", message=".*input example")
            # Not pyfunc.log_model: that takes the run from a global state, which ends it too.
            Model.log(
                artifact_path=None,
                name="model",
                flavor=mlflow.pyfunc,
                run_id=run_id,
                python_model=str(SERVING),
                artifacts={"model": str(path)},
                code_paths=[str(package)],
                signature=signature,
                pip_requirements=_requirements(),
            )


def _requirements() -> list[str]:
    """What the served model needs, at the versions in use."""
    from importlib.metadata import version

    return [f"{name}=={version(name).split('+')[0]}" for name in SERVING_NEEDS]
