"""The MLflow run of a model: live while it trains, then with all that its pipeline wrote.

What a run has to say goes into a journal first, and from there to MLflow. A store that fails
costs no training and no figure: the first failure is said once, nothing more is tried in this
process, and the journal is sent by the next stage that tracks or by `nomosaurus sync`.
"""

import getpass
import hashlib
import json
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from nomosaurus import __version__
from nomosaurus.errors import ArtifactError, NomosaurusError, in_one_line
from nomosaurus.evaluation.figures import CATALOGUE
from nomosaurus.files import main_checkout, read_checked, read_name_table
from nomosaurus.model.file import load_model
from nomosaurus.model.trained import Epoch
from nomosaurus.params import CrossvalidateParams, Recipe
from nomosaurus.report.metrics import FIGURES
from nomosaurus.report.templates import code
from nomosaurus.tracking.journal import Journal
from nomosaurus.tracking.lineage import Origin, file_md5, file_sha256
from nomosaurus.tracking.lock import MODEL_FILE, flat, hashes, locked_stages
from nomosaurus.tracking.sender import Sender, send_left_over
from nomosaurus.tracking.store import CROSSVALIDATION, EXPERIMENT, commit_tags
from nomosaurus.tracking.usage import usage
from nomosaurus.training.loop import Watcher

JOURNALS = ".runs"
SECONDS_BETWEEN_SENDS = 1.0
MOST_TIME_SENDING = 0.1  # share of the time in which networks train
HEADLINES = (
    *("perplexity", "network_perplexity", "baseline_perplexity"),
    *("gain_nats", "memory_gain_nats", "novelty"),
)
"""Figures that the description shows."""
ONLY_IN_FILES = (
    *("bits_per_char", "novelty_at_10k", "uniqueness_at_1k"),
    *("recall_at_1k", "recall_at_10k", "recall_at_100k", "js_1gram", "js_3gram"),
    *("network_validation_nats", "ngram_validation_nats"),
    *("ngram_order", "ngram_weight_short", "ngram_weight_long"),
)
"""Figures that say what another one says, in another unit, at another size or of a part. The
run has them in metrics/; each metric costs a column in the table of runs, and a chart."""
NAMES_IN_NOTE = 10
TABLE_TAG = "mlflow.loggedArtifacts"  # which artifacts the UI shows as tables, side by side
OF_RECIPE = ("data", "model", "train")  # sections of the recipe, where each `auto` is settled


class ModelRun(Watcher):
    """One model's run in MLflow."""

    def __init__(
        self,
        stage: str,
        key: str,
        name: str,
        recipes: Sequence[Recipe],
        origin: Origin,
        stages: Mapping[str, Any],
    ) -> None:
        """Begin a journal with tags, params, the data with its hashes, and its lineage.

        Of several recipes one is chosen later; the params are those in which all agree, and
        `log_recipe` adds the rest.
        `key` finds the run again while it holds no model; `stages` are those of dvc.lock.
        """
        self._journal = Journal.start(main_checkout() / JOURNALS)
        self._sender: Sender | None = None
        self._next_send = 0.0
        self._has_failed = False
        self._at = {"time": origin.milliseconds} if origin.milliseconds else {}
        tags = commit_tags(origin.commit, dirty=bool(origin.patch)) | {
            "mlflow.source.name": f"pipeline/{stage}.py",
            "mlflow.source.type": "LOCAL",
            "mlflow.user": _user(),
            "dvc.experiment": origin.experiment,
            "nomosaurus.version": __version__,
        }
        self._journal.add(
            "start",
            experiment=CROSSVALIDATION if stage == "crossvalidate" else EXPERIMENT,
            key=key,
            name=name,
            tags={tag: value for tag, value in tags.items() if value},
            inputs=_datasets(stages),
            **self._at,
        )
        first, *others = [flat(recipe.model_dump()) for recipe in recipes]
        agreed = {
            key: value for key, value in first.items() if all(o[key] == value for o in others)
        }
        self._journal.add("params", values=agreed)
        account = origin.as_dict() | {"stages": stages}
        text = json.dumps(account, indent=2, ensure_ascii=False, default=str)
        self._log_text(text, f"{stage}.json", "lineage")
        if origin.patch:
            self._log_text(origin.patch, f"{stage}.patch", "lineage")

    def on_epoch(self, number: int, epoch: Epoch) -> None:
        """Log it, and send what came when it is time."""
        self.on_resume(number, [epoch])
        if time.monotonic() >= self._next_send:
            self.log_usage()
            self._send()

    def on_resume(self, number: int, epochs: list[Epoch]) -> None:
        """Log both losses of the first network, with the epoch's number as the step.

        The networks differ in their seeds, so one curve stands for all, and runs with one
        network and with thirty lie over each other. The model file has the others. Epochs that
        MLflow has are not sent again.
        """
        for epoch in epochs if number == 0 else []:
            losses = {
                "curve/train_nats": epoch.train_nats,
                "curve/validation_nats": epoch.validation_nats,
            }
            self._journal.add("metrics", values=losses, step=epoch.number)

    def log_recipe(self, recipe: Recipe) -> None:
        """The params that the model follows from, once they are chosen."""
        self._journal.add("params", values=flat(recipe.model_dump()))

    def log_params(self, section: str, values: Mapping[str, Any]) -> None:
        """A section of params.yaml, as section.key.

        MLflow never changes a param. A value that differs from the run's becomes a tag.
        """
        self._journal.add("params", values=flat({section: values}))

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Final figures that runs are compared by; their intervals go to the description only."""
        bounds = {f"{key}{end}" for key in metrics for end in ("_low", "_high")}
        values = {
            key: float(value)
            for key, value in metrics.items()
            if value is not None and key not in bounds and key not in ONLY_IN_FILES
        }
        self._journal.add("metrics", values=values, step=0)
        if bounds & metrics.keys():
            self._journal.add("note", heading="On names it never saw", text=_figures(metrics))

    def log_file(self, path: Path, folder: str) -> None:
        """A file as an artifact in a folder; pictures at the top, where the UI compares runs'."""
        folder = "" if path.suffix == ".svg" else folder
        self._journal.add("file", path=self._journal.keep(path, folder), folder=folder)

    def log_names(self, path: Path, folder: str) -> None:
        """A table of names with their scores: as a file, as the UI's table, and the first ten.

        The UI joins several runs' tables by their first column. Two models hardly ever write
        the same name, so that is a number.
        """
        self.log_file(path, folder)
        table = read_name_table(path, made_by="sample")
        name = f"{path.stem}.json"
        numbered = table.set_axis(range(1, len(table) + 1)).reset_index(names="number")
        self._log_text(numbered.to_json(orient="split", index=False), name, folder)
        shown = [{"path": f"{folder}/{name}", "type": "table"}]
        self._journal.add("tags", values={TABLE_TAG: json.dumps(shown)})
        names = map(code, table["name"].head(NAMES_IN_NOTE))
        self._journal.add("note", heading="Names", text=" · ".join(names))

    def log_model(self, path: Path) -> None:
        """The model, loadable and servable without pickle, and the tags that find its run.

        One model has one run. If the store has one already, this run gives way to it.
        """
        kept = self._journal.keep(path, "model")
        self._journal.add("model", path=kept, sha256=file_sha256(path), md5=file_md5(path))

    def log_base(self, md5: str) -> None:
        """The base that its networks started from; a model's run has this as its `model_md5`."""
        self._journal.add("tags", values={"base_md5": md5})

    def log_usage(self) -> None:
        """What this process and those it started use of the machine now."""
        self._journal.add("metrics", values=usage(), step=int(time.time()))

    def end(self, status: str) -> bool:
        """Send the rest, and end the run; whether MLflow has all, or the journal what it lacks.

        A run that is made afterwards ends when it began: how long it took is not known any more.
        """
        self._journal.add("end", status=status, **self._at)
        self._send()
        if self._has_failed:
            self._journal.close()
        else:
            self._journal.delete()
        return not self._has_failed

    def give_up(self) -> None:
        """Drop what was not sent yet."""
        self._journal.delete()

    def _log_text(self, text: str, name: str, folder: str) -> None:
        self._journal.add("text", text=text, name=name, folder=folder)

    def _send(self) -> None:
        """Send what came since the last time, and first what earlier stages could not."""
        began = time.monotonic()
        is_first = not (self._sender or self._has_failed)  # which imports MLflow, and takes longer
        try:
            if is_first:
                for line in send_left_over(main_checkout() / JOURNALS):
                    print(f"MLflow: {line}", file=sys.stderr)
                self._sender = Sender(self._journal)
            if self._sender:
                self._sender.send()
        except Exception as error:  # whatever a store may do, the stage carries on
            self._sender = None
            self._has_failed = True
            fate = 'nothing is lost: the next stage or "nomosaurus sync" sends what is missing'
            if problem := self._journal.problem:
                fate = f"the run is lost, since it cannot be kept ({problem.strerror})"
            print(f"warning: MLflow failed ({in_one_line(error)}); {fate}", file=sys.stderr)
        now = time.monotonic()
        took = 0.0 if is_first else now - began
        # A slow server does not slow training down.
        self._next_send = now + max(SECONDS_BETWEEN_SENDS, took / MOST_TIME_SENDING)


def training_run(recipes: Sequence[Recipe], fingerprint: str) -> AbstractContextManager[ModelRun]:
    """The run of a model about to be trained: a new one, or that of an unfinished training run.

    `recipes` are those that training chooses from; the first gives the run its name.
    The fingerprint, of all that the training follows from, finds the unfinished one.
    """
    return _live("train", recipes, fingerprint)


@contextmanager
def crossvalidation_run(
    recipes: Sequence[Recipe], params: CrossvalidateParams, fingerprint: str
) -> Iterator[ModelRun]:
    """The run of a cross-validation, in its own experiment; the same one when it runs again."""
    with _live("crossvalidate", recipes, fingerprint, f"{params.folds}-fold-") as run:
        run.log_params("crossvalidate", params.model_dump())
        yield run


@contextmanager
def _live(
    stage: str, recipes: Sequence[Recipe], fingerprint: str, prefix: str = ""
) -> Iterator[ModelRun]:
    """A run that is sent while the block lasts, and ended with it."""
    origin = Origin.of_checkout()
    # On another machine the same training is another run.
    place = f"{fingerprint} {platform.node()} {main_checkout()}"
    key = hashlib.sha256(place.encode()).hexdigest()[:16]
    name = prefix + _name(recipes[0], origin.experiment or fingerprint[:4])
    # What later stages are locked to is of an earlier model.
    stages = {at: locked for at, locked in locked_stages().items() if at == "prepare"}
    run = ModelRun(stage, key, name, recipes, origin, stages)
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run.log_usage()
        run.end(status)


def log_outputs(folder: Path, origin: Origin) -> bool:
    """Give a model's run all that its pipeline wrote; make the run where the store has none.

    The folder has the model, its dvc.lock, and the outputs that this names. What it says of
    another model is left out. Returns whether MLflow has all; if not, a journal has.

    Raises:
        ModelFileError: If there is no model, or none that can be read.
        ArtifactError: If a file is not the one that dvc.lock names for this model, or was damaged
            since; nothing is logged.
    """
    path = folder / MODEL_FILE
    model = load_model(path)
    sha256, md5 = file_sha256(path), file_md5(path)
    stages = locked_stages(folder=folder)
    of_model = {
        stage: hashes(locked.get("outs", []))
        for stage, locked in stages.items()
        if hashes([*locked.get("deps", []), *locked.get("outs", [])]).get(MODEL_FILE) == md5
    }
    for stage, outs in of_model.items():
        for out, known in outs.items():
            if (folder / out).is_file() and file_md5(folder / out) != known:
                raise ArtifactError(
                    f'{out} is not what stage {stage} wrote for {MODEL_FILE}; run "dvc repro"'
                )
    name = _name(model.recipe, origin.experiment or sha256[:4])
    run = ModelRun("track", sha256[:16], name, [model.recipe], origin, stages)
    try:
        run.on_resume(0, model.histories[0])
        run.log_model(path)
        if model.recipe.train.start == "base":
            deps = hashes(stages.get("train", {}).get("deps", []))
            run.log_base(deps.get(model.recipe.train.start_from, ""))
        for stage, outs in of_model.items():
            for section, values in stages[stage].get("params", {}).get("params.yaml", {}).items():
                if isinstance(values, Mapping) and section not in OF_RECIPE:
                    run.log_params(section, values)
            for out in outs:
                if out != MODEL_FILE:
                    _log_output(run, folder, Path(out), stage)
    except NomosaurusError:
        run.give_up()
        raise
    return run.end("FINISHED")


def _log_output(run: ModelRun, folder: Path, out: Path, stage: str) -> None:
    """Log a file or a folder that a stage wrote; nothing where it is missing."""
    path = folder / out
    if path.is_dir():
        for file in sorted(path.iterdir()):
            run.log_file(file, out.as_posix())
    elif path.is_file():
        where = "" if out.parent == Path() else out.parent.as_posix()
        if where == "samples":
            run.log_names(path, where)
        else:
            run.log_file(path, where)
        if where == "metrics" and out.stem == stage:
            run.log_metrics(read_checked(path, FIGURES, stage))


def _datasets(stages: Mapping[str, Any]) -> list[list[str]]:
    """The list and the prepared data, by the stages in dvc.lock: context, path, DVC's MD5."""
    stage = stages.get("prepare", {})
    return [
        [context, path, md5]
        for context, key in (("list", "deps"), ("prepared", "outs"))
        for path, md5 in hashes(stage.get(key, [])).items()
        if not path.startswith(("pipeline/", "src/", "metrics/"))
        and not path.endswith(".safetensors")  # the base is no list
    ]


def _name(recipe: Recipe, tail: str) -> str:
    """A run's name: the networks, the list, and what tells it from others like it."""
    model = recipe.model
    parts = [model.cell, str(model.hidden_size)]
    parts += [f"{model.num_layers}layers"] if model.num_layers > 1 else []
    parts += [f"{model.members}nets"] if model.members > 1 else []
    name = "-".join([*parts, Path(recipe.data.path).stem[:24], tail])
    return re.sub(r"[^\w.-]+", "_", name)  # nothing that Markdown or a terminal acts on


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no such thing
        return ""


def _figures(metrics: Mapping[str, float | None]) -> str:
    """The headline figures as a table in Markdown."""
    rows = ["| | value | 95 % interval |", "|---|---|---|"]
    for key in HEADLINES:
        if metrics.get(key) is not None:
            low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
            interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
            rows.append(f"| {CATALOGUE[key].label} | {metrics[key]:.3f} | {interval} |")
    return "\n".join(rows)
