"""What the commands show: names of any script and tables, and how far long work is."""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from unicodedata import bidirectional

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from nomosaurus.errors import printable, standard_error


def console() -> Console:
    """Standard output, for names as they are; without a terminal no line is folded.

    It has no colours: what looks like one came from a stranger.
    """
    console = Console(markup=False, emoji=False, highlight=False, color_system=None)
    if not console.is_terminal:
        console.width = 200
    return console


def columns(headings: Collection[str], numbers: Collection[str]) -> Table:
    """A table of columns; those with numbers stand on the right."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=True)
    return table


def pairs(rows: Mapping[str, str]) -> Table:
    """A table of keys and values."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for row in rows.items():
        table.add_row(*row)
    return table


def isolated(text: str, console: Console) -> str:
    """Text whose letters run from right to left, kept apart from the line around it.

    A terminal would else turn the numbers beside it around too. Unicode Standard Annex 9:
    first strong isolate and pop directional isolate. Files and pipes get text without them.
    """
    text = printable(text)
    if console.is_terminal and any(bidirectional(c) in ("R", "AL") for c in text):
        return f"\u2068{text}\u2069"
    return text


def large(number: int) -> str:
    """As in "999,999", "1.23 million" and "1.2 x 10^19"."""
    for size, word in ((15, None), (12, "trillion"), (9, "billion"), (6, "million")):
        if number >= 10**size:
            if word is None:
                digits, _, power = f"{number:.1e}".partition("e+")
                return f"{digits} x 10^{int(power)}"
            return f"{number / 10**size:.3g} {word}"
    return f"{number:,}"


@contextmanager
def names_progress(
    total: int | None, seconds_between_lines: float = 10
) -> Iterator[Callable[[int], None]]:
    """Show on standard error how many names are done, at which rate, and the time left.

    Nothing where standard output is a terminal, since there the names themselves are seen.

    Args:
        total: Names in all; None where nobody knows before the last one.
        seconds_between_lines: Without a terminal, say no more than one line in this time.

    Yields:
        What to call with the names done so far, as often as one likes.
    """
    console = Console(file=standard_error())
    bars = None
    if console.is_terminal and not sys.stdout.isatty():
        parts: list[ProgressColumn] = [TextColumn("{task.fields[said]}"), TimeElapsedColumn()]
        if total:
            parts = [BarColumn(bar_width=20), *parts, TextColumn("<"), TimeRemainingColumn()]
        # Not redirected: names that go to a file or a pipe would come to the terminal instead.
        bars = Progress(
            *parts, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        bar = bars.add_task("names", total=total, said="")
    started = last = time.monotonic()

    def update(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < (0.1 if bars else seconds_between_lines):
            return
        last = now
        rate = done / (now - started)
        of_all = f" of {total:,}" if total else ""
        said = f"{done:,}{of_all} names, {rate:,.0f} a second"
        if bars:
            bars.update(bar, completed=done, said=said)
        elif not sys.stdout.isatty():
            left = f", {(total - done) / rate:,.0f} s left" if total else ""
            print(said + left, file=sys.stderr)

    with bars or nullcontext():
        yield update
