"""Files of names: CSV, TSV, Parquet and plain text, one file or a folder of them.

What is in a file but is no name, such as a heading or a bullet, is refused with its line: a network
would learn it.
"""

import codecs
import csv
import io
import math
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import pandas as pd

from nomosaurus.errors import ListError, in_one_line, shortened
from nomosaurus.files import read_bytes, unguarded

FORMATS = (".csv", ".tsv", ".txt", ".parquet")
NO_LISTS = ("readme", "license", "licence", "notice")
"""Names, without their endings, of files that may lie beside lists."""
LONGEST_LINE = 2**26  # bytes: names that CR alone separates come as one line
AUTO = "auto"
"""UTF-8, or UTF-16 if the file begins with its mark."""
BY_FILE = "<file>"
"""As data.condition: the category of a name is that of its file, whose name it is."""

ODD_LINES = {
    "a heading": (re.compile(r"\s*#"), 0.0, "remove it"),
    "JSON": (re.compile(r"\s*[\[{]|\s*[\]}],?\s*$"), 0.0, "write a name a line"),
    "a numbered item": (re.compile(r"\s*\d+[.)]\s+\S"), 0.5, "remove the numbers"),
    "a bulleted item": (re.compile(r"\s*[-*•–]\s+\S"), 0.5, "remove the bullets"),
    "a quoted name": (re.compile(r'\s*"[^"]*",?\s*$'), 0.5, "remove the quotes"),
    "a row of a table": (
        re.compile(r"[^,;\t]*[,;\t]"),
        0.5,
        "put the columns' names above, save it as CSV and set data.column",
    ),
}
"""What a line of a TXT may look like other than a name, the least share of the lines at which it is
refused, and what to do."""


class Row(NamedTuple):
    """A raw row of a list.

    Attributes:
        category: Empty without data.condition.
        weight: How often the name counts, 0 or more; 1 without data.weight.
    """

    name: str
    category: str
    weight: float


def read_rows(
    path: Path, column: str, condition: str = "", encoding: str = AUTO, weight: str = ""
) -> list[Row]:
    """The raw rows of a list: one file, or a folder of files of the known formats.

    Args:
        path: CSV, TSV or Parquet, or TXT with a name a line.
        column: The column with the names; not used for TXT.
        condition: The column with the categories; empty for none, `BY_FILE` for the file's name.
        encoding: Of CSV, TSV and TXT, as Python knows it, or `AUTO`.
        weight: The column with the weights; empty for none.

    Raises:
        ListError: If a file is missing, of another format or encoding, malformed, lacks a column,
            or has lines that look like no names, or weights that are none.
    """
    if not path.exists():
        raise ListError(f"{path} not found; data.path in params.yaml names the list")
    if not path.is_dir():
        return _read_file(path, column, condition, encoding, weight)
    files = sorted(
        file for file in path.iterdir() if file.suffix.lower() in FORMATS and file.is_file()
    )
    beside = [file for file in files if file.stem.lower() in NO_LISTS]
    for file in beside:
        print(f"{file} is left out: by its name it is no list", file=sys.stderr)
    files = [file for file in files if file not in beside]
    if not files:
        raise ListError(f"{path} holds no list; a list ends in {', '.join(FORMATS)}")
    return [row for file in files for row in _read_file(file, column, condition, encoding, weight)]


def _read_file(path: Path, column: str, condition: str, encoding: str, weight: str) -> list[Row]:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ListError(f"{path} is not a known format; a list ends in {', '.join(FORMATS)}")
    content = read_bytes(path)
    if suffix == ".parquet":
        try:
            table = pd.read_parquet(io.BytesIO(content))
        except (OSError, ValueError) as error:  # pyarrow's own errors derive from ValueError
            raise ListError(
                f"{path} is not a readable Parquet file: {in_one_line(error)}"
            ) from None
        _refuse_twice(path, list(table.columns), column, condition, weight)
        return _rows(table, path, column, condition, weight)
    if suffix == ".txt":
        named = "" if condition == BY_FILE else condition
        for param, wanted in (("condition", named), ("weight", weight)):
            if wanted:
                raise ListError(
                    f"{path} has no columns, and so no column {wanted!r}; save the list as CSV, or "
                    f"set data.{param} to ''"
                )
        text = decode(content, str(path), encoding=encoding)
        _refuse_conflict(text, path)
        lines = text.removesuffix("\n").split("\n") if text else []
        _refuse_odd_lines(lines, path)
        return [Row(line, path.stem if condition else "", 1.0) for line in lines]
    text = decode(content, str(path), encoding=encoding)
    _refuse_conflict(text, path)
    separator, text = _separator(text, suffix)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if suffix == ".tsv" else csv.QUOTE_MINIMAL
    try:
        with warnings.catch_warnings():
            # With index_col=False a row longer than the header is only warned of.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text),
                sep=separator,
                dtype=str,
                index_col=False,
                keep_default_na=False,  # "NA", "None" and "Null" are names
                skip_blank_lines=False,
                skipinitialspace=True,
                quoting=quoting,
            )
    except pd.errors.EmptyDataError:
        raise ListError(f"{path} is empty; the first line must name the columns") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        problem = in_one_line(error)
        _refuse_ragged(text, path, separator, is_unclosed=problem.startswith("EOF inside string"))
        raise ListError(f"{path} is not a well-formed {suffix[1:].upper()}: {problem}") from None
    # pandas gives the second of two equal columns another name.
    reader = csv.reader(
        io.StringIO(text), delimiter=separator, quoting=quoting, skipinitialspace=True
    )
    _refuse_twice(path, next(reader), column, condition, weight)
    for used in {column, condition, weight}.intersection(table.columns):
        table[used] = table[used].map(unguarded)
    return _rows(table, path, column, condition, weight)


def _refuse_conflict(text: str, path: Path) -> None:
    """Refuse a list in which git left a merge conflict.

    Raises:
        ListError: Naming the line at which it begins.
    """
    found = [re.search(mark, text, re.MULTILINE) for mark in (r"^<{7} ", r"^={7}$", r"^>{7} ")]
    if found[0] and all(found):
        line = text.count("\n", 0, found[0].start()) + 1
        raise ListError(
            f"{path}, line {line}: a merge conflict begins here; choose a side, remove the lines "
            "with <<<<<<<, ======= and >>>>>>>, and save it"
        )


def _refuse_odd_lines(lines: Sequence[str], path: Path) -> None:
    """Refuse a TXT whose lines are no names.

    Raises:
        ListError: Naming the first line, what it looks like, and what to do.
    """
    filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    for what, (pattern, least, remedy) in ODD_LINES.items():
        found = [(number, line) for number, line in filled if pattern.match(line)]
        if found and len(found) >= least * len(filled):
            number, line = found[0]
            shown = line.strip() if len(line) <= 60 else f"{line.strip()[:60]}…"
            raise ListError(
                f"{path}, line {number}: {shown!r} looks like {what} and not like a name; "
                f"{remedy} (if it is a name, save the list as CSV)"
            )


def _refuse_ragged(text: str, path: Path, separator: str, *, is_unclosed: bool) -> None:
    """Say which row has more fields than the line with the columns' names, or an open quote.

    Raises:
        ListError: If there is one.
    """
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    reader = csv.reader(io.StringIO(text), csv.excel, delimiter=separator)
    if separator == "\t":
        reader = csv.reader(io.StringIO(text), delimiter=separator, quoting=csv.QUOTE_NONE)
    header = next((len(row) for row in reader if row), 0)
    start = last = reader.line_num + 1
    for row in reader:
        if len(row) > header:
            raise ListError(
                f"{path}, line {reader.line_num}: {len(row)} fields, and the first line, which "
                f"names the columns, has {header}; quote a name that holds {separator!r}, or "
                "remove what stands above the columns' names"
            )
        start, last = reader.line_num + 1, start
    if is_unclosed:
        raise ListError(
            f"{path}, line {last}: a quote that opens a field is not closed; close it, or put the "
            'field in quotes and write "" for each quote in it'
        )


def _refuse_twice(path: Path, columns: Sequence[str], *wanted: str) -> None:
    """Refuse a list that has one of the wanted columns twice.

    Raises:
        ListError: Naming it.
    """
    for column in wanted:
        if columns.count(column) > 1:
            raise ListError(f"{path} has the column {column!r} twice; rename or remove one of them")


def _separator(text: str, suffix: str) -> tuple[str, str]:
    """How fields are separated, and the text without a line that only says so.

    Tab in TSV; in CSV what such a line says (`sep=;`, as spreadsheets write it), else the comma, or
    the semicolon that spreadsheets write in much of Europe.
    """
    if suffix == ".tsv":
        return "\t", text
    header, _, rest = text.partition("\n")
    if said := re.fullmatch(r"sep=(.)", header.strip(" "), re.IGNORECASE):
        return said[1], rest
    return ";" if ";" in header and "," not in header else ",", text


def _rows(table: pd.DataFrame, path: Path, column: str, condition: str, weight: str) -> list[Row]:
    names = _column(table, path, column, "data.column")
    categories, weights = [path.stem if condition else ""] * len(names), [1.0] * len(names)
    if condition not in ("", BY_FILE):
        categories = _column(table, path, condition, "data.condition")
    if weight:
        weights = _weights(table, path, names, weight)
    return list(map(Row, names, categories, weights))


def _weights(table: pd.DataFrame, path: Path, names: Sequence[str], column: str) -> list[float]:
    """The weight of each row; 0 where there is no name."""
    _refuse_missing(table, path, column, "data.weight")
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float, na_value=math.nan)
    filled = np.array([bool(name.strip()) for name in names], dtype=bool)
    wrong = np.flatnonzero(filled & ~((numbers >= 0) & np.isfinite(numbers)))
    if len(wrong):
        raise ListError(
            f"{path}: data.weight is the column {column!r}, whose values must be numbers of 0 or "
            f"more, such as 1234 or 0.5, got {str(table[column].iloc[wrong[0]])!r} for the name "
            f"{names[wrong[0]]!r}"
        )
    return np.where(filled, numbers, 0.0).tolist()


def _refuse_missing(table: pd.DataFrame, path: Path, column: str, param: str) -> None:
    if column not in table.columns:
        raise ListError(
            f"{path} has no column {column!r}; it has "
            f"{', '.join(repr(str(name)) for name in table.columns)}; set {param}, or, if its "
            "first line is a name, put a line with the columns' names above it"
        )


def _column(table: pd.DataFrame, path: Path, column: str, param: str) -> list[str]:
    _refuse_missing(table, path, column, param)
    if path.suffix.lower() == ".parquet" and pd.api.types.infer_dtype(
        table[column].astype(object), skipna=True
    ) not in ("string", "integer", "empty"):
        raise ListError(f"{path}: column {column!r} does not hold text; save it as text")
    return ["" if pd.isna(value) else str(value) for value in table[column]]


def read_lines(stream: BinaryIO, source: str) -> Iterator[str]:
    """The lines of UTF-8 text from `source`, one by one, without their ends.

    Raises:
        ListError: At the first byte that is not UTF-8, or at a line without end.
    """
    for number, content in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), start=1):
        if len(content) == LONGEST_LINE:
            raise ListError(f"{source}, line {number}: longer than {LONGEST_LINE:,} bytes")
        # Where lines end in CR alone, one that ends in LF holds several.
        yield from decode(content, source, number).removesuffix("\n").split("\n")


def decode(content: bytes, source: str, first_line: int = 1, encoding: str = "utf-8") -> str:
    """Text from `source`, with LF line ends and without a byte-order mark.

    `content` begins with line `first_line`; `encoding` is one that Python knows, or `AUTO`.

    Raises:
        ListError: If it is not of this encoding.
    """
    if encoding == AUTO:
        is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "utf-16" if is_utf_16 else "utf-8"
    if codecs.lookup(encoding).name != "utf-8":
        try:
            text = content.decode(encoding).removeprefix("\ufeff")
            text.encode("utf-8")  # some, such as unicode_escape, can give half a character
        except UnicodeError as error:
            raise ListError(f"{source}: not {encoding} ({error}); set data.encoding") from None
        return text.replace("\r\n", "\n").replace("\r", "\n")
    if first_line == 1:
        content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        raise ListError(
            f"{source}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}); "
            "save it as UTF-8, or, for a list, set data.encoding to what it is, such as cp1252"
        ) from None


def check_encoding(name: str) -> None:
    """Refuse a name from the command line whose bytes are not UTF-8.

    Raises:
        ListError: If it holds a lone surrogate, which is how Python keeps such bytes.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise ListError(
            f"the name {shortened(name)} is not UTF-8; type it in a UTF-8 terminal"
        ) from None
