"""The `nomosaurus` command. Heavy imports wait until a command needs them."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, fields
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from unicodedata import bidirectional

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from nomosaurus.commands.ci import ci
from nomosaurus.errors import ListError, one_line_errors
from nomosaurus.files import read_json, read_name_table

if TYPE_CHECKING:
    import numpy as np

    from nomosaurus.evaluation.scoring import Assessment
    from nomosaurus.model.trained import ScoredName, TrainedModel

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Write new names like those of a list, and score names, with the network that "
    "`dvc repro` trained on the list.",
)
app.add_typer(ci, name="ci")

ModelOption = Annotated[
    Path, typer.Option("--model", help="The model file; one file is the whole model.")
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object a line: name, log_prob (nats, end counted), chars "
        "(letters + 1), bits_per_char, new.",
    ),
]
GivenOption = Annotated[
    str | None,
    typer.Option(
        help="The category, if the model learnt with data.condition; `nomosaurus info` names them."
    ),
]
DEFAULT_MODEL = Path("models/model.safetensors")

SCORED_TOGETHER = 1_000
"""Names of a long list that are read, scored and printed at a time."""


@app.command()
@one_line_errors()
def generate(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many names.")] = 10,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same names; another, others.")
    ] = 0,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=100,
            help="Below 1 closer to the list's habits, above 1 wilder; 1 is the model itself.",
        ),
    ] = 1.0,
    top_k: Annotated[
        int, typer.Option(min=0, help="Draw each character from the k most likely; 0 for all.")
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option(
            min=0.0001,
            max=1,
            help="Draw each character from the most likely that together reach this probability.",
        ),
    ] = 1.0,
    prefix: Annotated[str, typer.Option(help="What every name begins with.")] = "",
    min_length: Annotated[int, typer.Option(min=1, help="The fewest characters of a name.")] = 1,
    max_length: Annotated[
        int, typer.Option(min=0, help="The most characters; 0 for the model's own limit.")
    ] = 0,
    match: Annotated[
        str,
        typer.Option(
            help="A regular expression that every name matches somewhere: 'us$' for an ending, "
            "'saur' for a part."
        ),
    ] = "",
    avoid: Annotated[
        Path | None,
        typer.Option(
            help="UTF-8 text, a line for each name not wanted or already taken; * stands for "
            "any characters, so *rex* is any name with rex in it."
        ),
    ] = None,
    min_distance: Annotated[
        int,
        typer.Option(min=0, help="The fewest edits between a name and any that was learnt."),
    ] = 0,
    new: Annotated[
        bool, typer.Option("--new", help="Leave out names that are on the list.")
    ] = False,
    unique: Annotated[bool, typer.Option("--unique", help="Never the same name twice.")] = False,
    given: GivenOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="CSV with a header, the columns as with --json.")
    ] = False,
    model: ModelOption = DEFAULT_MODEL,
) -> None:
    """Write names, one a line.

    The first ten of -n 1000 are the ten of -n 10. What is asked for changes which names
    come, not how likely one is against another. Standard error says how many were drawn
    and why others were left out.

    \b
    Examples:
      nomosaurus generate -n 20 --new --unique
      nomosaurus generate --prefix tyr --temperature 0.8 --seed 7
      nomosaurus generate -n 100 --new --unique --prefix tyr --match 'us$' \\
        --min-length 8 --max-length 14 --min-distance 3
    """
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    from nomosaurus.generation.generator import NameGenerator
    from nomosaurus.generation.request import Request, Tally
    from nomosaurus.training.progress import names_progress

    request = Request(
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        prefix=prefix,
        min_length=min_length,
        max_length=max_length,
        match=match,
        avoid=tuple(_lines(avoid)) if avoid else (),
        min_distance=min_distance,
        new=new,
        unique=unique,
        given=given,
    )
    generator = NameGenerator(_load(model))
    tally = Tally()
    write = _writer("json" if as_json else "csv" if as_csv else "text")
    with names_progress(count) as progress:
        for name in generator.stream(count, request, tally):
            write(name)
            progress(tally.kept)
    if tally.left_out:
        print(tally, file=sys.stderr)


@app.command()
@one_line_errors()
def score(
    names: Annotated[list[str] | None, typer.Argument(help="Names to score.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="UTF-8 text, a name a line.")] = None,
    given: GivenOption = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a line: what generate gives, percentile_train, "
            "percentile_held_out, rank (null where it is only known to be more than rank_low), "
            "rank_low, rank_high, nearest (name, distance), surprise (character, empty for the "
            "end; place; bits).",
        ),
    ] = False,
    model: ModelOption = DEFAULT_MODEL,
) -> None:
    """Say what to think of names, in the order given.

    Names come from the arguments, from --file, or from standard input, a name a line.

    A name sounds as typical as 70 % of the list's names if so many of them have as many bits
    per character or more. Its rank is its place among all names that the model can write,
    the likeliest first, estimated from 10,000 drawn ones.

    \b
    Examples:
      nomosaurus score diplosaurio
      nomosaurus score --json < names.txt
    """
    if names and file:
        raise typer.BadParameter("give names or --file, not both")
    if not names and not file and sys.stdin.isatty():
        raise typer.BadParameter("give names, --file, or names on standard input")
    from nomosaurus.evaluation.scoring import Ranks, assess
    from nomosaurus.names.reading import check_encoding
    from nomosaurus.training.progress import names_progress

    for name in names or []:
        check_encoding(name)
    trained = _load(model)
    lines = iter(names) if names else _lines(file)
    blank = 0
    unknown: set[str] = set()

    def blocks() -> Iterator[list[str]]:
        nonlocal blank
        while read := list(islice(lines, SCORED_TOGETHER)):
            block = [line for line in read if trained.normalise(line)]
            blank += len(read) - len(block)
            unknown.update(trained.unknown_characters(block))
            if block:
                yield block

    waiting = blocks()
    first = next(waiting, None)
    if first is None:
        raise ListError("there is no name to score; give at least one that is not blank")
    with Console(stderr=True).status("drawing 10,000 names to compare with"):
        ranks = Ranks.draw(trained, given)
    widths: list[int] = []
    done = 0
    with names_progress(len(names) if names else None) as progress:
        for block in chain([first], waiting):
            assessed = assess(trained, block, ranks, given)
            if as_json:
                for name in assessed:
                    print(_json_line(name))
            elif len(assessed) == 1 and not widths:
                _print_assessment(assessed[0], trained)
            else:
                widths = _print_assessments(assessed, widths)
            done += len(block)
            progress(done)
    if blank:
        print(f"warning: empty lines left out: {blank:,}", file=sys.stderr)
    if unknown:
        shown = " ".join(repr(character) for character in sorted(unknown)[:20])
        print(f"warning: no learnt name has the characters {shown}", file=sys.stderr)


def _print_assessment(name: "Assessment", model: "TrainedModel") -> None:
    """One name, in words."""
    held_out, learnt = len(model.list_bits.validation), len(model.list_bits.train)
    if name.rank is None:
        rank = f"more than {_large(name.rank_low)}"
    else:
        low, high = _large(name.rank_low), _large(name.rank_high)
        rank = f"about {_large(name.rank)} (95 % interval {low} to {high})"
    surprise = name.surprise
    what = _visible(surprise.character) if surprise.character else "its end"
    console = _console()
    rows = {
        "on the list": "no" if name.new else "yes",
        "likelihood": f"log-probability {name.log_prob:.2f}, "
        f"{name.bits_per_char:.2f} bits a character",
        "it sounds": f"as typical as {name.percentile_held_out:.0f} % of the {held_out:,} names "
        f"held out, and as {name.percentile_train:.0f} % of the {learnt:,} learnt",
        "rank": f"{rank} among all names that the model can write",
        "nearest learnt": ", ".join(
            f"{_isolated(near.name, console)} ({near.distance})" for near in name.nearest
        ),
        "surprise": f"{_isolated(what, console)} at place {surprise.place} costs most, "
        f"{surprise.bits:.1f} bits",
    }
    console.print(_isolated(name.name, console), soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in rows.items():
        table.add_row(f"  {key}", value)
    console.print(table)


def _print_assessments(names: "list[Assessment]", widths: list[int]) -> list[int]:
    """Many names, a line each; gives the widths of the columns, for the names that follow.

    Args:
        names: The names.
        widths: Empty for the first names, which get headings.
    """
    console = _console()
    rows = [
        (
            _isolated(name.name, console),
            f"{name.log_prob:.2f}",
            f"{name.bits_per_char:.2f}",
            f"{name.percentile_held_out:.0f} %",
            f"> {_large(name.rank_low)}" if name.rank is None else _large(name.rank),
            "yes" if name.new else "no",
            f"{_isolated(_visible(name.surprise.character) or 'end', console)} "
            f"{name.surprise.bits:.1f}",
            f"{_isolated(name.nearest[0].name, console)} ({name.nearest[0].distance})",
        )
        for name in names
    ]
    if not widths:
        headings = ("name", "log-prob", "bits/char", "typical", "rank", "new", "surprise")
        rows.insert(0, (*headings, "nearest (edits)"))
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - cell_len(cell))  # none where a later cell is wider
            cells.append(space + cell if 1 <= i <= 4 else cell + space)
        print("  ".join(cells).rstrip())
    return widths


def _large(number: int) -> str:
    for size, word in ((15, None), (12, "trillion"), (9, "billion"), (6, "million")):
        if number >= 10**size:
            if word is None:
                digits, _, power = f"{number:.1e}".partition("e+")
                return f"{digits} x 10^{int(power)}"
            return f"{number / 10**size:.3g} {word}"
    return f"{number:,}"


@app.command()
@one_line_errors()
def explain(
    name: Annotated[str, typer.Argument(help="Any name.")],
    network: Annotated[
        int, typer.Option(min=1, help="Which of the model's networks to look into.")
    ] = 1,
    given: GivenOption = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the activations: a file that ends in .svg, .png or .pdf. Time goes "
            "across, units down, sorted by the step at which each is strongest."
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object: a step each with x, a (all of a_t), y (all of y_t), target, "
            "bits, forgetful_bits, model_bits; empty x or target is the boundary.",
        ),
    ] = False,
    model: ModelOption = DEFAULT_MODEL,
) -> None:
    """Show step by step what a network reads, remembers and expects in a name.

    At each step it reads x_t, has the activation a_t, and expects y_t; then comes a
    character, which costs so many bits: with its memory, had it forgotten a_{t-1}, and
    for the whole model. If the names have categories and none is given, it is the one that
    the model finds likeliest for the name.

    \b
    Examples:
      nomosaurus explain diplosaurio
      nomosaurus explain diplosaurio --plot diplosaurio.svg
    """
    from nomosaurus.evaluation.explain import explain as explain_name
    from nomosaurus.names.reading import check_encoding

    check_encoding(name)
    explanation = explain_name(_load(model), name, network, given)
    if plot:
        from nomosaurus.report.pictures import draw_activations, save_picture

        save_picture(draw_activations([explanation]), plot)
        print(f"{plot} written", file=sys.stderr)
    if as_json:
        print(json.dumps(explanation.as_dict(), ensure_ascii=False))
        return
    console = _console()
    table = Table(box=None, pad_edge=False)
    for heading in ("t", "x_t", "a_t", "y_t", "came", "bits", "forgetting", "model"):
        is_number = heading in ("t", "bits", "forgetting", "model")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
    units = max(4, min(24, console.width - 72))  # the other columns take 72

    def shown(character: str) -> str:
        return _isolated(_visible(character), console)

    strips = _strips(explanation.activations, units)
    for t, (step, strip) in enumerate(zip(explanation.steps, strips, strict=True), start=1):
        likely = explanation.most_likely(step, 3)
        table.add_row(
            str(t),
            shown(step.x) or "start",
            strip,
            ", ".join(f"{shown(c) or 'end'} {p:.0%}" for c, p in likely),
            shown(step.target) or "end",
            f"{step.bits:.2f}",
            f"{step.forgetful_bits:.2f}",
            f"{step.model_bits:.2f}",
        )
    steps = explanation.steps
    totals = [
        sum(getattr(step, key) for step in steps)
        for key in ("bits", "forgetful_bits", "model_bits")
    ]
    table.add_row("", "", "", "", "all", *(f"{total:.2f}" for total in totals))
    console.print(table)
    params = explanation.network.params
    print(
        f"\nx_t is read, a_t remembered (the {len(strips[0])} of {params.hidden_size} units that "
        "move most, ▁ for -1 to █ for 1),\ny_t expected by network "
        f"{network} ({params.cell}). What came cost it so many bits; then, had it forgotten\n"
        "a_{t-1} there; then, for the whole model."
    )
    if explanation.category is not None:
        chosen = "as given" if given is not None else "the likeliest for this name"
        print(f"All of it for the category {explanation.category!r}, {chosen}.")


def _visible(character: str) -> str:
    return "␠" if character == " " else character


def _isolated(text: str, console: Console) -> str:
    """Text whose letters run from right to left, kept apart from the line around it.

    A terminal would else turn the numbers beside it around too. Unicode Standard Annex 9:
    first strong isolate and pop directional isolate. In files and pipes text stays as it is.
    """
    if console.is_terminal and any(bidirectional(c) in ("R", "AL") for c in text):
        return f"\u2068{text}\u2069"
    return text


def _strips(activations: "np.ndarray", units: int) -> list[str]:
    """The units that move most, a block each, for every step; activations (T, H)."""
    moving = sorted(activations.std(axis=0).argsort(kind="stable")[::-1][:units])
    blocks = "▁▂▃▄▅▆▇█"
    return [
        "".join(blocks[min(7, int((a + 1) / 2 * 8))] for a in row) for row in activations[:, moving]
    ]


@app.command()
@one_line_errors()
def info(model: ModelOption = DEFAULT_MODEL) -> None:
    """Say what a model file holds, and how it was trained."""
    from nomosaurus.tracking.lineage import file_sha256

    trained = _load(model)
    recipe, mixture = trained.recipe, trained.mixture
    vocabulary = trained.vocabulary
    console = _console()
    rows = {
        "file": f"{model} ({model.stat().st_size:,} bytes)",
        "sha256": file_sha256(model),
        "networks": f"{recipe.model.members} {recipe.model.cell}, hidden_size "
        f"{recipe.model.hidden_size}, num_layers {recipe.model.num_layers}, "
        f"{mixture.num_parameters:,} parameters in all",
        "n-gram": f"modified Kneser-Ney {mixture.ngram.order}-gram, "
        f"weight {mixture.ngram_weight.short:g} in the mixture where it knows none of the "
        f"context, {mixture.ngram_weight.long:g} where it knows all",
        "list": f"{recipe.data.path}: {len(trained.known_hashes):,} names, "
        f"{len(trained.train):,} of them to learn from",
        "characters": f"{len(vocabulary.characters):,}: "
        + " ".join(_isolated(_visible(c), console) for c in vocabulary.characters[:60])
        + (" …" if len(vocabulary.characters) > 60 else ""),
        "training": f"seed {recipe.seed}; "
        + ", ".join(
            f"network {i} kept epoch {best.number} "
            f"(validation {best.validation_nats:.4f} nats/char)"
            for i, best in enumerate(trained.best_epochs, start=1)
        ),
    }
    if vocabulary.categories:
        counts = Counter(trained.train.categories.tolist())
        rows["categories"] = f"{recipe.data.condition}: " + ", ".join(
            f"{category!r} {counts[i]:,}" for i, category in enumerate(vocabulary.categories)
        )
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in rows.items():
        table.add_row(key, value)
    console.print(table)


@app.command()
@one_line_errors()
def summary() -> None:
    """Show what the last `dvc repro` came to.

    Run it in the repository's root.
    """
    prepared = read_json(Path("metrics/prepare.json"), made_by="prepare")
    details = read_json(Path("metrics/evaluate_details.json"), made_by="evaluate")
    figures = details["figures"]
    drawn = read_name_table(Path("samples/names.csv"), made_by="sample").head(20)
    console = _console()
    names = [_isolated(name, console) for name in drawn["name"]]
    table = Table(title="On names it never saw", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    table.add_column("perplexity", justify="right")
    table.add_column("95 % interval")

    def row(label: str, key: str) -> None:
        value, low, high = (figures[key][part] for part in ("value", "low", "high"))
        interval = "too few names" if low is None else f"{low:.3f} to {high:.3f}"
        table.add_row(label, f"{value:.3f}", interval)

    row("this model", "perplexity")
    row("its networks without the n-gram", "network_perplexity")
    row("the n-gram alone (Kneser-Ney)", "baseline_perplexity")
    console.print()
    console.print(table)
    console.print(
        f"\nA name it writes is new with probability {figures['novelty']['value']:.3f} "
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
        "  compare runs in the MLflow UI    make ui\n"
        "  more names                       .venv/bin/nomosaurus generate -n 50 --new --seed 2\n"
        "  learn your own list              set data.path in params.yaml, then make repro",
    )


@app.command()
@one_line_errors()
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
    """List the runs in MLflow, the latest first.

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
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "perplexity", "gain", "cell", "list", "commit", "", "started"):
        is_number = heading in ("perplexity", "gain")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
    for run in found:
        table.add_row(
            run.name,
            run.state.lower(),
            *("" if x is None else f"{x:.3f}" for x in (run.perplexity, run.gain_nats)),
            run.cell,
            run.list,
            run.commit[:7],
            " ".join(["dirty"] * (run.dirty == "true") + ["tainted"] * bool(run.tainted)),
            run.started,
        )
    _console().print(table)


@app.command()
@one_line_errors()
def sync() -> None:
    """Send MLflow what it missed while it was out of reach.

    A stage does the same before it logs anything of its own.
    """
    from nomosaurus.tracking.runs import sync as send_what_was_missed

    lines = 0
    for lines, line in enumerate(send_what_was_missed(), start=1):  # noqa: B007 (counted)
        print(line)
    if not lines:
        print("nothing was missed")


@app.command()
@one_line_errors()
def backfill() -> None:
    """Make the runs that MLflow lacks from what git and DVC hold.

    For a store that is new: the checked-out commit's model and that of each DVC experiment
    get a run with params, losses, figures, plots and samples.
    """
    from nomosaurus.tracking.backfill import backfill as make_missing_runs

    for name, outcome in make_missing_runs():
        print(f"{name}: {outcome}")


@app.command()
@one_line_errors()
def relocate() -> None:
    """After copying mlflow.db and mlartifacts: say in mlflow.db where they lie now.

    Run it in the folder that holds both.
    """
    from nomosaurus.tracking.relocation import relocate as relocate_store

    former, changed = relocate_store(Path())
    print(f"{changed} addresses led to {former}" if changed else "all is in its place")


NOT_PROMOTED = 3


@app.command()
@one_line_errors()
def promote(
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make the former champion the champion again.")
    ] = False,
    other_test: Annotated[
        bool,
        typer.Option(
            "--other-test",
            help="Compare although the test names are not those that the champion was judged on, "
            "as when the list has grown. Both are judged on those of this checkout.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say the verdict, and leave the champion as it is.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the verdict here too, as Markdown.")
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
) -> None:
    """Make this checkout's model the champion that is served, if it earns it.

    Its run is found by the model's content and registered as the challenger. It must come
    from a clean commit, keep above the floors in params.yaml, and beat the champion on the same
    test names: the 95 % interval of what it saves must lie above promote.margin_nats.
    The first one needs only the floors. Every change of champion is a line in
    promotions.jsonl. Run it in the repository's root.

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
        model, Path("data/prepared"), params, log, other_test=other_test, dry_run=dry_run
    )
    print(json.dumps(verdict.as_dict(), indent=2, ensure_ascii=False) if as_json else verdict)
    if markdown:
        write_text(markdown, verdict.as_markdown())
    if not verdict.promoted:
        raise typer.Exit(NOT_PROMOTED)


def _load(path: Path) -> "TrainedModel":
    from torch import set_num_threads

    from nomosaurus.model.file import load_model

    model = load_model(path)
    set_num_threads(model.recipe.train.num_threads)  # as in the stages, for the same names
    return model


def _writer(kind: str) -> Callable[["ScoredName"], None]:
    """What prints a name as text, as a JSON object or as a row of CSV, after its header."""
    if kind == "json":
        return lambda name: print(_json_line(name))
    if kind == "text":
        return lambda name: print(name.name)
    from nomosaurus.model.trained import ScoredName

    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(field.name for field in fields(ScoredName))
    return lambda name: table.writerow(astuple(name))


def _json_line(name: "ScoredName") -> str:
    return json.dumps(asdict(name), ensure_ascii=False)


def _console() -> Console:
    """Standard output, for names as they are; without a terminal no line is folded."""
    plain = {"markup": False, "emoji": False, "highlight": False}
    console = Console(**plain)
    return console if console.is_terminal else Console(width=200, **plain)


def _lines(path: Path | None) -> Iterator[str]:
    """Lines of a file, or of standard input without one, as they are read."""
    from nomosaurus.names.reading import read_lines

    if path is None:
        yield from read_lines(sys.stdin.buffer, "standard input")
        return
    try:
        with path.open("rb") as stream:
            yield from read_lines(stream, str(path))
    except OSError as error:
        raise ListError(f"{path} cannot be read: {error.strerror}") from None
