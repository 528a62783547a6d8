"""MLflow: one run for one trained model, found again by the model's content.

This module and `serving` are the only ones that import MLflow, and they do it late,
since it takes seconds. A store that fails costs no training: the first failure is
said once, and the stage goes on without tracking.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nomosaurus import __version__
from nomosaurus.files import main_checkout, read_json
from nomosaurus.model import NameModel
from nomosaurus.params import CrossvalidateParams, Recipe, Section
from nomosaurus.training import Epoch, Watcher

EXPERIMENT = "nomosaurus"
CROSSVALIDATION = "nomosaurus-crossvalidation"
MODEL_TAG = "model_sha256"
TRAINING_TAG = "training"  # the fingerprint of what the training follows from
VIEW = {"mlflow.experimentKind": "custom_model_development"}  # how the UI opens it
SETTINGS = {  # where the environment does not say otherwise
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
}
NOT_OUTPUTS = [  # what the pipeline itself rewrites makes no checkout dirty
    f":(exclude){path}" for path in ("dvc.lock", "metrics", "plots", "samples")
]
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


class ModelRun(Watcher):
    """The MLflow run of one model; every method is safe to call when the store is down."""

    def __init__(self) -> None:
        self._failed = False

    def on_epoch(self, number: int, epoch: Epoch) -> None:
        """Log both losses of a network at the epoch's number as the step."""
        import mlflow

        losses = _losses(number, epoch)
        self._try(lambda: mlflow.log_metrics(losses, step=epoch.number))

    def on_resume(self, number: int, epochs: list[Epoch]) -> None:
        """Log the epochs that the run does not have, as where it was killed before it could."""
        self._try(lambda: _log_missing_epochs(number, epochs))

    def log_params(self, name: str, section: Section) -> None:
        """A section of params.yaml, as name.key.

        MLflow never changes a param. Where a stage ran again for the same model with
        another value, the run gets a tag of the same name with the value that holds.
        """
        values = _flat(name, section.model_dump())
        self._try(lambda: self._log_values(values))

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Final figures; those that have no value are left out."""
        import mlflow

        known = {name: float(value) for name, value in metrics.items() if value is not None}
        self._try(lambda: mlflow.log_metrics(known))

    def log_files(self, *paths: Path) -> None:
        """Files as artifacts, each under the name of its folder."""
        import mlflow

        for path in paths:
            self._try(lambda path=path: mlflow.log_artifact(str(path), path.parent.name))

    def log_model(self, path: Path) -> None:
        """The model, loadable and servable without pickle, and the tag that finds it.

        One model has one run. If the store has one already, as after training the same
        thing again, this run gives way to it, and what follows is logged there.
        """
        self._try(lambda: self._log_or_give_way(path))

    def _log_or_give_way(self, path: Path) -> None:
        import mlflow

        earlier = _find_run_of_model(path)
        if earlier is None:
            _log_servable_model(path)
            mlflow.set_tag(MODEL_TAG, file_sha256(path))
            self._log_up_to_date_stages(path)
            return
        this = mlflow.active_run().info.run_id
        if this == earlier:
            return
        mlflow.end_run()
        mlflow.delete_run(this)
        mlflow.start_run(run_id=earlier)
        print("MLflow: this very model has a run already, which is kept", file=sys.stderr)

    def _log_up_to_date_stages(self, path: Path) -> None:
        """What later stages made of this very model before, since DVC will not run them.

        So it is in a fresh clone: dvc.lock and the metrics are in git, and training gives the
        model that they speak of.
        """
        import mlflow

        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        for stage, locked in _dvc_lock().items():
            hashes = {entry["path"]: entry["md5"] for entry in locked.get("deps", [])}
            if hashes.get(path.as_posix()) != md5:
                continue
            for section, values in locked.get("params", {}).get("params.yaml", {}).items():
                if isinstance(values, dict):
                    self._log_values(_flat(section, values))
            for output in map(Path, (entry["path"] for entry in locked.get("outs", []))):
                if not output.is_file():
                    continue
                if output.suffix == ".json":
                    content = read_json(output, made_by=stage)
                    if not any(isinstance(value, dict | list) for value in content.values()):
                        self.log_metrics(content)  # metrics, and not their details
                self.log_files(output)
            mlflow.set_tag(f"dvc.stage.{stage}", "done before")

    def _log_values(self, values: dict[str, str]) -> None:
        import mlflow

        run_id = mlflow.active_run().info.run_id
        logged = mlflow.get_run(run_id).data
        fresh = {key: value for key, value in values.items() if key not in logged.params}
        moved = {
            key: value
            for key, value in values.items()
            if key in logged.params and logged.tags.get(key, logged.params[key]) != value
        }
        mlflow.log_params(fresh)
        mlflow.set_tags(moved)

    def _try(self, action: Callable[[], Any]) -> Any:
        if self._failed:
            return None
        try:
            return action()
        except Exception as error:  # whatever a store may do, training goes on
            self._failed = True
            problem = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(
                f"warning: MLflow failed ({problem}); the stage goes on untracked",
                file=sys.stderr,
            )
            return None


@contextmanager
def training_run(stage: str, recipe: Recipe, fingerprint: str) -> Iterator[ModelRun]:
    """The run of a model about to be trained: a new one, or that of an unfinished training.

    Args:
        stage: The DVC stage's name.
        recipe: The params the model follows from.
        fingerprint: Of all that the training follows from; it finds the unfinished run.
    """
    run = ModelRun()

    def start() -> None:
        import mlflow

        unfinished = _find_run(EXPERIMENT, f"tags.{TRAINING_TAG} = '{fingerprint}'")
        if unfinished and MODEL_TAG not in mlflow.get_run(unfinished).data.tags:
            mlflow.start_run(run_id=unfinished)
            return
        _start_run(stage, recipe)
        mlflow.set_tag(TRAINING_TAG, fingerprint)

    with _active_run(run, EXPERIMENT, start):
        yield run


@contextmanager
def crossvalidation_run(
    recipe: Recipe, params: CrossvalidateParams, fingerprint: str
) -> Iterator[ModelRun]:
    """The run of a cross-validation, a new one or an unfinished one, in its own experiment.

    Args:
        recipe: The params the models of all folds follow from.
        params: How names are held out.
        fingerprint: Of all that the training follows from; it finds the unfinished run.
    """
    run = ModelRun()

    def start() -> None:
        import mlflow

        unfinished = _find_run(
            CROSSVALIDATION,
            f"tags.{TRAINING_TAG} = '{fingerprint}' and attributes.status != 'FINISHED'",
        )
        if unfinished:
            mlflow.start_run(run_id=unfinished)
            return
        _start_run("crossvalidate", recipe, name=f"{params.folds}-fold {_shape(recipe)}")
        mlflow.set_tag(TRAINING_TAG, fingerprint)
        mlflow.log_params(_flat("crossvalidate", params.model_dump()))

    with _active_run(run, CROSSVALIDATION, start):
        yield run


@contextmanager
def model_run(stage: str, model_path: Path, model: NameModel) -> Iterator[ModelRun]:
    """The run of a trained model; a new one if the store has none (a model from DVC's cache).

    Args:
        stage: The DVC stage's name.
        model_path: The model file; its content finds the run.
        model: The same model, loaded.
    """
    run = ModelRun()

    def start() -> None:
        import mlflow

        found = _find_run_of_model(model_path)
        if found:
            mlflow.start_run(run_id=found)
            mlflow.set_tag(f"dvc.stage.{stage}", "done")
        else:
            _start_run(stage, model.recipe)
            for number, epochs in enumerate(model.histories):
                _log_missing_epochs(number, epochs)
            run.log_model(model_path)

    with _active_run(run, EXPERIMENT, start):
        yield run


@contextmanager
def _active_run(run: ModelRun, experiment: str, start: Callable[[], None]) -> Iterator[None]:
    run._try(lambda: _open_store(experiment))
    run._try(start)
    import mlflow

    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if mlflow.active_run():
            run._try(lambda: mlflow.end_run(status))


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_store(experiment: str) -> None:
    """Choose the store, and make it and the experiment where they do not exist yet."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    root = main_checkout()
    database = root / "mlflow.db"
    elsewhere = bool(os.environ.get("MLFLOW_TRACKING_URI"))
    if not elsewhere and not database.exists():
        print("MLflow: creating the store mlflow.db, once (about ten seconds)", file=sys.stderr)
    import mlflow

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    artifacts = None
    if not elsewhere:
        mlflow.set_tracking_uri(f"sqlite:///{database.as_posix()}")
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it; it is the user's to set
        artifacts = (root / "mlartifacts").as_uri()
    # Two processes that make the tables at the same time break each other.
    with nullcontext() if elsewhere else FileLock(root / "mlflow.db.lock"):
        if mlflow.get_experiment_by_name(experiment) is None:
            mlflow.create_experiment(experiment, artifacts, VIEW)
        mlflow.set_experiment(experiment)


def _find_run_of_model(model_path: Path) -> str | None:
    """The id of the run that logged a model with this content."""
    return _find_run(EXPERIMENT, f"tags.{MODEL_TAG} = '{file_sha256(model_path)}'")


def _find_run(experiment: str, condition: str) -> str | None:
    """The id of an experiment's latest run that meets a condition, in MLflow's words."""
    import mlflow

    found = mlflow.search_runs(
        experiment_names=[experiment],
        filter_string=condition,
        order_by=["attributes.start_time DESC"],
        max_results=1,
        output_format="list",
    )
    return found[0].info.run_id if found else None


def _log_missing_epochs(number: int, epochs: list[Epoch]) -> None:
    """Log the epochs of a network as `on_epoch` does, but for those that the run has."""
    import mlflow
    from mlflow.entities import Metric

    client = mlflow.MlflowClient()
    run_id = mlflow.active_run().info.run_id
    key = next(iter(_losses(number, epochs[0])))
    logged = {point.step for point in client.get_metric_history(run_id, key)}
    now = int(time.time() * 1000)
    metrics = [
        Metric(name, value, now, epoch.number)
        for epoch in epochs
        if epoch.number not in logged
        for name, value in _losses(number, epoch).items()
    ]
    for start in range(0, len(metrics), 1000):  # the most that a server takes at once
        client.log_batch(run_id, metrics[start : start + 1000])


def _losses(number: int, epoch: Epoch) -> dict[str, float]:
    return {
        f"train_nats/{number + 1}": epoch.train_nats,
        f"validation_nats/{number + 1}": epoch.validation_nats,
    }


def _shape(recipe: Recipe) -> str:
    return f"{recipe.model.members}x {recipe.model.cell}-{recipe.model.hidden_size}"


def _start_run(stage: str, recipe: Recipe, name: str = "") -> None:
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    params = {"seed": str(recipe.seed)}
    for section in ("data", "model", "train"):
        params |= _flat(section, getattr(recipe, section).model_dump())
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *NOT_OUTPUTS)
    experiment = os.environ.get("DVC_EXP_NAME", "")
    tags = {
        "git.commit": commit,
        "git.dirty": str(bool(changed)).lower(),
        "mlflow.source.git.commit": commit,
        "dvc.experiment": experiment,
        f"dvc.stage.{stage}": "done",
        "nomosaurus.version": __version__,
    }
    mlflow.start_run(
        run_name=experiment or name or f"{_shape(recipe)}-{commit[:7] or 'nogit'}-{digest[:4]}",
        tags={name: value for name, value in tags.items() if value},
    )
    mlflow.log_params(params)
    for context, path, digest in _dvc_datasets():
        source = LocalArtifactDatasetSource(path)
        mlflow.log_input(MetaDataset(source, path, digest), context=context)


def _flat(section: str, values: Mapping[str, Any]) -> dict[str, str]:
    """A section of params.yaml as MLflow params: section.key, each value as text."""
    return {f"{section}.{key}": str(value) for key, value in values.items()}


def _dvc_datasets() -> list[tuple[str, str, str]]:
    """The list and the prepared data, by dvc.lock: context, path, DVC's MD5."""
    stage = _dvc_lock().get("prepare", {})
    return [
        (context, entry["path"], entry["md5"])
        for context, key in (("list", "deps"), ("prepared", "outs"))
        for entry in stage.get(key, [])
        if not entry["path"].startswith(("pipeline/", "src/", "metrics/"))
    ]


def _dvc_lock() -> dict[str, dict[str, Any]]:
    """The stages in dvc.lock; none where there is no such file, as outside of DVC."""
    try:
        lock = YAML(typ="safe", pure=True).load(Path("dvc.lock").read_text(encoding="utf-8"))
        return lock["stages"]
    except (OSError, YAMLError, KeyError, TypeError):
        return {}


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


def _log_servable_model(path: Path) -> None:
    import mlflow
    from mlflow.models import ModelSignature
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
            mlflow.pyfunc.log_model(
                name="model",
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
