"""Characters to ids to one-hot vectors, and back; categories to ids.

A character is an extended grapheme cluster (Unicode Standard Annex 29): what a
reader sees as one letter, however many code points it takes.
"""

# T characters of a name, V vocabulary (boundary included), N names, C categories

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, TypeVar

import numpy as np
import regex
from pydantic import AfterValidator, Field

BOUNDARY_ID = 0
"""The id that starts and ends every name."""

Counts = TypeVar("Counts", float, np.ndarray)
"""Of one name or event, or of each of several."""


def characters(name: str) -> list[str]:
    """Split a name into its grapheme clusters.

    >>> characters("ñu")
    ['ñ', 'u']
    """
    return regex.findall(r"\X", name)


def _all_differ(texts: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(texts)) < len(texts):
        raise ValueError("one of them is there twice")
    return texts


# The rules for those that are read from a file.
Text = Annotated[str, Field(min_length=1)]
Characters = Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_all_differ)]
Categories = Annotated[tuple[str, ...], AfterValidator(_all_differ)]
UnknownMass = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Vocabulary:
    """The characters of the training names, and their categories if the list has any.

    Attributes:
        characters: Sorted by code point; `characters[i]` has the id i + 1.
        unknown_mass: The probability kept for a character never seen, at each step.
        categories: Sorted by code point; `categories[i]` has the id i. Empty without
            data.condition.
    """

    characters: Characters
    unknown_mass: UnknownMass
    categories: Categories = ()

    @classmethod
    def from_names(
        cls, names: Sequence[str], categories: Mapping[str, Sequence[str]] | None = None
    ) -> "Vocabulary":
        """Collect the characters and categories of the training names.

        `categories` has those of every name, or of none. `unknown_mass` is the Good-Turing
        estimate (Good 1953): the number of characters seen exactly once, or 1 if there is none,
        over the number of events (characters and ends) plus 1.
        """
        counts = Counter(character for name in names for character in characters(name))
        singletons = sum(count == 1 for count in counts.values())
        unknown_mass = max(singletons, 1) / (counts.total() + len(names) + 1)
        of_names = {c for name in names for c in categories[name]} if categories else ()
        return cls(tuple(sorted(counts)), unknown_mass, tuple(sorted(of_names)))

    @property
    def size(self) -> int:
        """V: the number of characters, and one for the boundary."""
        return len(self.characters) + 1

    @property
    def unknown_id(self) -> int:
        """The id of any character outside the vocabulary: V, one past the last."""
        return self.size

    @property
    def num_categories(self) -> int:
        """C; also the id of a category that no training name has, or that is not given."""
        return len(self.categories)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters, start=1)}

    def encode(self, name: str) -> np.ndarray:
        """Ids of a name's characters, shape (T,), without boundaries."""
        ids = [self._ids.get(character, self.unknown_id) for character in characters(name)]
        return np.array(ids, dtype=self.id_type)

    @property
    def id_type(self) -> np.dtype:
        """The smallest unsigned type that holds every id, the unknown one included."""
        return np.min_scalar_type(self.unknown_id)

    def encode_categories(self, categories: Iterable[str | None]) -> np.ndarray:
        """Ids of the categories of names, shape (N,), of the smallest unsigned type; None is C."""
        known: dict[str | None, int] = {c: i for i, c in enumerate(self.categories)}
        ids = [known.get(category, self.num_categories) for category in categories]
        return np.array(ids, dtype=np.min_scalar_type(self.num_categories))

    def unknown_nats(self, known: Counts, unknown: Counts) -> Counts:
        """What the unknown event adds to the negative log-likelihood of names, in nats.

        At each step it has the probability `unknown_mass`, and what a network or an n-gram
        predicts shares the rest, so that all still sums to 1. `known` counts known characters
        and ends, `unknown` unknown characters.
        """
        return -(known * math.log1p(-self.unknown_mass) + unknown * math.log(self.unknown_mass))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The name with these ids, shape (T,), without boundaries.

        Raises:
            ValueError: On the boundary or an id outside the vocabulary.
        """
        for i in ids:
            if not 1 <= i < self.size:
                raise ValueError(f"id {i} is not a character; ids run from 1 to {self.size - 1}")
        return "".join(self.characters[i - 1] for i in ids)

    def one_hot(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The matrix of x_t: one row a time step, with its 1 at the id; shape (T, V).

        A row for the unknown id is all zeros.
        """
        ids = np.asarray(ids)
        return (ids[:, None] == np.arange(self.size)).astype(np.float32)  # (T, V)
