"""Names as ids: encoded, on disk as `prepare` leaves them, and in batches by length."""

# N rows, a name each, B batch, T time steps (longest name of the batch + boundary), V vocabulary,
# C categories

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from nomosaurus.errors import ArtifactError, in_one_line
from nomosaurus.files import damaged, read_checked, replace_folder, write_json, write_text
from nomosaurus.names.casing import Casing
from nomosaurus.names.vocabulary import BOUNDARY_ID, Vocabulary
from nomosaurus.params import DataParams


@dataclass(frozen=True)
class EncodedNames:
    """Many names as ids: their one-hot matrices in compact form, their categories and weights.

    A name of several categories has a row for each, one after the other, which share its weight.

    Attributes:
        ids: Every character of every name, one after the other, without
            boundaries; shape (characters,).
        offsets: Name i is `ids[offsets[i] : offsets[i + 1]]`; shape (N + 1,).
        categories: Of each name; C where it is not known, and everywhere if C is 0; shape (N,).
        weights: How often each row counts, above 0; double, shape (N,).
        repeats: Whether a row is the name above it, in another category; bool, shape (N,).
    """

    ids: np.ndarray
    offsets: np.ndarray
    categories: np.ndarray
    weights: np.ndarray
    repeats: np.ndarray

    @classmethod
    def from_names(
        cls,
        names: Sequence[str],
        vocabulary: Vocabulary,
        categories: Mapping[str, Sequence[str]] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> "EncodedNames":
        """Encode names; what is outside the vocabulary gets the unknown id.

        A name without an entry in `categories` is of no known category; one without an entry in
        `weights` has the weight 1.
        """
        of_names = [(categories or {}).get(name) or (None,) for name in names]
        num_rows = np.array([len(found) for found in of_names], dtype=np.int64)
        first = np.cumsum(num_rows) - num_rows
        encoded = [
            ids
            for name, found in zip(names, of_names, strict=True)
            for ids in [vocabulary.encode(name)] * len(found)
        ]
        ids = np.concatenate(encoded) if encoded else np.empty(0, dtype=vocabulary.id_type)
        lengths = [len(name) for name in encoded]
        of_name = np.array([(weights or {}).get(name, 1.0) for name in names], dtype=np.double)
        repeats = np.ones(len(encoded), dtype=bool)
        repeats[first] = False
        return cls(
            ids,
            np.cumsum([0, *lengths], dtype=np.int64),
            vocabulary.encode_categories(category for found in of_names for category in found),
            np.repeat(of_name / num_rows, num_rows),
            repeats,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        """Ids of name i, shape (its characters,)."""
        return self.ids[self.offsets[i] : self.offsets[i + 1]]

    def select(self, rows: np.ndarray) -> "EncodedNames":
        """The names in `rows`, shape (R,), in that order; a name may come several times."""
        ids = np.concatenate([self.ids[:0], *(self[i] for i in rows)])
        offsets = np.cumsum([0, *self.lengths[rows]], dtype=np.int64)
        return EncodedNames(
            ids, offsets, self.categories[rows], self.weights[rows], self.repeats[rows]
        )

    @property
    def num_names(self) -> int:
        """How many distinct names the rows are of."""
        return len(self) - int(self.repeats.sum())

    def distinct(self) -> "EncodedNames":
        """Each name once, in the first of its categories, with all its weight."""
        if not self.repeats.any():
            return self
        once = self.select(np.flatnonzero(~self.repeats))
        return replace(once, weights=np.bincount(self._name_numbers, self.weights))

    def mean_by_name(self, values: np.ndarray) -> np.ndarray:
        """Means of values of each row, shape (N,), over each name's rows; shape (names,)."""
        return np.bincount(self._name_numbers, values) / np.bincount(self._name_numbers)

    @property
    def _name_numbers(self) -> np.ndarray:
        """Of each row, the number of its name among the distinct ones, from 0; shape (N,)."""
        return np.cumsum(~self.repeats) - 1

    def with_category(self, i: int) -> "EncodedNames":
        """The same names, all of the category with this id."""
        return replace(self, categories=np.full(len(self), i))

    @property
    def lengths(self) -> np.ndarray:
        """Characters of each name, boundary not counted; shape (N,)."""
        return np.diff(self.offsets)

    @property
    def num_events(self) -> int:
        """P: all that is predicted, letters and ends."""
        return len(self.ids) + len(self)

    @property
    def event_offsets(self) -> np.ndarray:
        """The events of name i are from offset i up to i + 1; shape (N + 1,)."""
        return self.offsets + np.arange(len(self) + 1)

    @property
    def event_rows(self) -> np.ndarray:
        """The row of each event's name, shape (P,)."""
        return np.repeat(np.arange(len(self)), self.lengths + 1)

    @property
    def event_places(self) -> np.ndarray:
        """The place of each event in its name, from 0; shape (P,)."""
        return np.arange(self.num_events) - self.event_offsets[self.event_rows]

    @property
    def targets(self) -> np.ndarray:
        """What is predicted: each name's letters and then the boundary; shape (P,)."""
        targets = np.full(self.num_events, BOUNDARY_ID, dtype=np.int64)
        is_letter = np.ones(self.num_events, dtype=bool)
        is_letter[self.event_offsets[1:] - 1] = False
        targets[is_letter] = self.ids
        return targets

    @property
    def event_weights(self) -> np.ndarray:
        """The weight of each event's row, shape (P,)."""
        return np.repeat(self.weights, self.lengths + 1)

    def mean_of_known(self, events: np.ndarray, vocab_size: int) -> float:
        """The weighted mean over the events that a vocabulary of this size can score.

        `events` is a value of each event, shape (P,), 0 where its character is unknown.
        """
        weights = self.event_weights
        return float((events * weights).sum() / weights[self.targets < vocab_size].sum())

    def drawn_rows(self, generator: torch.Generator) -> np.ndarray:
        """N rows in random order, each as often as its weight says, give or take once.

        Systematic resampling (Kitagawa 1996). With equal weights, each once.
        """
        order = torch.randperm(len(self), generator=generator).numpy()
        if (self.weights == self.weights[:1]).all():
            return order
        places = np.arange(len(self)) + torch.rand((), generator=generator).item()
        shares = np.cumsum(self.weights) / self.weights.sum()
        rows = np.searchsorted(shares, places / len(self), side="right")
        return np.minimum(rows, len(self) - 1)[order]

    def sum_by_name(self, events: np.ndarray) -> np.ndarray:
        """Sums of a value of each event, shape (P,), over each row; shape (N,)."""
        return np.bincount(self.event_rows, events, minlength=len(self))

    def decode(self, vocabulary: Vocabulary) -> list[str]:
        """The names; only where none has an unknown character, as in train."""
        return [vocabulary.decode(self[i]) for i in range(len(self))]


def check_names(names: EncodedNames, vocabulary: Vocabulary, *, learnt: bool) -> None:
    """Refuse arrays, read from a file, that are not names of a vocabulary.

    Learnt names have known characters and categories; there is at least one.

    Raises:
        ValueError: Naming the array, and what is wrong with it.
    """
    ids, offsets, categories = names.ids, names.offsets, names.categories
    for part, kind in zip(PARTS, "uiufb", strict=True):
        array = getattr(names, part)
        if array.ndim != 1 or array.dtype.kind != kind:
            raise ValueError(f"{part} has the type {array.dtype} and the shape {array.shape}")
        if part not in ("ids", "offsets") and len(array) != len(names):
            raise ValueError(f"{part} are {len(array)}, of {len(names)} names")
    if len(offsets) < 1 + learnt or offsets[0] != 0 or offsets[-1] != len(ids):
        raise ValueError("offsets do not run from 0 to the number of ids")
    if (offsets[1:] <= offsets[:-1]).any():
        raise ValueError("offsets do not rise, so a name is empty")
    most = vocabulary.size - 1 if learnt else vocabulary.unknown_id
    if len(ids) and not (ids.min() > BOUNDARY_ID and ids.max() <= most):
        raise ValueError(f"ids run from {ids.min()} to {ids.max()}, and may from 1 to {most}")
    count = vocabulary.num_categories
    most = count - 1 if learnt and count else count
    if len(categories) and categories.max() > most:
        raise ValueError(f"a category is {categories.max()}, and may be at most {most}")
    if not ((names.weights > 0) & np.isfinite(names.weights)).all():
        raise ValueError("a weight is not above 0, or not finite")
    rows = np.flatnonzero(names.repeats[1:])
    above, below = names.select(rows), names.select(rows + 1)
    same = np.array_equal(above.offsets, below.offsets) and np.array_equal(above.ids, below.ids)
    if names.repeats[:1].any() or not same:
        raise ValueError("repeats has a row that is not the name above it")


def check_array(
    name: str, array: np.ndarray, kind: type[np.generic], shape: Sequence[int | None]
) -> None:
    """Refuse an array of another type or shape, in which None is any length.

    Raises:
        ValueError: Naming it.
    """
    fits = len(shape) == array.ndim and all(
        want in (None, has) for want, has in zip(shape, array.shape, strict=True)
    )
    if array.dtype != kind or not fits:
        raise ValueError(f"{name} has the type {array.dtype} and the shape {array.shape}")


def check_hashes(name: str, hashes: np.ndarray, kind: type[np.unsignedinteger[Any]]) -> None:
    """Refuse hashes of another type, none, or ones that are not sorted.

    Raises:
        ValueError: Naming them.
    """
    check_array(name, hashes, kind, (None,))
    if not len(hashes) or (hashes[1:] < hashes[:-1]).any():
        raise ValueError(f"{name} is empty or not sorted")


PARTS = tuple(field.name for field in fields(EncodedNames))
"""The arrays of one side, each in a file of its name."""


class Batch(NamedTuple):
    """Names side by side, as the network takes them.

    Attributes:
        inputs: x_t, the boundary and then the characters; shape (B, T).
        targets: y_t, the characters and then the boundary; shape (B, T).
        mask: True where a target is a character or the end, False on padding; (B, T).
        categories: Ids of the names' categories; shape (B,).
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    categories: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(*(part.to(device) for part in self))


def make_batch(names: EncodedNames, rows: np.ndarray) -> Batch:
    """The names in `rows`, shape (B,), padded to the longest of them."""
    starts = names.offsets[rows]
    lengths = names.offsets[rows + 1] - starts
    time_steps = int(lengths.max()) + 1
    column = np.arange(time_steps)
    inside = column < lengths[:, None]  # (B, T), the letters
    letters = np.zeros((len(rows), time_steps), dtype=np.int64)
    position = starts[:, None] + column
    letters[inside] = names.ids[position[inside]]
    targets = np.where(inside, letters, BOUNDARY_ID)  # (B, T), the end is the boundary
    inputs = np.full_like(targets, BOUNDARY_ID)
    inputs[:, 1:] = targets[:, :-1]
    mask = column <= lengths[:, None]  # (B, T), the letters and the end
    categories = names.categories[rows].astype(np.int64)
    return Batch(*(torch.from_numpy(part) for part in (inputs, targets, mask, categories)))


def batches_by_length(
    names: EncodedNames, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Names in batches of nearly one length, so that little is padded.

    Without a generator, every row once, the shortest names first. With one, `drawn_rows`; which
    names of a length meet and the order of the batches are random.

    Yields:
        The rows of the names in the batch, shape (B,), and the batch.
    """
    order = np.arange(len(names)) if generator is None else names.drawn_rows(generator)
    order = order[np.argsort(names.lengths[order], kind="stable")]
    chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if generator is not None:
        turn = torch.randperm(len(chunks), generator=generator).tolist()
        chunks = [chunks[i] for i in turn]
    for rows in chunks:
        yield rows, make_batch(names, rows)


@dataclass(frozen=True)
class _Start:
    tries_base: bool


VOCABULARY, CASING, START = TypeAdapter(Vocabulary), TypeAdapter(Casing), TypeAdapter(_Start)
MADE_WITH = TypeAdapter(dict[str, Any])
"""What the files of JSON in a prepared folder hold."""


class Split(NamedTuple):
    """The encoded names of each side, and the vocabulary of those to learn.

    The familiar ones are the test names that a base had learnt, which are on no side.
    """

    vocabulary: Vocabulary
    train: EncodedNames
    validation: EncodedNames
    test: EncodedNames
    familiar: EncodedNames

    @classmethod
    def encode(
        cls,
        sides: Sequence[Sequence[str]],
        categories: Mapping[str, Sequence[str]] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> "Split":
        """Encode the names of train, validation and test, and the familiar ones."""
        vocabulary = Vocabulary.from_names(sides[0], categories)
        return cls(
            vocabulary,
            *(EncodedNames.from_names(side, vocabulary, categories, weights) for side in sides),
        )


SIDES = ("train", "validation", "test", "familiar")


def save_prepared(
    folder: Path,
    split: Split,
    known_hashes: np.ndarray,
    casing: Casing,
    data: DataParams,
    *,
    tries_base: bool = False,
) -> None:
    """Write the prepared data as one folder, in the place of an earlier one.

    The params that they follow from tell them from those of another list. Whether training tries
    the base was decided here, since the held-out names follow from it.

    The keyed hashes of all names, sorted, tell a new name from a listed one without showing what
    the held-out sides hold; shape (names,), uint64.
    """

    def write(beside: Path) -> None:
        text = json.dumps(asdict(split.vocabulary), ensure_ascii=False, indent=1)
        write_text(beside / "vocabulary.json", text + "\n")
        write_json(beside / "data.json", data.model_dump())
        write_json(beside / "start.json", {"tries_base": tries_base})
        write_json(beside / "casing.json", asdict(casing))
        _save_array(beside / "known_hashes.npy", known_hashes)
        for side in SIDES:
            names: EncodedNames = getattr(split, side)
            (beside / side).mkdir()
            for part in PARTS:
                _save_array(beside / side / f"{part}.npy", getattr(names, part))

    replace_folder(folder, write)


def load_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary in a prepared folder.

    Raises:
        ArtifactError: If it is missing or damaged.
    """
    return read_checked(folder / "vocabulary.json", VOCABULARY, made_by="prepare")


def check_prepared(folder: Path, data: DataParams) -> None:
    """Refuse prepared data that follow from other params.

    Raises:
        ArtifactError: If they do, or the file that says so is missing or damaged.
    """
    made_with = read_checked(folder / "data.json", MADE_WITH, made_by="prepare")
    for key, value in data:
        if made_with.get(key) != value:
            raise ArtifactError(
                f"{folder} was made with data.{key} {made_with.get(key)!r}, and params.yaml has "
                f'{value!r}; run "dvc repro"'
            )


def load_casing(folder: Path) -> Casing:
    """How the training names are written.

    Raises:
        ArtifactError: If the file that says so is missing or damaged.
    """
    return read_checked(folder / "casing.json", CASING, made_by="prepare")


def load_tries_base(folder: Path) -> bool:
    """Whether training is to try the base.

    Raises:
        ArtifactError: If the file that says so is missing or damaged.
    """
    return read_checked(folder / "start.json", START, made_by="prepare").tries_base


def load_split(folder: Path, side: str) -> EncodedNames:
    """One side of the prepared data, mapped from disk and not read into memory.

    Raises:
        ArtifactError: If it is missing or damaged.
    """
    names = EncodedNames(*(_load_array(folder / side / f"{part}.npy") for part in PARTS))
    try:
        check_names(names, load_vocabulary(folder), learnt=side == "train")
    except ValueError as error:
        raise damaged(folder / side, str(error), "prepare") from None
    return names


def load_known_hashes(folder: Path) -> np.ndarray:
    """The hashes that `save_prepared` wrote.

    Raises:
        ArtifactError: If they are missing or damaged.
    """
    path = folder / "known_hashes.npy"
    hashes = _load_array(path)
    try:
        check_hashes("known_hashes", hashes, np.uint64)
    except ValueError as error:
        raise damaged(path, str(error), "prepare") from None
    return hashes


def _save_array(path: Path, array: np.ndarray) -> None:
    """As `np.save`, which cuts a file short in silence where the disk is full."""
    content = BytesIO()
    np.save(content, array)
    path.write_bytes(content.getbuffer())


def _load_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise ArtifactError(f'{path} not found; run "dvc repro prepare"') from None
    except (ValueError, EOFError) as error:
        raise damaged(path, in_one_line(error), "prepare") from None
