"""A list becomes a corpus: normalised, duplicates merged, split, every row accounted for."""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from nomosaurus.errors import ListError, shortened
from nomosaurus.names.casing import Casing
from nomosaurus.names.reading import read_rows
from nomosaurus.names.vocabulary import Vocabulary, characters
from nomosaurus.params import DataParams

SPLITS = ("train", "validation", "test")
MARKS = "\ufeff\u200b\u200e\u200f\u00ad\u2060\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
INVISIBLE = dict.fromkeys(map(ord, MARKS))
"""Marks that nobody sees: byte-order mark, zero-width space, directions, soft hyphen, word joiner.
Joiners that scripts need stay: U+200C and U+200D."""
DROP_REASONS = ("empty", "too_long", "control_character", "zero_weight")


@dataclass(frozen=True)
class Corpus:
    """A list of names, each once, with the side each one is on.

    Attributes:
        train, validation, test: Normalised names, in the order of the list.
        rows_read: Rows before anything was dropped.
        dropped: Rows dropped, by reason; every reason is a key.
        duplicates: Rows merged into an equal name above them.
        invisible: Rows that held invisible marks, which are taken out.
        written: Of each name, how its first row writes it.
        categories: Of each name, those of all its rows, sorted; empty without data.condition.
        weights: Of each name, the sum over its rows; empty without data.weight.
        familiar_validation, familiar_test: Held-out names on neither side, since the base that
            networks start from has learnt them.
    """

    train: list[str]
    validation: list[str]
    test: list[str]
    rows_read: int
    dropped: dict[str, int]
    duplicates: int
    invisible: int
    written: dict[str, str]
    categories: dict[str, tuple[str, ...]]
    weights: dict[str, float]
    familiar_validation: list[str] = field(default_factory=list)
    familiar_test: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        """All names of the list."""
        familiar = self.familiar_validation + self.familiar_test
        return self.train + self.validation + self.test + familiar

    def without_familiar(self, knows: Callable[[Sequence[str]], np.ndarray]) -> "Corpus":
        """The same, but with no held-out name that a base has learnt.

        `knows` says which of N names these are; shape (N,), bool.
        """
        validation, familiar_validation = _parted(self.validation, knows)
        test, familiar_test = _parted(self.test, knows)
        return replace(
            self,
            validation=validation,
            test=test,
            familiar_validation=familiar_validation,
            familiar_test=familiar_test,
        )

    @cached_property
    def casing(self) -> Casing:
        """How the training names are written; in lower case if the list is as it is learnt."""
        if all(name == self.written[name] for name in self.names()):
            return Casing({}, {}, {})
        return Casing.learn([self.written[name] for name in self.train])

    def report(self, vocabulary: Vocabulary) -> dict[str, int | float]:
        """The counts for metrics/prepare.json; characters are grapheme clusters.

        `case_kept` is the share of the names held out that are written as on the list.
        `letters` counts the characters of all kept names. `unknown_validation` and
        `unknown_test` count characters that no training name has; with `_category`, names
        of a category that no training name has. `categories` are those of the training names;
        names in `several_categories` belong to all of them.
        `familiar` names are held out and left aside, since the base has learnt them.
        """
        lengths = [len(characters(name)) for name in self.names()]
        held_out = self.validation + self.test
        case_kept = sum(self.casing.written(name) == self.written[name] for name in held_out)
        known = set(vocabulary.characters)
        known_categories = set(vocabulary.categories)

        def unknown(names: list[str]) -> int:
            return sum(c not in known for name in names for c in characters(name))

        def unknown_category(names: list[str]) -> int:
            categories = (self.categories[name] for name in names if self.categories)
            return sum(not known_categories.issuperset(found) for found in categories)

        return {
            "rows_read": self.rows_read,
            "names_kept": len(lengths),
            "duplicates_merged": self.duplicates,
            "invisible_removed": self.invisible,
            **{f"dropped_{reason}": count for reason, count in self.dropped.items()},
            "names_train": len(self.train),
            "names_validation": len(self.validation),
            "names_test": len(self.test),
            "familiar_validation": len(self.familiar_validation),
            "familiar_test": len(self.familiar_test),
            "letters": sum(lengths),
            "longest_name": max(lengths),
            "mean_length": round(sum(lengths) / len(lengths), 3),
            "case_kept": round(case_kept / len(held_out), 4),
            "vocabulary_size": vocabulary.size,
            "unknown_validation": unknown(self.validation),
            "unknown_test": unknown(self.test),
            "categories": vocabulary.num_categories,
            "several_categories": sum(len(found) > 1 for found in self.categories.values()),
            "unknown_category_validation": unknown_category(self.validation),
            "unknown_category_test": unknown_category(self.test),
        }


def build_corpus(params: DataParams) -> Corpus:
    """Read the list, drop what is not a name, merge duplicates and split.

    Raises:
        ListError: If the list cannot be read, or is too small to split.
    """
    rows = read_rows(
        Path(params.path), params.column, params.condition, params.encoding, params.weight
    )
    dropped: Counter[str] = Counter()
    names: dict[str, tuple[str, ...]] = {}
    weights: defaultdict[str, float] = defaultdict(float)
    written: dict[str, str] = {}
    for row in rows:
        name = normalise(row.name, lowercase=params.lowercase)
        reason = drop_reason(name, params.max_length) or ("" if row.weight else "zero_weight")
        if reason:
            dropped[reason] += 1
        else:
            category, found = normalise(row.category, lowercase=False), names.get(name, ())
            if category not in found:
                names[name] = (*found, category)
            if params.weight:
                weights[name] += row.weight
            written.setdefault(name, normalise(row.name, lowercase=False))
    duplicates = len(rows) - dropped.total() - len(names)
    if not names:
        raise ListError(
            f"{params.path} has no usable name: {len(rows)} rows read"
            + "".join(f", {count} dropped as {reason}" for reason, count in dropped.items())
        )
    sides: dict[str, list[str]] = {side: [] for side in SPLITS}
    for name in names:
        sides[side_of(name, params)].append(name)
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
        invisible=sum(not INVISIBLE.keys().isdisjoint(map(ord, row.name)) for row in rows),
        written=written,
        categories={n: _sorted(c) for n, c in names.items()} if params.condition else {},
        weights=dict(weights),
    )


def _sorted(categories: tuple[str, ...]) -> tuple[str, ...]:
    """A row without a category says nothing where another row of the name has one."""
    return tuple(sorted(filter(None, categories))) or ("",)


def _parted(
    names: list[str], knows: Callable[[Sequence[str]], np.ndarray]
) -> tuple[list[str], list[str]]:
    """Those that a base does not know, and those that it does."""
    parts: tuple[list[str], list[str]] = ([], [])
    for name, known in zip(names, knows(names), strict=True):
        parts[bool(known)].append(name)
    return parts


def normalise(row: str, *, lowercase: bool) -> str:
    """Unicode NFC without invisible marks, trimmed, white space folded, lower-cased if asked.

    >>> normalise("  Nueva   York ", lowercase=True)
    'nueva york'
    """
    name = " ".join(row.translate(INVISIBLE).split())
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


def category_id(category: object, vocabulary: Vocabulary) -> int:
    """The id of a category.

    Raises:
        ListError: If no training name has it, naming those that there are.
    """
    known = vocabulary.categories
    normal = normalise(category, lowercase=False) if isinstance(category, str) else ""
    if normal in known:
        return known.index(normal)
    if not known:
        raise ListError(
            f"this model knows no category, so not {shortened(category)} either: "
            "data.condition names the list's column with the categories, and it was empty"
        )
    shown = ", ".join(repr(name) for name in known[:20]) + (", …" if len(known) > 20 else "")
    raise ListError(f"no training name has the category {shortened(category)}; there are {shown}")


def name_hash(name: str, key: str) -> int:
    """A keyed 64-bit BLAKE2b hash of a normalised name."""
    digest = hashlib.blake2b(name.encode("utf-8"), digest_size=8, key=key.encode("utf-8"))
    return int.from_bytes(digest.digest(), "big")


def name_hashes(names: Iterable[str], key: str) -> np.ndarray:
    """The hashes of many names, sorted; uint64."""
    return np.sort(np.array([name_hash(name, key) for name in names], dtype=np.uint64))


def learnt_hashes(names: Iterable[str]) -> np.ndarray:
    """What a base keeps of the names that it has learnt, case aside; shape (N,), uint32.

    One in 30,000 names of a list has the hash of one of 140,000 others.
    """
    folded = (normalise(name, lowercase=True) for name in names)
    return np.array([name_hash(name, "base") >> 32 for name in folded], dtype=np.uint32)


def side_of(name: str, params: DataParams) -> str:
    """The side of a name, one of `SPLITS`, from its keyed hash and nothing else.

    So the order of the list does not matter, and a name keeps its side when
    others are added or removed.
    """
    position = name_hash(name, params.split_key) / 2**64  # uniform in [0, 1)
    if position < params.test_share:
        return "test"
    if position < params.test_share + params.validation_share:
        return "validation"
    return "train"
