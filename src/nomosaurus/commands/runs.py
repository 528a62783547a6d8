"""`summary`, `runs`, `sync`, `backfill` and `promote`: results, MLflow and the champion."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.cells import cell_len, set_cell_size

from nomosaurus.commands import shown
from nomosaurus.commands.names import DEFAULT_MODEL
from nomosaurus.errors import one_line_errors
from nomosaurus.files import in_project

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
@one_line_errors()
@in_project
def summary() -> None:
    """Show the results of the last `dvc repro`."""
    from nomosaurus.files import read_checked, read_name_table
    from nomosaurus.report.metrics import DETAILS, PREPARED
    from nomosaurus.report.page import estimates

    prepared = read_checked(Path("metrics/prepare.json"), PREPARED, "prepare")
    details = read_checked(Path("metrics/evaluate_details.json"), DETAILS, "evaluate")
    figures = estimates(details)
    drawn = read_name_table(Path("samples/names.csv"), "sample", ("name", "new")).head(20)
    console = shown.console()
    names = [shown.isolated(name, console) for name in drawn["name"]]
    table = shown.columns(("", "perplexity", "95 % interval"), numbers=("perplexity",))
    table.title, table.title_justify = "On names it never saw", "left"

    def row(label: str, key: str) -> None:
        figure = figures[key]
        known = figure.low is not None and figure.high is not None
        interval = f"{figure.low:.3f} to {figure.high:.3f}" if known else "too few names"
        table.add_row(label, f"{figure.known:.3f}", interval)

    row("this model", "perplexity")
    row("its networks without the n-gram", "network_perplexity")
    row("the n-gram alone (Kneser-Ney)", "baseline_perplexity")
    console.print()
    console.print(table)
    console.print(
        f"\nA name it writes is new with probability {figures['novelty'].known:.3f} "
        f"(learnt from {prepared['names_train']:,} names, tested on {prepared['names_test']:,}).",
    )
    kind = "new names" if drawn["new"].all() else "names"
    console.print(f"\n{len(names)} {kind} (samples/names.csv has all):\n")
    width = max(cell_len(name) for name in names) + 2
    columns = max(1, 78 // width)
    for start in range(0, len(names), columns):
        cells = [set_cell_size(name, width) for name in names[start : start + columns]]
        console.print("  " + "".join(cells).rstrip())
    console.print(
        "\nNext:\n"
        "  read why to believe it           report.html\n"
        "  play with it in a browser        play.html\n"
        "  compare runs in the MLflow UI    make ui\n"
        "  more names                       .venv/bin/nomosaurus generate -n 50 --seed 2\n"
        "  learn your own list              set data.path in params.yaml, then make repro",
    )


@commands.command()
@one_line_errors()
@in_project
def runs(
    commit: Annotated[
        str,
        typer.Option(
            help="Only runs of this commit (a hash, branch or tag): started there, or of the "
            "model that its dvc.lock names."
        ),
    ] = "",
    experiment: Annotated[str, typer.Option(help="Only runs of this DVC experiment.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the runs in MLflow, latest first.

    \b
    Examples:
      nomosaurus runs
      nomosaurus runs --commit HEAD
      nomosaurus runs --experiment gru
    """
    if commit and experiment:
        raise typer.BadParameter("give --commit or --experiment, not both")
    from nomosaurus.tracking.runs import recorded_runs

    found = recorded_runs(commit, experiment)
    if as_json:
        for run in found:
            print(json.dumps(asdict(run), ensure_ascii=False))
        return
    table = shown.columns(
        ("run", "state", "perplexity", "gain", "cell", "list", "commit", "", "started"),
        numbers=("perplexity", "gain"),
    )
    for run in found:
        table.add_row(
            run.name,
            run.state.lower(),
            *("" if x is None else f"{x:.3f}" for x in (run.perplexity, run.gain_nats)),
            run.cell,
            run.list,
            run.commit[:7],
            "dirty" if run.dirty == "true" else "",
            run.started,
        )
    shown.console().print(table)


@commands.command()
@one_line_errors()
@in_project
def sync() -> None:
    """Send MLflow the records it missed while it was out of reach.

    Stages that log to MLflow do so by themselves. If this checkout's model lacks a run, it
    gets one.
    """
    from nomosaurus.tracking.runs import sync as send_what_was_missed

    line = ""
    for line in send_what_was_missed():
        print(line)
    if not line:
        print("nothing was missed")


@commands.command()
@one_line_errors()
@in_project
def backfill() -> None:
    """Fill a new MLflow store from what git and DVC hold.

    The models of the checked-out commit and of each DVC experiment get the runs they lack,
    with params, losses, figures, plots and samples.
    """
    from nomosaurus.tracking.backfill import backfill as make_missing_runs

    for name, outcome in make_missing_runs():
        print(f"{name}: {outcome}")


NOT_PROMOTED = 3


@commands.command()
@one_line_errors()
@in_project
def promote(
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make the former champion the champion again.")
    ] = False,
    other_test: Annotated[
        bool,
        typer.Option(
            "--other-test",
            help="Compare even if the test names are not those that the champion was judged on, "
            "as when the list has grown. Both are judged on those of this checkout.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the verdict and leave the champion as it is.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the verdict here, as Markdown.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="The model file, which has a run.", show_default=DEFAULT_MODEL.as_posix()
        ),
    ] = None,
) -> None:
    """Make this checkout's model the champion, which is served, if it earns it.

    Its run is found by the model's content and registered as the challenger. It must come
    from a clean commit, meet the floors in params.yaml, and beat the champion on the same test
    names: the 95 % interval of what it saves must lie above promote.margin_nats. The first
    champion only has to meet the floors. Every change of champion is a line in
    promotions.jsonl.

    \b
    Exit code: 0 promoted, 3 not promoted, 1 an error, 2 a wrong option.

    \b
    Examples:
      nomosaurus promote --markdown verdict.md
      nomosaurus promote --rollback
    """
    if rollback and (markdown or other_test or dry_run):
        raise typer.BadParameter("--rollback goes with --json alone")
    from torch import set_num_threads

    from nomosaurus.files import write_text
    from nomosaurus.params import load_params
    from nomosaurus.serving import registry

    params = load_params(Path("params.yaml"))
    log = Path("promotions.jsonl")
    if rollback:
        event = registry.roll_back(params.promote.registered_model, log)
        print(event.as_json() if as_json else f"{params.promote.registered_model}: {event.why}")
        return
    set_num_threads(params.train.num_threads)
    verdict = registry.promote(
        model or DEFAULT_MODEL,
        Path("data/prepared"),
        params,
        log,
        other_test=other_test,
        dry_run=dry_run,
    )
    print(json.dumps(verdict.as_dict(), indent=2, ensure_ascii=False) if as_json else verdict)
    if markdown:
        write_text(markdown, verdict.as_markdown())
    if not verdict.promoted:
        raise typer.Exit(NOT_PROMOTED)
