"""A trained model: networks and n-gram with their vocabulary and the list they learnt."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from math import log
from typing import NamedTuple

import numpy as np
import pandas as pd
from rapidfuzz import process
from rapidfuzz.distance import OSA, DamerauLevenshtein

from nomosaurus.corpus import drop_reason, name_hash, normalise
from nomosaurus.dataset import EncodedNames
from nomosaurus.errors import ListError, SamplingError
from nomosaurus.generation import Request, Tally, Wording
from nomosaurus.mixture import Mixture
from nomosaurus.params import Recipe
from nomosaurus.sampling import Drawer, Drawing, Sample
from nomosaurus.training import Epoch, best_epoch
from nomosaurus.vocabulary import Vocabulary, characters

DRAWS_WITHOUT_A_NAME = 20_000
"""How many draws in a row may be refused before a request counts as impossible."""

DISTANCES_AT_ONCE = 4_000_000
"""How many distances between names are held in memory."""


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


class ListBits(NamedTuple):
    """What the names of a list cost a model, to compare other names with.

    Attributes:
        train: Bits per character of the training names, as in `ScoredName`, sorted; float32. Where
            names have categories, each is given its own.
        validation: The same of the validation names.
    """

    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True)
class NameModel:
    """Generates and scores names.

    Attributes:
        mixture: The networks and the n-gram.
        vocabulary: Its characters and categories.
        train: The names it learnt from.
        known_hashes: Sorted keyed hashes of every name of the list; (names,), uint64.
        recipe: The params it follows from.
        histories: Of each network, the epochs of its training, in order.
        list_bits: What the list's own names cost; None until `with_list_bits` measures them.
    """

    mixture: Mixture
    vocabulary: Vocabulary
    train: EncodedNames
    known_hashes: np.ndarray
    recipe: Recipe
    histories: list[list[Epoch]]
    list_bits: ListBits | None = None

    def with_list_bits(self, validation: EncodedNames) -> "NameModel":
        """The same model, with what its training names and the validation names cost it."""

        def sorted_bits(names: EncodedNames) -> np.ndarray:
            bits = _bits_per_char(self.nats(names), names.lengths + 1)
            return np.sort(bits).astype(np.float32)

        return replace(self, list_bits=ListBits(sorted_bits(self.train), sorted_bits(validation)))

    @property
    def best_epochs(self) -> list[Epoch]:
        """Of each network, the epoch whose weights it has."""
        return [best_epoch(history) for history in self.histories]

    def generate(self, count: int = 10, request: Request | None = None) -> list[ScoredName]:
        """Write names; the first ten of a hundred are the ten of ten.

        Args:
            count: How many.
            request: Which; any, if it is not given.

        Raises:
            SamplingError: As `stream` does; its `managed` holds the names found so far.
        """
        names: list[ScoredName] = []
        try:
            for name in self.stream(count, request or Request()):
                names.append(name)
        except SamplingError as error:
            raise SamplingError(str(error), names) from None
        return names

    def stream(
        self, count: int, request: Request, tally: Tally | None = None
    ) -> Iterator[ScoredName]:
        """Write names one by one, without keeping them.

        With `unique` they are drawn without replacement: what was drawn is taken out of the
        distribution, kept or not. With `new` alone, names of the list are taken out.

        Args:
            count: How many.
            request: Which.
            tally: Counts, as they come, what was drawn and why it was left out.

        Raises:
            ListError: If no training name has the category that is given.
            SamplingError: If the request cannot be met, or no further name turns up.
        """
        tally = tally or Tally()
        drawing = self._drawing(request)
        wording = Wording(request, lowercase=self.recipe.data.lowercase)
        drawer = Drawer(self.mixture, drawing, request.seed)
        seen: set[str] = set()
        in_vain = 0
        while tally.kept < count:
            taken_out = []
            for sample in drawer.draw():
                name = self.valid_name(sample)
                reason = self._reason_against(sample, name, request, wording, seen)
                tally.drawn += 1
                if request.unique or reason == "listed":
                    taken_out.append(sample)
                if reason:
                    tally.left_out[reason] += 1
                    in_vain += 1
                    continue
                if request.unique:
                    seen.add(name)
                tally.kept, in_vain = tally.kept + 1, 0
                chars = len(sample.ids) + 1
                nats = -sample.log_prob + self.vocabulary.unknown_nats(chars, 0)
                is_new = request.new or not self.knows(name)
                yield _scored(name, nats, chars, is_new)
                if tally.kept == count:
                    break
            drawer.leave_out(taken_out)
            if request.unique:
                tally.share_used = drawer.share_left_out
            if tally.kept < count and (drawer.is_dry or in_vain >= DRAWS_WITHOUT_A_NAME):
                raise SamplingError(_gave_up(tally, count, is_dry=drawer.is_dry))

    def _drawing(self, request: Request) -> Drawing:
        longest = self.recipe.data.max_length
        limit = min(request.max_length or longest, longest)
        if request.min_length > limit:
            raise SamplingError(
                f"min_length must be at most {limit}, the most characters that a name of this "
                f"model has (data.max_length), got {request.min_length}"
            )
        prefix = self._prefix_ids(request.prefix, limit)
        category = None if request.given is None else self.category_id(request.given)
        return Drawing(request.temperature, request.top_k, request.top_p, prefix, limit, category)

    def _reason_against(
        self,
        sample: Sample,
        name: str | None,
        request: Request,
        wording: Wording,
        seen: Container[str],
    ) -> str | None:
        """Why a sample is left out, a key of `REASONS`, or None if it is wanted."""
        if not sample.ended:
            return "too_long"
        if len(sample.ids) < request.min_length:
            return "too_short"
        if name is None:
            return "malformed"
        if request.new and self.knows(name):
            return "listed"
        if name in seen:
            return "repeated"
        reason = wording.reason_against(name)
        if reason is None and request.min_distance > 0:
            ((_, distance),) = self.nearest([name])
            if distance < request.min_distance:
                return "too_near"
        return reason

    def score(self, names: Sequence[str], given: str | None = None) -> list[ScoredName]:
        """Score names, in the order given; each is normalised as the list was.

        A character that no training name has is an unknown event and costs what
        `Vocabulary.unknown_mass` says.

        Args:
            names: The names.
            given: The category of all of them; else their category counts as not known.

        Raises:
            ListError: If `given` is no category that the model knows.
        """
        encoded = self.encode([self.normalise(name) for name in names], given)
        return self.scored(names, encoded, self.nats(encoded))

    def encode(self, names: Sequence[str], given: str | None = None) -> EncodedNames:
        """Normalised names as ids, all of the category that is given, or of none that is known.

        Raises:
            ListError: If `given` is no category that the model knows.
        """
        encoded = EncodedNames.from_names(names, self.vocabulary)
        return encoded if given is None else encoded.with_category(self.category_id(given))

    def scored(
        self, names: Sequence[str], encoded: EncodedNames, nats: np.ndarray
    ) -> list[ScoredName]:
        """Names as they were given, encoded as they were normalised, with their nats, (N,)."""
        return [
            _scored(name, float(cost), int(length) + 1, not self.knows(self.normalise(name)))
            for name, cost, length in zip(names, nats, encoded.lengths, strict=True)
        ]

    def category_id(self, category: str) -> int:
        """The id of a category.

        Raises:
            ListError: If no training name has it, naming those that there are.
        """
        known = self.vocabulary.categories
        normal = normalise(category, lowercase=False)
        if normal in known:
            return known.index(normal)
        if not known:
            raise ListError(
                f"this model knows no category, so not {category!r} either: data.condition names "
                "the list's column with the categories, and it was empty"
            )
        shown = ", ".join(repr(name) for name in known[:20]) + (", …" if len(known) > 20 else "")
        raise ListError(f"no training name has the category {category!r}; there are {shown}")

    def unknown_characters(self, names: Sequence[str]) -> list[str]:
        """The characters of names that no training name has, sorted."""
        found = {c for name in names for c in characters(self.normalise(name))}
        return sorted(found - set(self.vocabulary.characters))

    def nats(self, names: EncodedNames) -> np.ndarray:
        """Negative log-likelihood of each name, unknown events included; shape (N,).

        Given its category; where that is not known, over all of them.
        """
        return self.mixture.name_nats(names) + self.unknown_nats(names)

    def event_nats(self, names: EncodedNames) -> np.ndarray:
        """Negative log-likelihood of each letter and end, unknown events included; shape (P,)."""
        return self.unknown_event_nats(names) - self.mixture.event_log_probs(names)

    def unknown_event_nats(self, names: EncodedNames) -> np.ndarray:
        """What the unknown event adds to the nats of each letter and end; shape (P,)."""
        is_unknown = (names.targets == self.vocabulary.unknown_id).astype(float)  # (P,)
        return self.vocabulary.unknown_nats(1 - is_unknown, is_unknown)

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
        """The nearest training name of each, and its distance; see `neighbours`."""
        return [near[0] for near in self.neighbours(names, 1)]

    def neighbours(self, names: Sequence[str], count: int) -> list[list[tuple[str, int]]]:
        """The `count` nearest training names of each, nearest first, with their distances.

        Damerau-Levenshtein, unrestricted, counted in characters. Among equally near ones the
        first of the list.
        """
        encoded = EncodedNames.from_names([self.normalise(name) for name in names], self.vocabulary)
        return [
            [
                (self.vocabulary.decode(self.train[row]), int(distance))
                for row, distance in zip(*near, strict=True)
            ]
            for near in zip(*self.nearest_rows(encoded, count), strict=True)
        ]

    def nearest_rows(self, names: EncodedNames, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the training names nearest to each, and their distances.

        As `neighbours`; an unknown character is like none of a training name.

        Returns:
            Both of shape (names, count); fewer columns if there are fewer training names.
        """
        spelt, train = _spelt(names), self._train_spelt
        count = min(count, len(train))
        rows, distances = np.zeros((2, len(spelt), count), dtype=np.int64)
        at_once = max(1, DISTANCES_AT_ONCE // len(train))
        for start in range(0, len(spelt), at_once):
            block = spelt[start : start + at_once]
            # Optimal string alignment is fifty times as fast, and at least the distance. It
            # is at most 3/2 of it: only letters swapped around others cost it more, and with
            # k letters between them that is k + 2 edits instead of k + 1.
            aligned = process.cdist(block, train, scorer=OSA.distance, dtype=np.int32)
            within = np.partition(aligned, count - 1, axis=1)[:, count - 1]
            for i, (bounds, most) in enumerate(zip(aligned, within, strict=True), start):
                candidates = np.flatnonzero(2 * bounds <= 3 * most)
                exact = process.cdist(
                    [spelt[i]],
                    [train[row] for row in candidates],
                    scorer=DamerauLevenshtein.distance,
                )[0]
                nearest = np.argsort(exact, kind="stable")[:count]
                rows[i], distances[i] = candidates[nearest], exact[nearest]
        return rows, distances

    @cached_property
    def _train_spelt(self) -> list[str]:
        return _spelt(self.train)

    def _prefix_ids(self, prefix: str, limit: int) -> tuple[int, ...]:
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
        if len(ids) > limit:
            raise SamplingError(
                f"the prefix {prefix!r} has {len(ids)} characters, and a name has at most {limit} "
                "(max_length, and data.max_length of this model)"
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


def _gave_up(tally: Tally, count: int, *, is_dry: bool) -> str:
    found = f"found {tally.kept:,} of the {count:,} names asked for: "
    if is_dry:
        return f"{found}the model can write no other ({tally})"
    return (
        f"{found}the last {DRAWS_WITHOUT_A_NAME:,} draws gave none ({tally}); "
        "ask for fewer names, for less, or for a higher temperature"
    )


def _scored(name: str, nats: float, chars: int, new: bool) -> ScoredName:
    bits = float(_bits_per_char(nats, chars))
    return ScoredName(name, -round(float(nats), 6), chars, bits, bool(new))


def _bits_per_char(nats: np.ndarray | float, chars: np.ndarray | int) -> np.ndarray:
    """To four decimals; of the shape of the arguments."""
    return np.round(np.round(nats, 6) / chars / log(2), 4)


def _spelt(names: EncodedNames) -> list[str]:
    """Names with each id as a code point: their edits are those of the characters."""
    return ["".join(map(chr, names[i].tolist())) for i in range(len(names))]
