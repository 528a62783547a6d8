"""Names as ids: encoded, on disk as `prepare` leaves them, and in batches by length."""

# N names, B batch, T time steps (longest name of the batch + boundary), V vocabulary,
# C categories

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nomosaurus.errors import ArtifactError
from nomosaurus.files import read_json, replace_folder, write_json, write_text
from nomosaurus.names.casing import Casing
from nomosaurus.names.vocabulary import BOUNDARY_ID, Vocabulary
from nomosaurus.params import DataParams


@dataclass(frozen=True)
class EncodedNames:
    """Many names as ids: their one-hot matrices in compact form, and their categories.

    Attributes:
        ids: Every character of every name, one after the other, without
            boundaries; shape (characters,).
        offsets: Name i is `ids[offsets[i] : offsets[i + 1]]`; shape (N + 1,).
        categories: Of each name; C where it is not known, and everywhere if C is 0; shape (N,).
    """

    ids: np.ndarray
    offsets: np.ndarray
    categories: np.ndarray

    @classmethod
    def from_names(
        cls,
        names: Sequence[str],
        vocabulary: Vocabulary,
        categories: Mapping[str, str] | None = None,
    ) -> "EncodedNames":
        """Encode names; what is outside the vocabulary gets the unknown id.

        A name without an entry in `categories` is of no known category.
        """
        encoded = [vocabulary.encode(name) for name in names]
        ids = np.concatenate(encoded) if encoded else np.empty(0, dtype=vocabulary.id_type)
        lengths = [len(name) for name in encoded]
        category_ids = vocabulary.encode_categories(map((categories or {}).get, names))
        return cls(ids, np.cumsum([0, *lengths], dtype=np.int64), category_ids)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        """Ids of name i, shape (its characters,)."""
        return self.ids[self.offsets[i] : self.offsets[i + 1]]

    def select(self, rows: np.ndarray) -> "EncodedNames":
        """The names in `rows`, shape (R,), in that order; a name may come several times."""
        ids = np.concatenate([self.ids[:0], *(self[i] for i in rows)])
        offsets = np.cumsum([0, *self.lengths[rows]], dtype=np.int64)
        return EncodedNames(ids, offsets, self.categories[rows])

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

    def num_known_events(self, vocab_size: int) -> int:
        """Events that a vocabulary of this size can score: all but unknown characters."""
        return self.num_events - int((np.asarray(self.ids) >= vocab_size).sum())

    def sum_by_name(self, events: np.ndarray) -> np.ndarray:
        """Sums of a value of each event, shape (P,), over each name; shape (N,)."""
        return np.bincount(self.event_rows, events, minlength=len(self))

    def decode(self, vocabulary: Vocabulary) -> list[str]:
        """The names; only where none has an unknown character, as in train."""
        return [vocabulary.decode(self[i]) for i in range(len(self))]


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
    """Every name once, in batches of nearly one length, so that little is padded.

    With a generator, which names of a length meet and the order of the batches are random;
    without one, the shortest names come first.

    Yields:
        The rows of the names in the batch, shape (B,), and the batch.
    """
    if generator is None:
        order = np.arange(len(names))
    else:
        order = torch.randperm(len(names), generator=generator).numpy()
    order = order[np.argsort(names.lengths[order], kind="stable")]
    chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if generator is not None:
        turn = torch.randperm(len(chunks), generator=generator).tolist()
        chunks = [chunks[i] for i in turn]
    for rows in chunks:
        yield rows, make_batch(names, rows)


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
        cls, sides: Sequence[Sequence[str]], categories: Mapping[str, str] | None = None
    ) -> "Split":
        """Encode the names of train, validation and test, and the familiar ones."""
        vocabulary = Vocabulary.from_names(sides[0], categories)
        encoded = (EncodedNames.from_names(side, vocabulary, categories) for side in sides)
        return cls(vocabulary, *encoded)


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
        np.save(beside / "known_hashes.npy", known_hashes)
        for side in SIDES:
            names: EncodedNames = getattr(split, side)
            (beside / side).mkdir()
            for part in PARTS:
                np.save(beside / side / f"{part}.npy", getattr(names, part))

    replace_folder(folder, write)


def load_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary in a prepared folder.

    Raises:
        ArtifactError: If it is missing or damaged.
    """
    path = folder / "vocabulary.json"
    content = read_json(path, made_by="prepare")
    try:
        return Vocabulary(
            tuple(content["characters"]),
            float(content["unknown_mass"]),
            tuple(content["categories"]),
        )
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(
            f'{path} is not a vocabulary; run "dvc repro --force prepare"'
        ) from None


def check_prepared(folder: Path, data: DataParams) -> None:
    """Refuse prepared data that follow from other params.

    Raises:
        ArtifactError: If they do, or the file that says so is missing or damaged.
    """
    made_with = read_json(folder / "data.json", made_by="prepare")
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
    path = folder / "casing.json"
    try:
        return Casing(**read_json(path, made_by="prepare"))
    except TypeError:
        raise ArtifactError(f'{path} is damaged; run "dvc repro --force prepare"') from None


def load_tries_base(folder: Path) -> bool:
    """Whether training is to try the base.

    Raises:
        ArtifactError: If the file that says so is missing or damaged.
    """
    path = folder / "start.json"
    tries = read_json(path, made_by="prepare").get("tries_base")
    if not isinstance(tries, bool):
        raise ArtifactError(f'{path} does not say so; run "dvc repro --force prepare"')
    return tries


def load_split(folder: Path, side: str) -> EncodedNames:
    """One side of the prepared data, mapped from disk and not read into memory.

    Raises:
        ArtifactError: If it is missing or damaged.
    """
    return EncodedNames(*(_load_array(folder / side / f"{part}.npy") for part in PARTS))


def load_known_hashes(folder: Path) -> np.ndarray:
    """The hashes that `save_prepared` wrote.

    Raises:
        ArtifactError: If they are missing or damaged.
    """
    return _load_array(folder / "known_hashes.npy")


def _load_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise ArtifactError(f'{path} not found; run "dvc repro prepare"') from None
    except (ValueError, EOFError, OSError) as error:
        raise ArtifactError(
            f'{path} is damaged ({error}); run "dvc repro --force prepare"'
        ) from None
