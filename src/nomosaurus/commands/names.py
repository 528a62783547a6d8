"""`generate`, `score`, `explain` and `info`: the commands that need one model file."""

import atexit
import csv
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, fields
from inspect import Parameter, Signature, signature
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console

from nomosaurus.commands import shown
from nomosaurus.errors import (
    ListError,
    ModelFileError,
    PipelineError,
    one_line_errors,
    standard_error,
    visible,
)
from nomosaurus.files import project_root
from nomosaurus.params import MOST_SAMPLES, SampleSettings
from nomosaurus.serving.addresses import fetch, is_address

if TYPE_CHECKING:
    import numpy as np

    from nomosaurus.evaluation.scoring import Assessment
    from nomosaurus.generation.generator import NameGenerator
    from nomosaurus.model.trained import ScoredName, TrainedModel

commands = typer.Typer(rich_markup_mode=None)

DEFAULT_MODEL = Path("models/model.safetensors")
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FILE|ADDRESS",
        help="The model file, which is the whole model, or its address: https://..., or "
        "models:/NAME@champion in MLflow.",
        show_default=f"the project's {DEFAULT_MODEL.as_posix()}",
    ),
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
    str | None, typer.Option(help=SampleSettings.model_fields["given"].description)
]

SCORED_TOGETHER = 1_000
"""Names of a long list that are read, scored and printed at a time."""

LEGEND = """
bits/char  the cost of each character; lower sounds more like the list
typical    the share of the {held_out:,} held-out names that cost as many bits/char or more
rank       among all names that the model can write; estimated from 10,000 drawn names
new        not on the list
surprise   the character that costs most, and its bits
nearest    the nearest learnt name, and its distance in edits"""


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, for its `**settings`, an option for each sampling setting after its first."""
    options = []
    schema = SampleSettings.model_json_schema()["properties"]
    for name, field in SampleSettings.model_fields.items():
        kind, default, meaning = field.annotation, field.default, field.description
        if name == "avoid":
            kind, default, meaning = Path | None, None, f"UTF-8 text, a name a line. {meaning}"
        elif name == "prefix":
            kind, default, meaning = list[str], [], f"{meaning} Give it once for each."
        flag = name.replace("_", "-")
        option = typer.Option(
            default,
            f"--{flag}/--no-{flag}" if kind is bool else f"--{flag}",
            min=schema[name].get("minimum"),
            max=schema[name].get("maximum"),
            help=meaning,
        )
        options.append(
            Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=option, annotation=kind)
        )
    first, *others, _ = signature(command).parameters.values()
    command.__signature__ = Signature([first, *options, *others])  # type: ignore[attr-defined]
    return command


@commands.command()
@one_line_errors()
@with_settings
def generate(
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=MOST_SAMPLES, help="How many names.")
    ] = 10,
    as_json: JsonOption = False,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="CSV with a header: the columns as with --json, and the nearest learnt name with "
            "its distance in edits.",
        ),
    ] = False,
    guard: Annotated[
        bool,
        typer.Option(
            help="In CSV, put a ' before text that a spreadsheet would run: what begins with "
            "=, +, -, @, a tab or a line's end."
        ),
    ] = True,
    by_bits: Annotated[
        bool,
        typer.Option(
            "--sort", help="Once all are drawn, those first that read most like the list."
        ),
    ] = False,
    model: ModelOption = None,
    **settings: Any,
) -> None:
    """Write new names, one a line.

    Filters decide which names can appear, not their relative odds. Standard error says
    how many names were drawn and why others were left out. The first ten of -n 1000 are
    the ten of -n 10.

    \b
    Examples:
      nomosaurus generate -n 20 --temperature 0.9 --seed 7
      nomosaurus generate -n 100 --prefix tyr --match 'us$' \\
        --min-length 8 --max-length 14 --min-distance 3
    Plain draws from the model's own distribution:
      nomosaurus generate -n 20 --temperature 1 --no-new --no-unique
    """
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    from nomosaurus.files import guarded
    from nomosaurus.generation.generator import NameGenerator
    from nomosaurus.generation.request import Request, Tally

    avoid = settings["avoid"]
    request = Request(**settings | {"avoid": tuple(_lines(avoid)) if avoid else ()})
    generator = NameGenerator(_load(model))
    tally = Tally()
    kind = "json" if as_json else "csv" if as_csv else "text"
    write = _writer(kind, generator, guarded if guard else lambda cell: cell)
    drawn: list[ScoredName] = []
    try:
        with shown.names_progress(count) as progress:
            for name in generator.stream(count, request, tally):
                if by_bits:
                    drawn.append(name)
                else:
                    write(name)
                progress(tally.kept)
    finally:
        for name in sorted(drawn, key=lambda name: name.bits_per_char):
            write(name)
    if tally.left_out:
        print(tally, file=sys.stderr)


@commands.command()
@one_line_errors()
def score(
    names: Annotated[list[str] | None, typer.Argument(help="Names to score.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="UTF-8 text, a name a line.")] = None,
    given: GivenOption = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a line: the fields of generate --json, percentile_train, "
            "percentile_held_out, rank (null if it is only known to exceed rank_low), "
            "rank_low, rank_high, nearest (name, distance), surprise (character, empty for the "
            "end; place; bits).",
        ),
    ] = False,
    model: ModelOption = None,
) -> None:
    """Score names: how likely, how typical and how new they are.

    Names come from the arguments, from --file, or from standard input, a name a line.

    A name is as typical as 70 % of the held-out names if 70 % of them cost as many bits per
    character or more. Its rank is its place among all names that the model can write,
    likeliest first, estimated from 10,000 drawn names.

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

    trained = _load(model)
    lines = enumerate(names or _lines(file), start=1)
    blank = 0
    unknown: set[str] = set()

    def blocks() -> Iterator[list[str]]:
        nonlocal blank
        while read := list(islice(lines, SCORED_TOGETHER)):
            block = [line for number, line in read if trained.checked(line, number)]
            blank += len(read) - len(block)
            unknown.update(trained.unknown_characters(block))
            if block:
                yield block

    waiting = blocks()
    first = next(waiting, None)
    if first is None:
        raise ListError("there is no name to score; give at least one that is not blank")
    with Console(file=standard_error()).status("drawing 10,000 names to compare with"):
        ranks = Ranks.draw(trained, given)
    widths: list[int] = []
    done = 0
    with shown.names_progress(len(names) if names else None) as progress:
        for block in chain([first], waiting):
            assessed = assess(trained, block, ranks, given)
            if as_json:
                print(*map(_json_line, assessed), sep="\n")
            elif len(assessed) == 1 and not widths:
                _print_assessment(assessed[0], trained)
            else:
                widths = _print_assessments(assessed, widths)
            done += len(block)
            progress(done)
    if widths:
        print(LEGEND.format(held_out=len(trained.list_bits.validation)), file=sys.stderr)
    if blank:
        print(f"warning: empty lines left out: {blank:,}", file=sys.stderr)
    if unknown:
        some = " ".join(repr(character) for character in sorted(unknown)[:20])
        print(f"warning: no learnt name has the characters {some}", file=sys.stderr)


def _print_assessment(name: "Assessment", model: "TrainedModel") -> None:
    """One name, in words."""
    held_out, learnt = len(model.list_bits.validation), len(model.list_bits.train)
    if name.rank is None or name.rank_high is None:
        rank = f"more than {shown.large(name.rank_low)}"
    else:
        low, high = shown.large(name.rank_low), shown.large(name.rank_high)
        rank = f"about {shown.large(name.rank)} (95 % interval {low} to {high})"
    surprise = name.surprise
    what = visible(surprise.character) if surprise.character else "its end"
    console = shown.console()
    rows = {
        "on the list": "no" if name.new else "yes",
        "likelihood": f"log-probability {name.log_prob:.2f}, "
        f"{name.bits_per_char:.2f} bits a character",
        "it sounds": f"as typical as {name.percentile_held_out:.0f} % of the {held_out:,} held-out "
        f"names, and as {name.percentile_train:.0f} % of the {learnt:,} learnt",
        "rank": f"{rank} among all names that the model can write",
        "nearest learnt": ", ".join(
            f"{shown.isolated(near.name, console)} ({near.distance})" for near in name.nearest
        ),
        "surprise": f"{shown.isolated(what, console)} at place {surprise.place} costs most, "
        f"{surprise.bits:.1f} bits",
    }
    console.print(shown.isolated(name.name, console), soft_wrap=True)
    console.print(shown.pairs({f"  {key}": value for key, value in rows.items()}))


def _print_assessments(names: "list[Assessment]", widths: list[int]) -> list[int]:
    """Many names, a line each; gives the widths of the columns, for the names that follow.

    Args:
        names: The names.
        widths: Empty for the first names, which get headings.
    """
    console = shown.console()
    rows = [
        (
            shown.isolated(name.name, console),
            f"{name.log_prob:.2f}",
            f"{name.bits_per_char:.2f}",
            f"{name.percentile_held_out:.0f} %",
            f"> {shown.large(name.rank_low)}" if name.rank is None else shown.large(name.rank),
            "yes" if name.new else "no",
            f"{shown.isolated(visible(name.surprise.character) or 'end', console)} "
            f"{name.surprise.bits:.1f}",
            f"{shown.isolated(name.nearest[0].name, console)} ({name.nearest[0].distance})",
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


@commands.command()
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
            help="Draw what it costs and what it remembers: a file that ends in .svg, .png or "
            ".pdf. Time goes across, units down, in the order of the characters they speak for."
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object: a step each with x, a (all of a_t), c (all of c_t; null but for "
            "an lstm), y (all of y_t), target, bits, forgetful_bits, model_bits; empty x or target "
            "is the boundary.",
        ),
    ] = False,
    model: ModelOption = None,
) -> None:
    """Show step by step what a network reads, remembers and expects in a name.

    At each step the network reads x_t, updates its activation a_t, and predicts y_t. The
    table shows what the next character costs in bits: with memory, with the memory forgotten,
    and for the whole model. If the names have categories and none is given, the model takes
    the one that it finds likeliest for the name.

    \b
    Examples:
      nomosaurus explain diplosaurio
      nomosaurus explain diplosaurio --plot diplosaurio.svg
    """
    from nomosaurus.evaluation.explain import explain as explain_name

    explanation = explain_name(_load(model), name, network, given)
    if plot:
        from nomosaurus.report.pictures import draw_activations, save_picture

        save_picture(draw_activations([explanation]), plot)
        print(f"{plot} written", file=sys.stderr)
    if as_json:
        print(json.dumps(explanation.as_dict(), ensure_ascii=False))
        return
    console = shown.console()
    table = shown.columns(
        ("t", "x_t", "a_t", "y_t", "came", "bits", "forgetting", "model"),
        numbers=("t", "bits", "forgetting", "model"),
    )
    units = max(4, min(24, console.width - 72))  # the other columns take 72

    def seen(character: str) -> str:
        return shown.isolated(visible(character), console)

    strips = _strips(explanation.activations, units)
    for t, (step, strip) in enumerate(zip(explanation.steps, strips, strict=True), start=1):
        likely = explanation.most_likely(step, 3)
        table.add_row(
            str(t),
            seen(step.x) or "start",
            strip,
            ", ".join(f"{seen(c) or 'end'} {p:.0%}" for c, p in likely),
            seen(step.target) or "end",
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
    forgotten = "a_{t-1} and c_{t-1}" if params.cell == "lstm" else "a_{t-1}"
    print(
        "\nx_t          the character that is read\n"
        f"a_t          the {len(strips[0])} of {params.hidden_size} units that move most, from "
        "▁ (-1) to █ (1)\n"
        f"y_t          the characters that network {network} ({params.cell}) expects next\n"
        "bits         what the character that came costs this network\n"
        f"forgetting   the same with {forgotten} set to zero before that step\n"
        "model        what it costs the whole model"
    )
    if explanation.category is not None:
        chosen = "as given" if given is not None else "the likeliest for this name"
        print(f"category     {explanation.category!r}, {chosen}")


def _strips(activations: "np.ndarray", units: int) -> list[str]:
    """The units that move most, a block each, for every step; activations (T, H)."""
    moving = sorted(activations.std(axis=0).argsort(kind="stable")[::-1][:units])
    blocks = "▁▂▃▄▅▆▇█"
    return [
        "".join(blocks[min(7, int((a + 1) / 2 * 8))] for a in row) for row in activations[:, moving]
    ]


@commands.command()
@one_line_errors()
def info(model: ModelOption = None) -> None:
    """Show what a model file holds and how it was trained."""
    from nomosaurus.tracking.lineage import file_sha256

    path, trained = _read(model)
    recipe, mixture = trained.recipe, trained.mixture
    vocabulary = trained.vocabulary
    console = shown.console()
    rows = {
        "file": f"{model or path} ({path.stat().st_size:,} bytes)",
        "sha256": file_sha256(path),
        "networks": f"{recipe.model.members} {recipe.model.cell}, hidden_size "
        f"{recipe.model.hidden_size}, num_layers {recipe.model.num_layers}, "
        f"{mixture.num_parameters:,} parameters in all",
        "n-gram": f"modified Kneser-Ney {mixture.ngram.order}-gram, "
        f"weight in the mixture {mixture.ngram_weight.short:g} where it knows none of the "
        f"context, {mixture.ngram_weight.long:g} where it knows all",
        "list": f"{recipe.data.path}: {len(trained.known_hashes):,} names, "
        f"{trained.train.num_names:,} of them to learn from",
        "characters": f"{len(vocabulary.characters):,}: "
        + " ".join(shown.isolated(visible(c), console) for c in vocabulary.characters[:60])
        + (" …" if len(vocabulary.characters) > 60 else ""),
        "start": f"from {recipe.train.start_from}" if recipe.train.start == "base" else "fresh",
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
    console.print(shown.pairs(rows))


def _model_file(model: str | None) -> Path:
    """The model file that is meant: the one given, or the one in this folder, or the project's.

    What an address names is downloaded, and kept until this process ends.
    """
    if model and is_address(model):
        folder = tempfile.TemporaryDirectory()
        atexit.register(folder.cleanup)
        return fetch(model, Path(folder.name))
    if model or DEFAULT_MODEL.is_file():
        return Path(model) if model else DEFAULT_MODEL
    try:
        return Path(os.path.relpath(project_root() / DEFAULT_MODEL))
    except PipelineError as error:
        raise ModelFileError(f"{error}, or give --model") from None


def _load(model: str | None) -> "TrainedModel":
    return _read(model)[1]


def _read(model: str | None) -> tuple[Path, "TrainedModel"]:
    """The model that is meant, and the file it was read from."""
    from torch import set_num_threads

    from nomosaurus.model.file import load_model

    path = _model_file(model)
    try:
        trained = load_model(path)
    except ModelFileError as error:
        raise ModelFileError(str(error).replace(str(path), model or str(path))) from None
    set_num_threads(trained.recipe.train.num_threads)  # as in the stages, for the same names
    return path, trained


def _writer(
    kind: str, generator: "NameGenerator", cell: Callable[[Any], Any]
) -> Callable[["ScoredName"], None]:
    """What prints a name as text, as a JSON object or as a row of CSV, after its header.

    `cell` writes a value in CSV.
    """
    if kind == "json":
        return lambda name: print(_json_line(name))
    if kind == "text":
        return lambda name: print(name.name)
    from nomosaurus.model.trained import ScoredName

    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow([*(field.name for field in fields(ScoredName)), "nearest", "distance"])

    def write(name: ScoredName) -> None:
        table.writerow(map(cell, [*astuple(name), *astuple(generator.nearest(name.name))]))

    return write


def _json_line(name: "ScoredName") -> str:
    return json.dumps(asdict(name), ensure_ascii=False)


def _lines(path: Path | None) -> Iterator[str]:
    """Lines of a file, or of standard input without one, as they are read."""
    from nomosaurus.names.reading import read_lines

    if path is None:
        yield from read_lines(sys.stdin.buffer, "standard input")
        return
    if path.is_fifo() and not str(path).startswith(("/dev/", "/proc/")):  # as of <(a command)
        raise ListError(f"{path} is a pipe; give it as standard input")
    try:
        with path.open("rb") as stream:
            yield from read_lines(stream, str(path))
    except OSError as error:
        raise ListError(f"{path} cannot be read: {error.strerror}") from None
