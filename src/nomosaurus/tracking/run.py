"""What a stage has to say of a model's run: written to a journal first, then sent to MLflow.

A store that fails costs no training and no figure: the first failure is said once, nothing
more is tried in this process, and the journal is sent by the next stage or by
`nomosaurus sync`.
"""

import getpass
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nomosaurus import __version__
from nomosaurus.errors import TrackingError
from nomosaurus.files import main_checkout, read_json, read_name_table
from nomosaurus.model.trained import Epoch, TrainedModel
from nomosaurus.params import CrossvalidateParams, Recipe, Section
from nomosaurus.tracking import lineage
from nomosaurus.tracking.journal import Journal
from nomosaurus.tracking.sender import Sender, send_left_over
from nomosaurus.tracking.store import CROSSVALIDATION, EXPERIMENT, commit_tags, in_one_line
from nomosaurus.tracking.usage import usage
from nomosaurus.training.loop import Watcher

JOURNALS = ".runs"
SECONDS_BETWEEN_SENDS = 1.0
MOST_TIME_SENDING = 0.1  # share of the time in which networks train
HEADLINES = {
    "perplexity": "perplexity",
    "network_perplexity": "perplexity of its networks without the n-gram",
    "baseline_perplexity": "perplexity of the n-gram alone",
    "gain_nats": "saved against the n-gram, nats per character",
    "memory_gain_nats": "cost of forgetting a_{t-1}, nats per character",
    "novelty": "probability that a drawn name is not a training name",
}
ONLY_IN_FILES = (
    *("bits_per_char", "novelty_at_10k", "uniqueness_at_1k"),
    *("recall_at_1k", "recall_at_10k", "recall_at_100k", "js_1gram", "js_3gram"),
    *("network_validation_nats", "ngram_validation_nats"),
    *("ngram_order", "ngram_weight_short", "ngram_weight_long"),
)
"""Figures that say what another one says, in another unit, at another size or of a part. They
stand in metrics/, which the run has too; a table of runs has a column for each metric, and a
page of charts a chart."""
NAMES_IN_NOTE = 10
TABLE_TAG = "mlflow.loggedArtifacts"  # which artifacts the UI shows as tables, side by side


class ModelRun(Watcher):
    """The MLflow run of one model, as one stage adds to it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._sender = Sender(journal)
        self._unless = ""  # a tag of the run; where it has it, what is said goes without saying
        self._next_send = 0.0
        self._has_failed = False

    def on_epoch(self, number: int, epoch: Epoch) -> None:
        """Log both losses of the first network, with the epoch's number as the step.

        The networks differ in their seeds, so one curve stands for all, and runs with one
        network and with thirty lie over each other. The model file has the others.
        """
        if number == 0:
            self._log_epochs([epoch])
        if time.monotonic() >= self._next_send:
            self._log_usage()
            self._send()

    def on_resume(self, number: int, epochs: list[Epoch]) -> None:
        """Log the epochs before the interruption; those that MLflow has are not sent again."""
        if number == 0:
            self._log_epochs(epochs)

    def log_params(self, name: str, section: Section) -> None:
        """A section of params.yaml, as name.key.

        MLflow never changes a param. Where a stage ran again for the same model with
        another value, the run gets a tag of the same name with the value that holds.
        """
        self._log("params", values=_flat(name, section.model_dump()))

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Final figures that runs are compared by; those that have no value are left out.

        Their intervals, key_low and key_high, go to the description only.
        """
        bounds = {f"{key}{end}" for key in metrics for end in ("_low", "_high")}
        values = {
            key: float(value)
            for key, value in metrics.items()
            if value is not None and key not in bounds and key not in ONLY_IN_FILES
        }
        self._log("metrics", values=values, step=0)
        if bounds & metrics.keys():
            self._log("note", heading="On names it never saw", text=_figures(metrics))

    def log_files(self, *paths: Path) -> None:
        """Files as artifacts, each under the name of its folder; at the top if it has none.

        Pictures are at the top too: of several runs' artifacts, the UI shows only those there
        side by side.
        """
        for path in paths:
            self._log_file(path, _folder(path))

    def log_names(self, path: Path) -> None:
        """A table of names with their scores: as a file, as the UI's table, and the first ten.

        The UI sets several runs' tables side by side by their first column. Two models hardly
        ever write the same name, so that is a number.
        """
        self.log_files(path)
        table = read_name_table(path, made_by="sample")
        folder, name = path.parent.name, f"{path.stem}.json"
        numbered = table.set_axis(range(1, len(table) + 1)).reset_index(names="number")
        self._log_text(numbered.to_json(orient="split", index=False), name, folder)
        self._log("tags", values={TABLE_TAG: json.dumps([_table(f"{folder}/{name}")])})
        self._log("note", heading="Names", text=" · ".join(table["name"].head(NAMES_IN_NOTE)))

    def log_model(self, path: Path) -> None:
        """The model, loadable and servable without pickle, and the tags that find its run.

        One model has one run. If the store has one already, as after training the same
        thing again, this run gives way to it, and all of it is logged there.
        """
        self._log_model_and_outputs(path, lineage.locked_stages(), Path())

    def _log_model_and_outputs(self, path: Path, stages: Mapping[str, Any], root: Path) -> None:
        """The model, and what stages that are not in the run made of this very model before.

        DVC skips them. So it is in a fresh clone: dvc.lock and the metrics are in git, and
        training gives the model that they speak of.

        Args:
            path: The model file.
            stages: Of dvc.lock.
            root: The folder in which the stages' outputs lie.
        """
        md5 = lineage.dvc_md5(path)
        kept = self._journal.keep(path, "model")
        self._log("model", path=kept, sha256=lineage.file_sha256(path), md5=md5)
        for stage, locked in stages.items():
            outs = locked.get("outs", [])
            files = lineage.hashes(locked.get("deps", [])) | lineage.hashes(outs)
            if files.get(lineage.MODEL_FILE) != md5:
                continue
            self._unless = f"dvc.stage.{stage}"
            params = locked.get("params", {}).get("params.yaml", {})
            if stage in params and stage != "train":  # whose settled values the model has
                self._log("params", values=_flat(stage, params[stage]))
            for out in (Path(entry["path"]) for entry in outs):
                if not (root / out).is_file() or out.as_posix() == lineage.MODEL_FILE:
                    continue
                if out.parent.name == "metrics" and out.stem == stage:
                    self.log_metrics(read_json(root / out, made_by=stage))
                if out.parent.name == "samples":
                    self.log_names(root / out)
                else:
                    self._log_file(root / out, _folder(out))
            self._log("tags", values={self._unless: "done before"})
            self._unless = ""

    def _log_epochs(self, epochs: list[Epoch]) -> None:
        for epoch in epochs:
            losses = {
                "curve/train_nats": epoch.train_nats,
                "curve/validation_nats": epoch.validation_nats,
            }
            self._log("metrics", values=losses, step=epoch.number)

    def _log_usage(self) -> None:
        self._log("metrics", values=usage(), step=int(time.time()))

    def _log_file(self, path: Path, folder: str) -> None:
        self._log("file", path=self._journal.keep(path, folder), folder=folder)

    def _log_text(self, text: str, name: str, folder: str) -> None:
        self._log("text", text=text, name=name, folder=folder)

    def _log(self, kind: str, **content: Any) -> None:
        self._journal.add(kind, **content, **({"unless": self._unless} if self._unless else {}))

    def _send(self) -> None:
        """Send what came since the last time, and first what earlier stages could not."""
        began = time.monotonic()
        is_first = not self._next_send  # which takes longer: MLflow is imported
        try:
            if is_first:
                for line in send_left_over(main_checkout() / JOURNALS):
                    print(f"MLflow: {line}", file=sys.stderr)
            if not self._has_failed:
                self._sender.send()
        except Exception as error:  # whatever a store may do, the stage goes on
            self._has_failed = True
            print(f"warning: MLflow failed ({in_one_line(error)}); {self._fate()}", file=sys.stderr)
        now = time.monotonic()
        took = 0.0 if is_first else now - began
        # A slow server does not slow training down.
        self._next_send = now + max(SECONDS_BETWEEN_SENDS, took / MOST_TIME_SENDING)

    def _fate(self) -> str:
        if self._journal.problem:
            return f"the run is lost, since it cannot be kept ({self._journal.problem.strerror})"
        return 'nothing is lost: the next stage or "nomosaurus sync" sends what is missing'

    def _end(self, status: str) -> bool:
        """Send the rest; whether MLflow has all."""
        self._log_usage()
        self._log("end", status=status)
        self._send()
        if self._has_failed:
            self._journal.close()
        else:
            self._journal.delete()
        return not self._has_failed


@contextmanager
def training_run(stage: str, recipe: Recipe, fingerprint: str) -> Iterator[ModelRun]:
    """The run of a model about to be trained: a new one, or that of an unfinished training.

    Args:
        stage: The DVC stage's name.
        recipe: The params the model follows from.
        fingerprint: Of all that the training follows from; it finds the unfinished run.
    """
    name = _name(recipe, _tail(fingerprint))
    with _run(EXPERIMENT, stage, recipe, _key(fingerprint), name) as run:
        yield run


@contextmanager
def crossvalidation_run(
    recipe: Recipe, params: CrossvalidateParams, fingerprint: str
) -> Iterator[ModelRun]:
    """The run of a cross-validation, in its own experiment; the same one when it runs again.

    Args:
        recipe: The params the models of all folds follow from.
        params: How names are held out.
        fingerprint: Of all that the training follows from; it finds the run.
    """
    name = f"{params.folds}-fold-{_name(recipe, _tail(fingerprint))}"
    with _run(CROSSVALIDATION, "crossvalidate", recipe, _key(fingerprint), name) as run:
        run.log_params("crossvalidate", params)
        yield run


@contextmanager
def model_run(stage: str, model_path: Path, model: TrainedModel) -> Iterator[ModelRun]:
    """The run of a trained model; a new one if the store has none (a model from DVC's cache).

    Args:
        stage: The DVC stage's name.
        model_path: The model file; its content finds the run.
        model: The same model, loaded.
    """
    sha256 = lineage.file_sha256(model_path)
    name = _name(model.recipe, _tail(sha256))
    with _run(EXPERIMENT, stage, model.recipe, sha256[:16], name) as run:
        run.on_resume(0, model.histories[0])
        run.log_model(model_path)
        yield run


@contextmanager
def _run(experiment: str, stage: str, recipe: Recipe, key: str, name: str) -> Iterator[ModelRun]:
    """A run with its lineage, that is sent and ended with the block."""
    address = lineage.stage_address(stage)
    inputs = lineage.stage_inputs(address)
    patch = lineage.changes()
    origin = {
        "stage": address,
        "commit": lineage.head(),
        "dirty": bool(patch),
        "untracked": lineage.untracked(),
        "experiment": os.environ.get("DVC_EXP_NAME", ""),
    }
    run = ModelRun(Journal.start(main_checkout() / JOURNALS))
    words = _first_words(recipe, origin, lineage.locked_stages())
    run._log("start", experiment=experiment, key=key, name=name, **words)
    run._log("tags", values={f"dvc.stage.{stage}": "done"})
    if patch:
        run._log_text(patch, f"{stage}.patch", "lineage")
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        changed = lineage.changed_inputs(inputs, lineage.stage_inputs(address))
        outputs = lineage.stage_outputs(address)
        origin |= {"inputs": inputs, "changed_meanwhile": changed, "outputs": outputs}
        text = json.dumps(origin, indent=2, ensure_ascii=False, default=str)
        run._log_text(text, f"{stage}.json", "lineage")
        run._log("tainted", stage=stage, changed=changed)
        run._end(status)


def log_committed_run(commit: str, experiment: str, model: TrainedModel, root: Path) -> None:
    """The run of a model that a commit has, made afterwards from what git and DVC hold of it.

    Args:
        commit: 40 hexadecimal digits.
        experiment: The DVC experiment that the commit is; empty if it is none.
        model: The commit's model.
        root: A folder with the model file and the other outputs that its dvc.lock names.

    Raises:
        TrackingError: If MLflow fails; "nomosaurus sync" sends it then.
    """
    path = root / lineage.MODEL_FILE
    sha256 = lineage.file_sha256(path)
    stages = lineage.locked_stages(commit)
    origin = {"stage": "train", "commit": commit, "dirty": False, "experiment": experiment}
    run = ModelRun(Journal.start(main_checkout() / JOURNALS))
    run._log(
        "start",
        experiment=EXPERIMENT,
        key=sha256[:16],
        name=_name(model.recipe, experiment or sha256[:4]),
        time=int(lineage.git("show", "-s", "--format=%ct", commit)) * 1000,
        **_first_words(model.recipe, origin, stages),
    )
    run.on_resume(0, model.histories[0])
    run._log_model_and_outputs(path, stages, root)
    if not run._end("FINISHED"):
        raise TrackingError('MLflow failed; "nomosaurus sync" sends what is missing')


def _first_words(
    recipe: Recipe, origin: Mapping[str, Any], stages: Mapping[str, Any]
) -> dict[str, Any]:
    """What a new run begins with: tags, params, and the data with its hashes."""
    params = {"seed": str(recipe.seed)}
    for section in ("data", "model", "train"):
        params |= _flat(section, getattr(recipe, section).model_dump())
    tags = commit_tags(origin["commit"], dirty=origin["dirty"]) | {
        "mlflow.source.name": f"pipeline/{origin['stage']}.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        "dvc.experiment": origin["experiment"],
        "nomosaurus.version": __version__,
    }
    return {
        "tags": {name: value for name, value in tags.items() if value},
        "params": params,
        "inputs": _datasets(stages),
    }


def _datasets(stages: Mapping[str, Any]) -> list[list[str]]:
    """The list and the prepared data, by the stages in dvc.lock: context, path, DVC's MD5."""
    stage = stages.get("prepare", {})
    return [
        [context, path, md5]
        for context, key in (("list", "deps"), ("prepared", "outs"))
        for path, md5 in lineage.hashes(stage.get(key, [])).items()
        if not path.startswith(("pipeline/", "src/", "metrics/"))
    ]


def _name(recipe: Recipe, tail: str) -> str:
    """A run's name: the networks, the list, and what tells it from others like it."""
    model = recipe.model
    parts = [model.cell, str(model.hidden_size)]
    parts += [f"{model.num_layers}layers"] if model.num_layers > 1 else []
    parts += [f"{model.members}nets"] if model.members > 1 else []
    return "-".join([*parts, Path(recipe.data.path).stem[:24], tail])


def _tail(digest: str) -> str:
    """The experiment's name, or where it is none, four digits of what the run follows from."""
    return os.environ.get("DVC_EXP_NAME") or digest[:4]


def _key(fingerprint: str) -> str:
    """Of a training and of where it runs: on another machine the same one is another run."""
    place = f"{fingerprint} {platform.node()} {main_checkout()}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no such thing
        return ""


def _flat(section: str, values: Mapping[str, Any]) -> dict[str, str]:
    """A section of params.yaml as MLflow params: section.key, each value as text."""
    return {f"{section}.{key}": str(value) for key, value in values.items()}


def _folder(path: Path) -> str:
    """Where a file is among the artifacts."""
    return "" if path.suffix == ".svg" else path.parent.name


def _table(path: str) -> dict[str, str]:
    return {"path": path, "type": "table"}


def _figures(metrics: Mapping[str, float | None]) -> str:
    """The headline figures as a table in Markdown."""
    rows = ["| | value | 95 % interval |", "|---|---|---|"]
    for key, label in HEADLINES.items():
        if metrics.get(key) is not None:
            low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
            interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
            rows.append(f"| {label} | {metrics[key]:.3f} | {interval} |")
    return "\n".join(rows)
