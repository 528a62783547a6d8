"""The pipeline in other checkouts of the same repository, and what came of it there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nomosaurus.errors import ArtifactError, ModelFileError, PipelineError
from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.comparison import compare, decoded, num_learnt
from nomosaurus.evaluation.estimate import Comparison, Estimate
from nomosaurus.files import read_json, read_name_table
from nomosaurus.model.file import load_held_out, load_model
from nomosaurus.tracking import lineage
from nomosaurus.tracking.lock import MODEL_FILE, flat, read_yaml, stale
from nomosaurus.tracking.programs import run
from nomosaurus.workflows import change

COMMITTED = ("dvc.lock", "metrics", "plots", "samples")
"""What git keeps of what the pipeline writes."""
OUTPUTS = (*COMMITTED, MODEL_FILE, "data/prepared", "report.html")
"""All of it."""
NO_COMMIT = "0" * 40  # as git writes it


def pull() -> str:
    """Get what DVC tracks from its remote, if there is one; returns what came of it.

    What the remote lacks can be made again. If that is the list, the stage that reads it fails.
    """
    if not run("dvc", "remote", "list").strip():
        return "DVC has no remote here; nothing to pull"
    try:
        run("dvc", "pull", "--allow-missing")
    except PipelineError as error:
        return f"warning: {error}"
    return "pulled from DVC's remote"


def push() -> str:
    """Send what dvc.lock names to DVC's remote, if there is one; returns what came of it.

    Raises:
        PipelineError: If the remote refuses.
    """
    if not run("dvc", "remote", "list").strip():
        return "DVC has no remote here; nothing to push"
    run("dvc", "push")
    return "pushed to DVC's remote"


def project_in(checkout: Path) -> Path:
    """The project in another checkout of this repository: given that, or the project itself."""
    if lineage.git("-C", str(checkout), "rev-parse", "--show-prefix"):
        return checkout
    return checkout / lineage.place_in_git()


def check_out(commit: str, folder: Path) -> Path:
    """A commit, 40 hexadecimal digits, in a new folder; returns the project in it.

    A clone that borrows the objects, and no linked work tree: in those of a submodule DVC fails.
    """
    if folder.exists():
        raise PipelineError(f"{folder} exists already; name a folder that does not")
    root = run("git", "rev-parse", "--show-toplevel").removesuffix("\n")
    run("git", "clone", "--quiet", "--shared", "--no-checkout", root, str(folder))
    run("git", "fetch", "--quiet", "--update-shallow", root, commit, folder=folder)
    run("git", "checkout", "--quiet", "--detach", "FETCH_HEAD", folder=folder)
    project = project_in(folder)
    if not (project / "dvc.yaml").is_file():
        raise PipelineError(f"commit {commit[:7]} has no {lineage.place_in_git()}dvc.yaml")
    return project


def run_elsewhere(commit: str, folder: Path, environment: Mapping[str, str] | None = None) -> Path:
    """Check a commit out into a new folder, and have the pipeline's outputs there.

    What DVC's cache has of them is taken from it; the rest is made as that commit makes it.
    Returns the project's folder in the checkout.

    Raises:
        PipelineError: If the commit is unknown, its dvc.lock is stale, or its pipeline fails.
    """
    cache = Path(run("dvc", "cache", "dir").strip()).resolve()
    project = check_out(commit, folder)
    run("dvc", "cache", "dir", "--local", str(cache), folder=project)
    if found := stale(project):
        raise PipelineError(f"dvc.lock of commit {commit[:7]} is stale: {found[0]}")
    run("dvc", "repro", folder=project, environment=environment, show=True)
    return project


def run_again(folder: Path) -> list[str]:
    """Run the pipeline in a clean clone; returns the outputs that are not the same, byte for byte.

    Raises:
        PipelineError: If the folder exists, or the pipeline fails.
    """
    project = check_out(lineage.head(), folder)
    run("dvc", "repro", folder=project, show=True)
    return differing_outputs(Path(), project)


def differing_outputs(folder: Path, other: Path) -> list[str]:
    """The outputs of the pipeline that two checkouts do not have alike, byte for byte."""

    def contents(root: Path) -> dict[str, str]:
        return {
            file.relative_to(root).as_posix(): lineage.file_sha256(file)
            for name in OUTPUTS
            for file in [root / name, *(root / name).rglob("*")]
            if file.is_file() and file.name != ".gitignore"
        }

    ours, theirs = contents(folder), contents(other)
    return sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))


def side(folder: Path) -> change.Side:
    """What the pipeline wrote in a checkout; what it did not write is left out.

    Raises:
        PipelineError: If it is no git checkout.
    """
    commit = lineage.git("-C", str(folder), "rev-parse", "HEAD")
    if not commit:
        raise PipelineError(f"{folder} is not a git checkout with a commit")
    model = folder / MODEL_FILE
    details = _read(folder / "metrics/evaluate_details.json").get("figures", {})
    samples = folder / "samples/names.csv"
    curve = folder / "plots/learning_curve.csv"
    return change.Side(
        commit,
        lineage.file_sha256(model) if model.is_file() else "",
        figures={
            key: Estimate(figure["value"], figure.get("low"), figure.get("high"))
            for key, figure in details.items()
            if figure.get("value") is not None
        },
        counts={
            key: float(value)
            for key, value in _read(folder / "metrics/prepare.json").items()
            if isinstance(value, int | float)
        },
        params=flat(read_yaml((folder / "params.yaml").read_text("utf-8"))),
        validation=pd.read_csv(curve)["validation"].tolist() if curve.is_file() else [],
        names=read_name_table(samples, "sample")["name"].head(change.NAMES_SHOWN).tolist()
        if samples.is_file()
        else [],
    )


def changed(before: Path, after: Path, bootstrap: Bootstrap) -> change.Change:
    """What changed from one checkout in which the pipeline has run to a later one.

    The models are compared on the test names of the later one. What `before` lacks is said; it
    may be no folder at all.

    Raises:
        PipelineError: If one of them is no git checkout.
    """
    before = project_in(before)
    sides = side(before) if before.exists() else change.Side(NO_COMMIT, ""), side(after)
    paired, why = _paired(before, after, bootstrap)
    return change.Change(*sides, paired, why)


def _paired(before: Path, after: Path, bootstrap: Bootstrap) -> tuple[Comparison | None, str]:
    if not (before / MODEL_FILE).is_file():
        return None, "no model"
    try:
        old = load_model(before / MODEL_FILE)
    except ModelFileError:
        return None, "format"
    new = load_model(after / MODEL_FILE)
    try:
        test = load_held_out(after / "data/prepared", "test", new)
    except ArtifactError:
        return None, "prepared"
    if not len(test):
        return None, "prepared"
    if num_learnt([old, new], decoded(test, new.vocabulary)):
        return None, "learnt"
    return compare(new, old, test, bootstrap), ""


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, made_by="evaluate") if path.is_file() else {}
