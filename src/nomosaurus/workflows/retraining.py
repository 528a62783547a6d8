"""Retraining: run the pipeline again, hold the new model against the champion, and propose it.

A retraining works on a commit of its own, so that the run of the model names a commit with
the very params that it was trained with. It leaves a folder with what a pull request needs; what
opens it, `github.propose`, has the right to write and runs none of this.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from nomosaurus.errors import ListError, NomosaurusError, ParamsError, PipelineError, shortened
from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.files import write_json, write_text
from nomosaurus.params import UNREADABLE, Params, load_params, parse_params
from nomosaurus.report.templates import code
from nomosaurus.serving import registry
from nomosaurus.serving.promotion import Verdict
from nomosaurus.tracking import lineage
from nomosaurus.tracking.lock import MODEL_FILE, stale
from nomosaurus.tracking.programs import run
from nomosaurus.tracking.store import failures_in_one_line, is_local, open_store
from nomosaurus.workflows.change import Change
from nomosaurus.workflows.checkouts import COMMITTED, changed, pull_sources, run_elsewhere

PARAMS = Path("params.yaml")
LOG = Path("promotions.jsonl")
BEFORE = Path(".before")
"""The checkout of the commit that the model before came from; git ignores it."""
KEY = r"[a-z_]+(?:\.[a-z_]+)?"

HOW_IT_WAS_CHECKED = """### How this was checked

The job that trained it found dvc.lock fresh afterwards. In a pull request that a workflow opens,
GitHub starts no check by itself: *Approve workflows to run* there lets CI check it too. The
artifacts of the job hold the model, its report, and `mlflow.db` with the runs.
"""
HOW_TO_TAKE_IT = """### To take it all the same

The artifact `retraining` holds its commits: unpack it, then

```sh
git fetch commits.bundle retrained:retrained && git push origin retrained
```

What a model must show is in the section `promote` of params.yaml.
"""


@dataclass(frozen=True)
class Retraining:
    """What came of it.

    Attributes:
        outcome: `unchanged`, `won` or `lost`.
        summary: Markdown, for a person.
        title, branch: Of the pull request; empty unless it won.
    """

    outcome: str
    summary: str
    title: str = ""
    branch: str = ""


def overrides(assignments: str) -> dict[str, Any]:
    """Params to replace, by section.key, from text such as `model.cell=gru seed=2`.

    A value is read as params.yaml would read it. Nothing in it is expanded or run.

    Raises:
        ParamsError: If a part is no assignment.
    """
    found: dict[str, Any] = {}
    parts = re.split(rf"\s+(?={KEY}=)", assignments.strip())
    for part in filter(None, parts):
        key, equals, value = part.partition("=")
        if not equals or not re.fullmatch(KEY, key):
            raise ParamsError(f"an override must be like model.cell=gru, got {part!r}")
        try:
            found[key] = YAML(typ="safe", pure=True).load(value)
        except UNREADABLE:
            raise ParamsError(
                f"the override of {key} is not a YAML value, got {shortened(value)}"
            ) from None
    return found


def typed(given: Mapping[str, str]) -> dict[str, Any]:
    """Values of options as params.yaml has them: a whole number as one, all else as text."""
    return {
        key: int(text) if re.fullmatch(r"[0-9]{1,9}", text) else text for key, text in given.items()
    }


def override(path: Path, values: Mapping[str, Any]) -> None:
    """Replace values in params.yaml, where nothing else changes.

    Raises:
        ParamsError: If a key is unknown or a value breaks a rule; the file is then as it was.
    """
    load_params(path)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1000
    content = yaml.load(path.read_text("utf-8"))
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        tree = content.get(section) if section else content
        if not isinstance(tree, dict) or isinstance(tree.get(key), dict):
            raise ParamsError(f"{path} has no param {name}; it names each with its section")
        tree[key] = value
    changed_text = StringIO()
    yaml.dump(content, changed_text)
    parse_params(YAML(typ="safe", pure=True).load(changed_text.getvalue()), "the overrides")
    write_text(path, changed_text.getvalue())


def retrain(values: Mapping[str, Any], folder: Path) -> Retraining:
    """Run the pipeline if anything changed, and judge the new model against the champion.

    The champion is the registry's. Where that is empty, as in a store that was just made, it is
    the model of the last commit whose dvc.lock holds.

    Args:
        values: Params to replace, by section.key; they are committed first.
        folder: Gets what came of it; new or empty.

    Raises:
        NomosaurusError: If the checkout has changes, a value breaks a rule, or a stage fails.
    """
    if folder.exists() and any(folder.iterdir()):
        raise PipelineError(f"{folder} is not empty; name a folder that is, or a new one")
    if dirty := _uncommitted():
        raise PipelineError(
            f"the checkout has changes ({dirty.splitlines()[0]}); commit them first"
        )
    base = lineage.head()
    if values:
        override(PARAMS, values)
    params = load_params(PARAMS)
    names = Path(params.data.path)
    try:
        pull_sources()
        if not names.exists() or not names.resolve().is_relative_to(Path.cwd().resolve()):
            raise ListError(f"data.path must be a file in this checkout, got {params.data.path!r}")
    except NomosaurusError:
        run("git", "checkout", "--quiet", "--", str(PARAMS))
        raise
    if not (why := stale()):
        summary = "Nothing changed: dvc.lock is that of this code, these data and these params.\n"
        return _keep(Retraining("unchanged", summary), folder)
    run("git", "switch", "--quiet", "--detach")
    if _uncommitted():
        subject = ", ".join(f"{key} {value}" for key, value in values.items())
        run("git", "commit", "--quiet", "-m", f"Params: {subject}", "--", str(PARAMS))
    with failures_in_one_line():
        open_store()
    note = _find_champion(params, base)
    print("The pipeline runs, since:", *why, sep="\n  ", flush=True)
    run("dvc", "repro", show=True)
    run("git", "add", "--", *COMMITTED)
    if lineage.git("diff", "--cached", "--name-only", "--", *COMMITTED):
        run("git", "commit", "--quiet", "-m", "The pipeline's outputs, run again", "--", *COMMITTED)
    _bundle(folder, base, "retrained")  # before what may fail, such as a store
    if still := stale():
        raise PipelineError(f"dvc.lock is stale after dvc repro: {still[0]}")
    run("nomosaurus", "backfill", show=True)  # where DVC's cache had the model, no stage made a run
    prepared = Path("data/prepared")
    verdict = registry.promote(
        Path(MODEL_FILE), prepared, params, LOG, other_test=True, dry_run=True
    )
    change = changed(BEFORE, Path(), Bootstrap(params.evaluate.bootstrap_samples, params.seed))
    _forget_before()
    came = _told(verdict, note, change)
    write_json(folder / "verdict.json", verdict.as_dict())
    write_text(folder / "change.json", change.as_json())
    _bundle(folder, base, came.branch or "retrained")
    return _keep(came, folder)


def _find_champion(params: Params, base: str) -> str:
    """Check out the model before, and crown it where there is no champion; says why not, if not."""
    commit = lineage.git("log", "-1", "--format=%H", base, "--", "dvc.lock")
    if not commit:
        return "no commit has a dvc.lock"
    store = {}
    if is_local():
        store["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path('mlflow.db').resolve().as_posix()}"
    try:
        _forget_before()
        before = run_elsewhere(commit, BEFORE, store)
        if registry.Registry(params.promote.registered_model).champion():
            return ""
        run("nomosaurus", "backfill", folder=before, environment=store, show=True)
        verdict = registry.promote(
            before / MODEL_FILE, before / "data/prepared", params, before / LOG
        )
    except NomosaurusError as error:
        return str(error)
    return "" if verdict.promoted else verdict.summary


def _bundle(folder: Path, base: str, branch: str) -> None:
    """Keep the commits since `base` as a git bundle with this branch."""
    run("git", "branch", "--force", branch)
    if lineage.git("rev-list", "--max-count=1", f"{base}..{branch}"):
        folder.mkdir(parents=True, exist_ok=True)
        run("git", "bundle", "create", str(folder / "commits.bundle"), f"{base}..{branch}")


def _uncommitted() -> str:
    """What git says of the project's files that are not as committed; empty if all are."""
    return run("git", "status", "--porcelain", "--untracked-files=no", "--", ".").strip()


def _forget_before() -> None:
    if BEFORE.exists():
        shutil.rmtree(BEFORE)


def _told(verdict: Verdict, note: str, change: Change) -> Retraining:
    parts = [verdict.as_markdown()]
    if note:
        parts.append(f"The model before could not take part: {code(note)}.\n")
    parts.append(f"### Before and after\n\n{change.as_markdown()}")
    if not verdict.promoted:
        parts.append(HOW_TO_TAKE_IT)
        return Retraining("lost", "\n".join(parts))
    parts.append(HOW_IT_WAS_CHECKED)
    branch = f"retrain-{verdict.challenger.model_sha256[:12]}"
    title = "Retrained: the first champion"
    if verdict.comparison:
        title = f"Retrained: {verdict.comparison.gain.value:.4f} nats per character better"
    return Retraining("won", "\n".join(parts), title, branch)


def _keep(came: Retraining, folder: Path) -> Retraining:
    """Leave in the folder what came of it; the outcome last, when all else is there."""
    write_text(folder / "summary.md", came.summary)
    if came.outcome == "won":
        write_json(folder / "pull_request.json", {"branch": came.branch, "title": came.title})
    write_text(folder / "outcome", came.outcome + "\n")
    return came
