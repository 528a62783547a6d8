"""`nomosaurus ci`: the commands that the workflows in .github/ call."""

import re
from pathlib import Path
from typing import Annotated

import typer

from nomosaurus import __version__
from nomosaurus.errors import PipelineError, one_line_errors
from nomosaurus.files import in_project

ci = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The commands that the workflows in .github/ call; they run on your machine too.",
)

AS_IT_IS = "as in params.yaml"
"""What a workflow's menu offers besides values."""


@ci.command("check-lock")
@one_line_errors()
@in_project
def check_lock() -> None:
    """Fail unless dvc.lock matches the code, the data and the params.

    A fresh clone is enough.
    """
    from nomosaurus.tracking.lock import stale

    if found := stale():
        for line in found:
            print(line)
        raise PipelineError(
            'dvc.lock is stale; run "make repro", and commit dvc.lock, metrics, plots and samples'
        )
    print("dvc.lock matches the code, the data and the params")


@ci.command()
@one_line_errors()
@in_project
def pull(
    sources: Annotated[
        bool, typer.Option("--sources", help="Only what stages read and none makes, as a list.")
    ] = False,
) -> None:
    """Pull what DVC tracks from its remote, if there is one."""
    from nomosaurus.workflows import checkouts

    if sources:
        missing = checkouts.pull_sources()
        print(f"pulled {', '.join(missing)}" if missing else "all that stages read is here")
    else:
        print(checkouts.pull())


@ci.command()
@one_line_errors()
@in_project
def push(
    check: Annotated[
        bool, typer.Option("--check", help="Only see whether the remote can be written to.")
    ] = False,
) -> None:
    """Push what dvc.lock names to the DVC remote, if there is one."""
    from nomosaurus.workflows import checkouts

    print(checkouts.check_push() if check else checkouts.push())


@ci.command()
@one_line_errors()
@in_project
def repeat(
    folder: Annotated[Path, typer.Argument(help="For a second clone; a new folder.")],
) -> None:
    """Run the pipeline again in a clean clone, and fail unless every output is the same.

    The bytes repeat on one machine; another processor may round differently.
    """
    from nomosaurus.workflows.checkouts import run_again

    if differ := run_again(folder):
        raise PipelineError(f"a second run gave other bytes: {', '.join(differ)}")
    print("a second run in a clean clone gave the same bytes for every output")


@ci.command()
@one_line_errors()
@in_project
def before(
    commit: Annotated[str, typer.Argument(help="A commit, as git takes it.")],
    folder: Annotated[Path, typer.Argument(help="For its checkout; a new folder.")],
) -> None:
    """Restore another commit's outputs beside this checkout, from DVC's cache or by training."""
    from nomosaurus.tracking.lineage import full_commit
    from nomosaurus.workflows.checkouts import run_elsewhere

    run_elsewhere(full_commit(commit), folder)


@ci.command()
@one_line_errors()
@in_project
def compare(
    folder: Annotated[Path, typer.Argument(help="A checkout of the commit before.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the values here too.")
    ] = None,
) -> None:
    """Report in Markdown what a change did: figures, params, learning curves, names.

    If both models exist, they are compared name by name on this checkout's test names.

    \b
    Example:
      nomosaurus ci before main .before
      nomosaurus ci compare .before
    """
    from torch import set_num_threads

    from nomosaurus.evaluation.bootstrap import Bootstrap
    from nomosaurus.files import write_text
    from nomosaurus.params import load_params
    from nomosaurus.workflows.checkouts import changed

    params = load_params(Path("params.yaml"))
    set_num_threads(params.train.num_threads)
    change = changed(folder, Path(), Bootstrap(params.evaluate.bootstrap_samples, params.seed))
    if json_file:
        write_text(json_file, change.as_json())
    print(change.as_markdown())


@ci.command()
@one_line_errors()
@in_project
def retrain(
    folder: Annotated[Path, typer.Argument(help="For the outcome; new or empty.")],
    cell: Annotated[str, typer.Option(help="model.cell; empty keeps that of params.yaml.")] = "",
    epochs: Annotated[str, typer.Option(help="train.max_epochs; the same.")] = "",
    names: Annotated[str, typer.Option("--list", help="data.path; the same.")] = "",
    assignments: Annotated[
        str, typer.Option("--set", help="Other params: model.hidden_size=64 seed=2.")
    ] = "",
) -> None:
    """Run the pipeline if anything changed, and judge the new model against the champion.

    It commits on a detached HEAD; "git switch -" leads back. The folder gets the outcome
    (unchanged, won or lost), a summary, and the commits as a git bundle.

    \b
    Example:
      nomosaurus ci retrain .retraining --cell gru --set 'model.hidden_size=64'
    """
    from torch import set_num_threads

    from nomosaurus.params import load_params
    from nomosaurus.workflows import retraining

    values = retraining.overrides(assignments)
    given = {"model.cell": cell, "train.max_epochs": epochs, "data.path": names}
    given = {key: text for key, text in given.items() if text not in ("", AS_IT_IS)}
    values |= retraining.typed(given)
    set_num_threads(load_params(Path("params.yaml")).train.num_threads)
    came = retraining.retrain(values, folder)
    print(came.summary)


@ci.command()
@one_line_errors()
@in_project
def release(
    folder: Annotated[Path, typer.Argument(help="For the files to publish; new or empty.")],
    repository: Annotated[
        str,
        typer.Option(
            envvar="GITHUB_REPOSITORY",
            help="OWNER/REPO on GitHub, against which people verify what they downloaded.",
        ),
    ],
    tag: Annotated[
        str, typer.Option(help="The tag: v and the version; any other is refused.")
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Only refuse what can be refused before training.")
    ] = False,
) -> None:
    """Write what a release publishes: model, model card, report, checksums, and its notes.

    Run it after "make repro". What is not committed, or does not match dvc.lock, is refused.

    \b
    Example:
      nomosaurus ci release release --repository OWNER/REPO
    """
    if tag and tag != f"v{__version__}":
        raise typer.BadParameter(
            f"--tag must be v{__version__}, as __version__ in src/nomosaurus/__init__.py has it, "
            f"got {tag}"
        )
    if not re.fullmatch(r"[\w-]+/[\w.-]+", repository, re.ASCII):
        raise typer.BadParameter(f"--repository must be OWNER/REPO, got {repository}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise typer.BadParameter(f"{folder} is not an empty folder")
    from nomosaurus.workflows.release import releasable_commit, write_release

    if check:
        print(f"commit {releasable_commit()[:7]} can be released as v{__version__}")
        return
    for path in write_release(folder, repository):
        print(path)
