"""Names in: read, normalise, merge duplicates, split, and account for every row."""

import codecs
import csv
import hashlib
import io
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from nomosaurus.errors import ListError
from nomosaurus.params import DataParams
from nomosaurus.vocabulary import Vocabulary, characters

FORMATS = (".csv", ".tsv", ".txt", ".parquet")
SPLITS = ("train", "validation", "test")
DROP_REASONS = ("empty", "too_long", "control_character")


class Row(NamedTuple):
    """A raw row of a list; its category is empty without data.condition."""

    name: str
    category: str


@dataclass(frozen=True)
class Corpus:
    """A list of names, each once, with the side each one is on.

    Attributes:
        train, validation, test: Normalised names, in the order of the list.
        rows_read: Rows of the input, before anything was dropped.
        dropped: Rows dropped, by reason; every reason is a key.
        duplicates: Rows merged into an equal name above them.
        categories: Of each name, that of its first row; empty without data.condition.
        category_conflicts: Rows merged into an equal name of another category.
    """

    train: list[str]
    validation: list[str]
    test: list[str]
    rows_read: int
    dropped: dict[str, int]
    duplicates: int
    categories: dict[str, str]
    category_conflicts: int

    def names(self) -> list[str]:
        """All three sides together."""
        return self.train + self.validation + self.test

    def report(self, vocabulary: Vocabulary) -> dict[str, int | float]:
        """The counts for metrics/prepare.json; characters are grapheme clusters.

        `letters` counts the characters of all kept names. `unknown_validation` and
        `unknown_test` count characters that no training name has; with `_category`, names
        whose category no training name has. `categories` are those of the training names.
        """
        lengths = [len(characters(name)) for name in self.names()]
        known = set(vocabulary.characters)
        known_categories = set(vocabulary.categories)

        def unknown(names: list[str]) -> int:
            return sum(c not in known for name in names for c in characters(name))

        def unknown_category(names: list[str]) -> int:
            categories = [self.categories[name] for name in names if name in self.categories]
            return sum(category not in known_categories for category in categories)

        return {
            "rows_read": self.rows_read,
            "names_kept": len(lengths),
            "duplicates_merged": self.duplicates,
            **{f"dropped_{reason}": count for reason, count in self.dropped.items()},
            "names_train": len(self.train),
            "names_validation": len(self.validation),
            "names_test": len(self.test),
            "letters": sum(lengths),
            "longest_name": max(lengths),
            "mean_length": round(sum(lengths) / len(lengths), 3),
            "vocabulary_size": vocabulary.size,
            "unknown_validation": unknown(self.validation),
            "unknown_test": unknown(self.test),
            "categories": vocabulary.num_categories,
            "category_conflicts": self.category_conflicts,
            "unknown_category_validation": unknown_category(self.validation),
            "unknown_category_test": unknown_category(self.test),
        }


def build_corpus(params: DataParams) -> Corpus:
    """Read the list, drop what is not a name, merge duplicates and split.

    Raises:
        ListError: If the list cannot be read, or is too small to split.
    """
    rows = read_rows(Path(params.path), params.column, params.condition)
    dropped: Counter[str] = Counter()
    names: dict[str, str] = {}
    conflicts = 0
    for row in rows:
        name = normalise(row.name, lowercase=params.lowercase)
        reason = drop_reason(name, params.max_length)
        if reason:
            dropped[reason] += 1
        else:
            category = normalise(row.category, lowercase=False)
            conflicts += names.setdefault(name, category) != category
    duplicates = len(rows) - dropped.total() - len(names)
    if not names:
        raise ListError(
            f"{params.path} has no usable name: {len(rows)} rows read"
            + "".join(f", {count} dropped as {reason}" for reason, count in dropped.items())
        )
    sides: dict[str, list[str]] = {side: [] for side in SPLITS}
    for name, side in zip(names, split_sides(names, params), strict=True):
        sides[side].append(name)
    if not all(sides.values()):
        counts = ", ".join(f"{len(sides[side])} {side}" for side in SPLITS)
        raise ListError(
            f"{params.path} has too few names to learn from and to test on: "
            f"{len(names)} different names split into {counts}, and each side needs "
            "at least one; add names (a few dozen is the least that is useful), or try "
            "another data.split_key"
        )
    return Corpus(
        **sides,
        rows_read=len(rows),
        dropped={reason: dropped[reason] for reason in DROP_REASONS},
        duplicates=duplicates,
        categories=names if params.condition else {},
        category_conflicts=conflicts,
    )


def normalise(row: str, *, lowercase: bool) -> str:
    """Unicode NFC, trimmed, inner white space folded to one space, lower-cased if asked.

    >>> normalise("  Nueva   York ", lowercase=True)
    'nueva york'
    """
    name = " ".join(row.split())
    if lowercase:
        name = name.lower()
    return unicodedata.normalize("NFC", name)


def drop_reason(name: str, max_length: int) -> str | None:
    """Why a normalised name cannot be kept, one of `DROP_REASONS`, or None if it can.

    `max_length` counts characters, as the network does.
    """
    if not name:
        return "empty"
    if any(unicodedata.category(code_point) == "Cc" for code_point in name):
        return "control_character"
    if len(characters(name)) > max_length:
        return "too_long"
    return None


def name_hash(name: str, key: str) -> int:
    """A keyed 64-bit BLAKE2b hash of a normalised name; it is a function of both alone."""
    digest = hashlib.blake2b(name.encode("utf-8"), digest_size=8, key=key.encode("utf-8"))
    return int.from_bytes(digest.digest(), "big")


def name_hashes(names: Iterable[str], key: str) -> np.ndarray:
    """The hashes of many names, sorted, as uint64: which names a list holds, unreadably."""
    return np.sort(np.array([name_hash(name, key) for name in names], dtype=np.uint64))


def split_sides(names: Iterable[str], params: DataParams) -> list[str]:
    """The side of each name, one of `SPLITS`, from its keyed hash and nothing else.

    So the order of the list does not matter, and a name keeps its side when
    others are added or removed.
    """
    sides = []
    for name in names:
        position = name_hash(name, params.split_key) / 2**64  # uniform in [0, 1)
        if position < params.test_share:
            sides.append("test")
        elif position < params.test_share + params.validation_share:
            sides.append("validation")
        else:
            sides.append("train")
    return sides


def read_rows(path: Path, column: str, condition: str = "") -> list[Row]:
    """The raw rows of a list: one file, or a folder of files of the known formats.

    Args:
        path: CSV, TSV or Parquet with a `column`, or TXT with a name a line.
        column: The column with the names; TXT has none, so it is not used there.
        condition: The column with the categories; empty for none.

    Raises:
        ListError: If a file is missing, of another format, not UTF-8, malformed,
            or without a column.
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
        return _rows(_read_parquet(path), path, column, condition)
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


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from ValueError
        problem = str(error).splitlines()[0]
        raise ListError(f"{path} is not a readable Parquet file: {problem}") from None


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
    categories = _column(table, path, condition, "data.condition")
    return list(map(Row, names, categories))


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
    """The lines of UTF-8 text, one by one, without their ends.

    Args:
        stream: The text as bytes, at its beginning; a byte-order mark is passed over.
        source: Where it comes from, for the message.

    Raises:
        ListError: At the first byte that is not UTF-8.
    """
    for number, content in enumerate(stream, start=1):
        # Where lines end in CR alone, one that ends in LF holds several.
        yield from decode(content, source, number).removesuffix("\n").split("\n")


def decode(content: bytes, source: str, first_line: int = 1) -> str:
    """UTF-8 text with LF line ends, without a byte-order mark.

    Args:
        content: The text from its line `first_line` on.
        source: Where it comes from, for the message.
        first_line: 1 for the whole text.

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
