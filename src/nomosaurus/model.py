"""A trained model: networks and n-gram with their vocabulary and the list they learnt."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import log

import numpy as np
import pandas as pd
from rapidfuzz import process
from rapidfuzz.distance import OSA, DamerauLevenshtein

from nomosaurus.corpus import drop_reason, name_hash, normalise
from nomosaurus.dataset import EncodedNames
from nomosaurus.errors import SamplingError
from nomosaurus.mixture import Mixture
from nomosaurus.params import Recipe
from nomosaurus.sampling import Drawing, Sample, draw_samples
from nomosaurus.training import Epoch, best_epoch
from nomosaurus.vocabulary import Vocabulary, characters

DRAWS_WITHOUT_A_NAME = 20_000
"""How many draws in a row may be refused before a request counts as impossible."""


PAIRS_AT_ONCE = 2**22
"""How many pairs of names are compared before their distances are dropped: 16 MB."""


@dataclass(frozen=True)
class ScoredName:
    """A name and what the model makes of it.

    Attributes:
        name: The name.
        log_prob: Its log-probability in nats, the end counted.
        chars: What was predicted: letters + 1 for the end.
        bits_per_char: -log_prob / chars / ln 2.
        new: Whether it is on no side of the list, neither learnt nor held out.
    """

    name: str
    log_prob: float
    chars: int
    bits_per_char: float
    new: bool


@dataclass(frozen=True)
class NameModel:
    """Generates and scores names.

    Attributes:
        mixture: The networks and the n-gram.
        vocabulary: Its characters.
        train: The names it learnt from.
        known_hashes: Sorted keyed hashes of every name of the list; (names,), uint64.
        recipe: The params it follows from.
        histories: Of each network, the epochs of its training, in order.
    """

    mixture: Mixture
    vocabulary: Vocabulary
    train: EncodedNames
    known_hashes: np.ndarray
    recipe: Recipe
    histories: list[list[Epoch]]

    @property
    def best_epochs(self) -> list[Epoch]:
        """Of each network, the epoch whose weights it has."""
        return [best_epoch(history) for history in self.histories]

    def generate(
        self,
        count: int = 10,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        prefix: str = "",
        new: bool = False,
        unique: bool = False,
    ) -> list[ScoredName]:
        """Write names; the first ten of a hundred are the ten of ten.

        Raises:
            SamplingError: As `stream` does; its `managed` holds the names found so far.
        """
        names: list[ScoredName] = []
        try:
            for name in self.stream(
                count,
                seed=seed,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                prefix=prefix,
                new=new,
                unique=unique,
            ):
                names.append(name)
        except SamplingError as error:
            raise SamplingError(str(error), names) from None
        return names

    def stream(
        self,
        count: int,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        prefix: str = "",
        new: bool = False,
        unique: bool = False,
    ) -> Iterator[ScoredName]:
        """Write names one by one.

        Args:
            count: How many.
            seed: Same seed, same names.
            temperature: Below 1 bolder on the likely, above 1 wilder.
            top_k: Draw each character from the k most likely; 0 for all.
            top_p: Draw from the most likely that together reach this probability.
            prefix: What every name begins with.
            new: Leave out names that are on the list.
            unique: Leave out names that came before.

        Raises:
            SamplingError: If the prefix has a character that the list does not have or
                is too long, or if no further name turns up.
        """
        drawing = Drawing(
            temperature, top_k, top_p, self._prefix_ids(prefix), self.recipe.data.max_length
        )
        seen: set[str] = set()
        found = refused = 0
        if count < 1:
            return
        for sample in draw_samples(self.mixture, drawing, seed):
            if refused == DRAWS_WITHOUT_A_NAME:
                raise SamplingError(
                    f"found {found} of the {count} names asked for: the last {refused:,} "
                    "draws gave none that meets the request; ask for fewer names, raise the "
                    "temperature, or leave out --new, --unique or part of the prefix"
                )
            refused += 1
            name = self.valid_name(sample)
            if name is None or name in seen:
                continue
            is_new = not self.knows(name)
            if new and not is_new:
                continue
            if unique:
                seen.add(name)
            chars = len(sample.ids) + 1
            nats = -sample.log_prob + self.vocabulary.unknown_nats(chars, 0)
            yield _scored(name, nats, chars, is_new)
            found, refused = found + 1, 0
            if found == count:
                return

    def score(self, names: Sequence[str]) -> list[ScoredName]:
        """Score names, in the order given; each is normalised as the list was.

        A character that no training name has is an unknown event and costs what
        `Vocabulary.unknown_mass` says.
        """
        normal = [self.normalise(name) for name in names]
        encoded = EncodedNames.from_names(normal, self.vocabulary)
        nats = self.nats(encoded)
        return [
            _scored(name, float(cost), int(length) + 1, not self.knows(plain))
            for name, plain, cost, length in zip(names, normal, nats, encoded.lengths, strict=True)
        ]

    def unknown_characters(self, names: Sequence[str]) -> list[str]:
        """The characters of names that no training name has, sorted."""
        found = {c for name in names for c in characters(self.normalise(name))}
        return sorted(found - set(self.vocabulary.characters))

    def nats(self, names: EncodedNames) -> np.ndarray:
        """Negative log-likelihood of each name, unknown events included; shape (N,)."""
        return self.mixture.name_nats(names) + self.unknown_nats(names)

    def unknown_nats(self, names: EncodedNames) -> np.ndarray:
        """What the unknown event adds to the nats of each name; shape (N,)."""
        is_unknown = (names.targets == self.vocabulary.unknown_id).astype(float)  # (P,)
        unknown = names.sum_by_name(is_unknown)  # (N,)
        return self.vocabulary.unknown_nats(names.lengths + 1 - unknown, unknown)

    def normalise(self, name: str) -> str:
        """The form of a name that this model knows."""
        return normalise(name, lowercase=self.recipe.data.lowercase)

    def knows(self, name: str) -> bool:
        """Whether a normalised name is on the list, learnt or held out."""
        wanted = np.uint64(name_hash(name, self.recipe.data.split_key))
        place = np.searchsorted(self.known_hashes, wanted)
        return place < len(self.known_hashes) and self.known_hashes[place] == wanted

    def valid_name(self, sample: Sample) -> str | None:
        """The name that was drawn, if it would be kept, unchanged, if it stood on the list.

        None if it was cut off, breaks a rule of the list, or its characters are not the
        drawn ones: some, such as two halves of a flag, become one side by side.
        """
        name = self.vocabulary.decode(sample.ids)
        is_valid = (
            sample.ended
            and self.normalise(name) == name
            and not drop_reason(name, self.recipe.data.max_length)
            and np.array_equal(self.vocabulary.encode(name), sample.ids)
        )
        return name if is_valid else None

    def nearest(self, names: Sequence[str]) -> list[tuple[str, int]]:
        """The nearest training name of each, and its Damerau-Levenshtein distance.

        Edits are counted in characters. Among equally near ones the first of the list.
        """
        encoded = EncodedNames.from_names([self.normalise(n) for n in names], self.vocabulary)
        rows, distances = self.nearest_rows(encoded)
        return [
            (self.vocabulary.decode(self.train[row]), int(distance))
            for row, distance in zip(rows, distances, strict=True)
        ]

    def nearest_rows(self, names: EncodedNames) -> tuple[np.ndarray, np.ndarray]:
        """The row of each one's nearest training name, and its distance; shapes (names,).

        As `nearest`; an unknown character is like none of a training name.
        """
        texts, train = _as_text(names), self._train_text
        rows, distances = np.zeros((2, len(texts)), dtype=np.int64)
        block = max(1, PAIRS_AT_ONCE // len(train))
        for start in range(0, len(texts), block):
            # OSA swaps only neighbours and is fifty times as fast; it is never below
            # Damerau-Levenshtein, and at most 3/2 of it: where letters lie between the two that
            # swap, OSA pays g + 2 for what costs g + 1.
            osa = process.cdist(texts[start : start + block], train, scorer=OSA.distance)
            for i, bounds in enumerate(osa, start):
                near = np.flatnonzero(bounds <= bounds.min() * 3 // 2)
                exact = process.cdist(
                    [texts[i]], [train[row] for row in near], scorer=DamerauLevenshtein.distance
                )[0]
                best = exact.argmin()
                rows[i], distances[i] = near[best], exact[best]
        return rows, distances

    @cached_property
    def _train_text(self) -> list[str]:
        return _as_text(self.train)

    def _prefix_ids(self, prefix: str) -> tuple[int, ...]:
        # With a letter behind it, since a prefix may end in the space between two words,
        # and since lower case depends on what follows (the Greek sigma).
        normal = normalise(f"{prefix}x", lowercase=self.recipe.data.lowercase)[:-1]
        ids = self.vocabulary.encode(normal)
        for character, i in zip(characters(normal), ids, strict=True):
            if i == self.vocabulary.unknown_id:
                raise SamplingError(
                    f"the prefix {prefix!r} has the character {character!r}, which no "
                    "training name has; a model can only write characters it has seen"
                )
        if len(ids) > self.recipe.data.max_length:
            raise SamplingError(
                f"the prefix {prefix!r} has {len(ids)} characters, and a name of this model "
                f"has at most {self.recipe.data.max_length} (data.max_length)"
            )
        return tuple(int(i) for i in ids)


def name_table(model: NameModel, names: Sequence[ScoredName]) -> pd.DataFrame:
    """Names with their scores and the nearest training name, a row each, for people."""
    table = pd.DataFrame(
        [asdict(name) for name in names],
        columns=[field.name for field in fields(ScoredName)],
    )
    nearest = model.nearest([name.name for name in names])
    table["nearest"] = [name for name, _ in nearest]
    table["distance"] = [distance for _, distance in nearest]
    return table


def _as_text(names: EncodedNames) -> list[str]:
    """Names in which one code point is one character, its id."""
    return ["".join(map(chr, names[i].tolist())) for i in range(len(names))]


def _scored(name: str, nats: float, chars: int, new: bool) -> ScoredName:
    nats = round(float(nats), 6)
    return ScoredName(name, -nats, chars, round(nats / chars / log(2), 4), bool(new))
