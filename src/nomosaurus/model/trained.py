"""A trained model: networks and n-gram, their vocabulary, list and losses; it scores names."""

# N names, P events of all names (letters and ends, name after name)

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import numpy as np

from nomosaurus.errors import ListError, shortened
from nomosaurus.model.costs import unknown_event_nats, unknown_nats
from nomosaurus.model.mixture import Mixture
from nomosaurus.names.casing import Casing
from nomosaurus.names.corpus import category_id, name_hash, normalise
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.reading import check_encoding
from nomosaurus.names.vocabulary import Vocabulary, characters
from nomosaurus.params import LONGEST_NAME, Recipe

MOST_CODE_POINTS = 4 * LONGEST_NAME
"""Of a name; normalising may take time that grows with the square of them."""
LENGTHS = f"a name must have from 1 to {LONGEST_NAME:,} characters"


@dataclass(frozen=True)
class Epoch:
    """The outcome of one epoch; nats are per scored character (letters and end).

    Attributes:
        number: 1 for the first.
        train_nats: Mean over the epoch, with dropout and while the weights moved.
        validation_nats: Of the averaged weights at the end of the epoch.
        is_best: Whether no earlier epoch had a validation loss as low.
    """

    number: int
    train_nats: float
    validation_nats: float
    is_best: bool


def best_epoch(epochs: list[Epoch]) -> Epoch:
    """The epoch with the lowest validation loss, the first of them."""
    return [epoch for epoch in epochs if epoch.is_best][-1]


@dataclass(frozen=True)
class ScoredName:
    """A name and what the model makes of it.

    Attributes:
        log_prob: In nats, the end counted.
        chars: What was predicted: letters + 1 for the end.
        bits_per_char: -log_prob / chars / ln 2.
        new: Whether it is on no side of the list, neither learnt nor held out.
    """

    name: str
    log_prob: float
    chars: int
    bits_per_char: float
    new: bool

    @classmethod
    def of(cls, name: str, nats: float, chars: int, *, new: bool) -> "ScoredName":
        """From what the name costs, in nats."""
        bits = float(bits_per_char(nats, chars))
        return cls(name, -round(float(nats), 6), chars, bits, new)


class ListBits(NamedTuple):
    """What the names of a list cost a model, to compare other names with.

    Of each side: bits per character, as in `ScoredName`, sorted; float32. Where names have
    categories, each is given its own.
    """

    train: np.ndarray
    validation: np.ndarray

    @classmethod
    def measure(
        cls,
        mixture: Mixture,
        vocabulary: Vocabulary,
        train: EncodedNames,
        validation: EncodedNames,
    ) -> "ListBits":
        """What the names of both sides cost."""

        def sorted_bits(names: EncodedNames) -> np.ndarray:
            nats = mixture.name_nats(names) + unknown_nats(names, vocabulary)  # (N,)
            of_names = names.mean_by_name(nats)
            return np.sort(bits_per_char(of_names, names.distinct().lengths + 1)).astype(np.float32)

        return cls(sorted_bits(train), sorted_bits(validation))


@dataclass(frozen=True)
class TrainedModel:
    """A model and all that it knows of its list; it scores names.

    Attributes:
        known_hashes: Sorted keyed hashes of every name of the list; (names,), uint64.
        histories: Of each network, the epochs of its training, in order.
        casing: How the list writes its words.
    """

    mixture: Mixture
    vocabulary: Vocabulary
    train: EncodedNames
    known_hashes: np.ndarray
    recipe: Recipe
    histories: list[list[Epoch]]
    list_bits: ListBits
    casing: Casing

    @property
    def best_epochs(self) -> list[Epoch]:
        """Of each network, the epoch whose weights it has."""
        return [best_epoch(history) for history in self.histories]

    def score(self, names: Sequence[str], given: str | None = None) -> list[ScoredName]:
        """Score names, in the order given; each is normalised as the list was.

        A character that no training name has is an unknown event and costs what
        `Vocabulary.unknown_mass` says. Without `given`, the names' category is not known.

        Raises:
            ListError: If one is no name, as `normalised` says, or if `given` is no category that
                the model knows.
        """
        encoded = self.encode(self.normalised(names), given)
        return self.scored(names, encoded, self.nats(encoded))

    def encode(self, names: Sequence[str], given: str | None = None) -> EncodedNames:
        """Normalised names as ids, all of the given category, or of no known one.

        Raises:
            ListError: If `given` is no category that the model knows.
        """
        encoded = EncodedNames.from_names(names, self.vocabulary)
        return encoded if given is None else encoded.with_category(self.category_id(given))

    def scored(
        self, names: Sequence[str], encoded: EncodedNames, nats: np.ndarray
    ) -> list[ScoredName]:
        """Scores of names as they were given, from their normalised form and their nats, (N,)."""
        return [
            ScoredName.of(name, cost, int(length) + 1, new=not self.knows(self.normalise(name)))
            for name, cost, length in zip(names, nats, encoded.lengths, strict=True)
        ]

    def category_id(self, category: object) -> int:
        """The id of a category.

        Raises:
            ListError: If no training name has it, naming those that there are.
        """
        return category_id(category, self.vocabulary)

    def unknown_characters(self, names: Sequence[str]) -> list[str]:
        """The characters of names that no training name has, sorted."""
        found = {c for name in self.normalised(names) for c in characters(name)}
        return sorted(found - set(self.vocabulary.characters))

    def nats(self, names: EncodedNames) -> np.ndarray:
        """As `Mixture.name_nats`, unknown events included; shape (N,)."""
        return self.mixture.name_nats(names) + unknown_nats(names, self.vocabulary)

    def event_nats(self, names: EncodedNames) -> np.ndarray:
        """Negative log-likelihood of each letter and end, unknown events included; shape (P,)."""
        return unknown_event_nats(names, self.vocabulary) - self.mixture.event_log_probs(names)

    def normalise(self, name: str) -> str:
        """The form of a name that this model knows."""
        return normalise(name, lowercase=self.recipe.data.lowercase)

    def normalised(self, names: object) -> list[str]:
        """The forms that this model knows of names from anywhere.

        Raises:
            ListError: If these are no names, or one of them is none, as `checked` says, or blank.
        """
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ListError(f"names must be a list of texts, got {shortened(names)}")
        normal = [self.checked(name, number) for number, name in enumerate(names, start=1)]
        if not all(normal):
            raise ListError(f"{LENGTHS}, and number {normal.index('') + 1} has 0")
        return normal

    def checked(self, name: object, number: int = 1) -> str:
        """The form that this model knows of what may be a name; empty if it is blank.

        Raises:
            ListError: If it is no text, not UTF-8, or longer than a name of any list, as the
                `number`-th of those that were given.
        """
        if not isinstance(name, str):
            raise ListError(f"a name must be text, and number {number} is {shortened(name)}")
        check_encoding(name)
        if len(name) > MOST_CODE_POINTS:
            raise ListError(f"{LENGTHS}, and number {number} has {len(name):,} code points")
        normal = self.normalise(name)
        length = len(characters(normal))
        if length > LONGEST_NAME:
            raise ListError(f"{LENGTHS}, and number {number} has {length:,}")
        return normal

    def written(self, name: str) -> str:
        """A normalised name as the list would write it."""
        return self.casing.written(name) if self.recipe.data.lowercase else name

    def knows(self, name: str) -> bool:
        """Whether a normalised name is on the list, learnt or held out."""
        wanted = np.uint64(name_hash(name, self.recipe.data.split_key))
        place = np.searchsorted(self.known_hashes, wanted)
        return bool(place < len(self.known_hashes) and self.known_hashes[place] == wanted)


def bits_per_char(nats: np.ndarray | float, chars: np.ndarray | int) -> np.ndarray:
    """To four decimals; of the shape of the arguments."""
    return np.round(np.round(nats, 6) / chars / log(2), 4)
