"""The pipeline in other checkouts of the same repository, and what came of it there."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from nomosaurus.errors import ArtifactError, ModelFileError, PipelineError, in_one_line
from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.comparison import compare, decoded, num_learnt
from nomosaurus.evaluation.estimate import Comparison, Estimate
from nomosaurus.files import damaged, read_checked, read_name_table, read_table
from nomosaurus.model.file import load_held_out, load_model
from nomosaurus.report.metrics import FIGURES, SOME_DETAILS
from nomosaurus.tracking import lineage
from nomosaurus.tracking.lock import MODEL_FILE, flat, missing_sources, read_yaml, stale
from nomosaurus.tracking.programs import run
from nomosaurus.workflows import change

COMMITTED = ("dvc.lock", "metrics", "plots", "samples")
"""What git keeps of what the pipeline writes."""
OUTPUTS = (*COMMITTED, MODEL_FILE, "data/prepared", "report.html", "play.html")
"""All of it."""
NO_COMMIT = "0" * 40  # as git writes it
CACHE = "cache-of-the-first"
"""What a second clone calls the first one's cache, which it takes for a remote."""


def pull() -> str:
    """Get what DVC tracks from its remote, if there is one; returns what came of it.

    What stages make can be made again, so a remote that lacks it only costs time.

    Raises:
        PipelineError: If what a stage reads and none makes, such as a list, is nowhere to be had.
    """
    said = "DVC has no remote here; nothing to pull"
    if _has_remote():
        try:
            run("dvc", "pull", "--allow-missing")
            said = "pulled from DVC's remote"
        except PipelineError as error:
            said = f"warning: {error}"
    pull_sources()
    return said


def pull_sources(folder: Path = Path()) -> list[str]:
    """Have what stages read and DVC tracks, such as a list; returns what was missing.

    It comes from DVC's cache, or else from its remote.

    Raises:
        PipelineError: If neither has it.
    """
    missing = missing_sources(folder)
    if missing:
        has_remote = _has_remote(folder)
        try:
            run("dvc", "pull" if has_remote else "checkout", *missing, folder=folder)
        except PipelineError as error:
            why = f"its remote does not give it: {error}"
            if not has_remote:
                why = (
                    "its content is not in DVC's cache, and DVC has no remote here: where the "
                    'content is, run "dvc remote add --default", commit .dvc/config, and "dvc push"'
                )
            raise PipelineError(f"{missing[0]} is tracked by DVC, but {why}") from None
    return missing


def push() -> str:
    """Send what dvc.lock names to DVC's remote, if there is one; returns what came of it.

    Raises:
        PipelineError: If the remote refuses.
    """
    if not _has_remote():
        return "DVC has no remote here; nothing to push"
    run("dvc", "push")
    return "pushed to DVC's remote"


def check_push() -> str:
    """Whether DVC's remote, if there is one, can be written to: asked before hours of training.

    A small file of always the same name is written there, beside those that DVC keeps, and stays.

    Raises:
        PipelineError: If the remote refuses.
    """
    if not _has_remote():
        return "DVC has no remote here; nothing will be pushed"
    from dvc.repo import Repo

    try:
        with Repo() as repo, TemporaryDirectory() as folder:
            store = repo.cloud.get_remote(command="push").odb
            note = Path(folder) / "can-be-written-to"
            note.write_text("written by: nomosaurus ci push --check\n")
            store.fs.makedirs(store.path, exist_ok=True)
            store.fs.put_file(str(note), store.fs.join(store.path, note.name))
    except Exception as error:  # each kind of remote has its own
        raise PipelineError(f"DVC's remote cannot be written to: {in_one_line(error)}") from None
    return "DVC's remote can be written to"


def _has_remote(folder: Path = Path()) -> bool:
    return bool(run("dvc", "remote", "list", folder=folder).strip())


def run_again(folder: Path) -> list[str]:
    """Run the pipeline in a clean clone; returns the outputs that differ from those here.

    Of DVC's cache the clone gets what stages read, such as a list, and nothing that they made.

    Raises:
        PipelineError: If the clone cannot be made, or its pipeline fails.
    """
    project = check_out(lineage.head(), folder)
    cache = str(Path(run("dvc", "cache", "dir").strip()).resolve())
    run("dvc", "remote", "add", "--quiet", "--local", "--default", CACHE, cache, folder=project)
    pull_sources(project)
    run("dvc", "repro", folder=project, show=True)
    return differing_outputs(Path(), project)


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
    if _has_remote():
        _share_remotes(project)
    if found := stale(project):
        raise PipelineError(f"dvc.lock of commit {commit[:7]} is stale: {found[0]}")
    pull_sources(project)
    run("dvc", "repro", folder=project, environment=environment, show=True)
    return project


def _share_remotes(folder: Path) -> None:
    """Have another checkout use the remotes of this one: they may be newer than its commit."""
    from dvc.repo import Repo

    with Repo() as repo, Repo(str(folder)) as other, other.config.edit("local") as local:
        local["remote"] = repo.config["remote"]
        if default := repo.config["core"].get("remote"):
            local.setdefault("core", {})["remote"] = default


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
    metrics = folder / "metrics"
    path = metrics / "evaluate_details.json"
    figures = read_checked(path, SOME_DETAILS, "evaluate").figures if path.is_file() else {}
    path = metrics / "prepare.json"
    counts = read_checked(path, FIGURES, "prepare") if path.is_file() else {}
    samples = folder / "samples/names.csv"
    curve = folder / "plots/learning_curve.csv"
    return change.Side(
        commit,
        lineage.file_sha256(model) if model.is_file() else "",
        figures={
            key: Estimate(figure["value"], figure.get("low"), figure.get("high"))
            for key, figure in figures.items()
            if figure["value"] is not None
        },
        counts={key: value for key, value in counts.items() if value is not None},
        params=flat(read_yaml((folder / "params.yaml").read_text("utf-8"))),
        validation=_losses(curve) if curve.is_file() else [],
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


def _losses(curve: Path) -> list[float]:
    table = read_table(curve, "train")
    if "validation" not in table or not pd.api.types.is_numeric_dtype(table["validation"]):
        raise damaged(curve, "it has no column 'validation' of numbers", "train")
    return table["validation"].tolist()
