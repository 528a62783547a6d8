"""Files of names: CSV, TSV, Parquet and plain text, one file or a folder of them."""

import codecs
import csv
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pandas as pd

from nomosaurus.errors import ListError

FORMATS = (".csv", ".tsv", ".txt", ".parquet")


class Row(NamedTuple):
    """A raw row of a list; its category is empty without data.condition."""

    name: str
    category: str


def read_rows(path: Path, column: str, condition: str = "") -> list[Row]:
    """The raw rows of a list: one file, or a folder of files of the known formats.

    Args:
        path: CSV, TSV or Parquet, or TXT with a name a line.
        column: The column with the names; not used for TXT.
        condition: The column with the categories; empty for none.

    Raises:
        ListError: If a file is missing, of another format, not UTF-8, malformed, or lacks a column.
    """
    if not path.exists():
        raise ListError(f"{path} not found; data.path in params.yaml names the list")
    if not path.is_dir():
        return _read_file(path, column, condition)
    files = sorted(
        file for file in path.iterdir() if file.suffix.lower() in FORMATS and file.is_file()
    )
    if not files:
        raise ListError(f"{path} holds no list; a list ends in {', '.join(FORMATS)}")
    return [row for file in files for row in _read_file(file, column, condition)]


def _read_file(path: Path, column: str, condition: str) -> list[Row]:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ListError(f"{path} is not a known format; a list ends in {', '.join(FORMATS)}")
    if suffix == ".parquet":
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors derive from ValueError
            problem = str(error).splitlines()[0]
            raise ListError(f"{path} is not a readable Parquet file: {problem}") from None
        return _rows(table, path, column, condition)
    if suffix == ".txt":
        if condition:
            raise ListError(
                f"{path} has no columns, and so no column {condition!r}; save the list as CSV, or "
                "set data.condition to ''"
            )
        with path.open("rb") as stream:
            return [Row(line, "") for line in read_lines(stream, str(path))]
    text = decode(path.read_bytes(), str(path))
    try:
        with warnings.catch_warnings():
            # With index_col=False a row longer than the header is only warned of.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text),
                sep=_separator(text, suffix),
                dtype=str,
                index_col=False,
                keep_default_na=False,  # "NA", "None" and "Null" are names
                skip_blank_lines=False,
                skipinitialspace=True,
                quoting=csv.QUOTE_NONE if suffix == ".tsv" else csv.QUOTE_MINIMAL,
            )
    except pd.errors.EmptyDataError:
        raise ListError(f"{path} is empty; the first line must name the columns") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        problem = str(error).splitlines()[0].removeprefix("Error tokenizing data. C error: ")
        raise ListError(f"{path} is not a well-formed {suffix[1:].upper()}: {problem}") from None
    return _rows(table, path, column, condition)


def _separator(text: str, suffix: str) -> str:
    """Tab in TSV; comma in CSV, or the semicolon that spreadsheets write in much of Europe."""
    if suffix == ".tsv":
        return "\t"
    header = text.partition("\n")[0]
    return ";" if ";" in header and "," not in header else ","


def _rows(table: pd.DataFrame, path: Path, column: str, condition: str) -> list[Row]:
    names = _column(table, path, column, "data.column")
    if not condition:
        return [Row(name, "") for name in names]
    return list(map(Row, names, _column(table, path, condition, "data.condition")))


def _column(table: pd.DataFrame, path: Path, column: str, param: str) -> list[str]:
    if column not in table.columns:
        raise ListError(
            f"{path} has no column {column!r}; it has "
            f"{', '.join(repr(str(name)) for name in table.columns)}; set {param}"
        )
    if path.suffix.lower() == ".parquet" and pd.api.types.infer_dtype(
        table[column].astype(object), skipna=True
    ) not in ("string", "integer", "empty"):
        raise ListError(f"{path}: column {column!r} does not hold text; save it as text")
    return ["" if pd.isna(value) else str(value) for value in table[column]]


def read_lines(stream: BinaryIO, source: str) -> Iterator[str]:
    """The lines of UTF-8 text from `source`, one by one, without their ends.

    Raises:
        ListError: At the first byte that is not UTF-8.
    """
    for number, content in enumerate(stream, start=1):
        # Where lines end in CR alone, one that ends in LF holds several.
        yield from decode(content, source, number).removesuffix("\n").split("\n")


def decode(content: bytes, source: str, first_line: int = 1) -> str:
    """UTF-8 text from `source`, with LF line ends and without a byte-order mark.

    `content` begins with line `first_line`.

    Raises:
        ListError: At the first byte that is not UTF-8.
    """
    if first_line == 1:
        content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        raise ListError(
            f"{source}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}); "
            "save it as UTF-8"
        ) from None


def check_encoding(name: str) -> None:
    """Refuse a name from the command line whose bytes are not UTF-8.

    Raises:
        ListError: If it holds a lone surrogate, which is how Python keeps such bytes.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise ListError(f"the name {name!r} is not UTF-8; type it in a UTF-8 terminal") from None
