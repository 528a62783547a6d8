"""Writes names with a trained model: draws, and keeps those that were asked for."""

import math
import time
from collections.abc import Container, Iterator, Sequence

import numpy as np
from pydantic import ValidationError

from nomosaurus.errors import SamplingError, shortened
from nomosaurus.generation.nearest import NearestNames, Neighbour, neighbours
from nomosaurus.generation.request import Request, Tally, Wording
from nomosaurus.generation.sampling import Drawer, Drawing, Sample
from nomosaurus.model.trained import ScoredName, TrainedModel, bits_per_char
from nomosaurus.names.corpus import category_id, drop_reason, normalise
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary, characters
from nomosaurus.params import Count, DataParams, rule_broken

DRAWS_WITHOUT_A_NAME = 20_000
"""How many draws in a row may be refused before a request counts as impossible."""


class NameGenerator:
    """Generates and scores names; `nomosaurus.load` gives one."""

    def __init__(self, model: TrainedModel) -> None:
        self.model = model
        self._nearest = NearestNames(model.train)

    def score(self, names: Sequence[str], given: str | None = None) -> list[ScoredName]:
        """Score names; see `TrainedModel.score`."""
        return self.model.score(names, given)

    def nearest(self, name: str) -> Neighbour:
        """The learnt name that is nearest to a name."""
        return neighbours(self.model, [name], 1, self._nearest)[0][0]

    def generate(self, count: int = 10, request: Request | None = None) -> list[ScoredName]:
        """Write names; the first ten of a hundred are the ten of ten.

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
        self,
        count: int,
        request: Request,
        tally: Tally | None = None,
        most_seconds: float = math.inf,
    ) -> Iterator[ScoredName]:
        """Write names one by one, without keeping them.

        With `unique` they are drawn without replacement: what was drawn is taken out of the
        distribution, kept or not. With `new` alone, names of the list are taken out.

        The tally counts, as they come, what was drawn and why it was left out. The seconds are
        those that this thread computes.

        Raises:
            ListError: If no training name has the category that is given.
            SamplingError: If the request cannot be met, or no further name turns up, or not in
                time.
        """
        try:
            Count(count=count)
        except ValidationError as error:
            raise SamplingError(rule_broken(error, Count)) from None
        began = time.thread_time()
        tally = tally or Tally()
        drawing = _drawing(request, self.model.vocabulary, self.model.recipe.data)
        wording = Wording(request, lowercase=self.model.recipe.data.lowercase)
        drawer = Drawer(self.model.mixture, drawing, request.seed)
        near = [self._nearest] if request.min_distance else []
        if near and wording.avoided:
            avoided = map(self.model.normalise, wording.avoided)
            near.append(NearestNames(self.model.encode(list(avoided))))
        seen: set[str] = set()
        in_vain = 0
        while tally.kept < count:
            taken_out = []
            for sample in drawer.draw():
                name = self.model.vocabulary.decode(sample.ids)
                chars = len(sample.ids) + 1
                nats = -sample.log_prob + self.model.vocabulary.unknown_nats(chars, 0)
                reason = self._reason_against(sample, name, request, wording, seen)
                if reason is None and near and self._is_near(name, near, request.min_distance):
                    reason = "too_near"
                if reason is None and 0 < request.max_bits < bits_per_char(nats, chars):
                    reason = "unnatural"
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
                is_new = request.new or not self.model.knows(name)
                written = name if request.raw else self.model.written(name)
                yield ScoredName.of(written, nats, chars, new=is_new)
                if tally.kept == count:
                    break
            drawer.leave_out(taken_out)
            if request.unique:
                tally.share_used = drawer.share_left_out
            if tally.kept < count and time.thread_time() - began > most_seconds:
                raise SamplingError(
                    f"found {tally.kept:,} of the {count:,} names asked for in {most_seconds:g} "
                    f"seconds ({tally}); ask for fewer names, or loosen the request"
                )
            if tally.kept < count and (drawer.is_dry or in_vain >= DRAWS_WITHOUT_A_NAME):
                raise SamplingError(_gave_up(tally, count, is_dry=drawer.is_dry))

    def _reason_against(
        self,
        sample: Sample,
        name: str,
        request: Request,
        wording: Wording,
        seen: Container[str],
    ) -> str | None:
        """Why a sample is left out, a key of `REASONS`, or None if it is wanted."""
        if not sample.ended:
            return "too_long"
        if len(sample.ids) < request.min_length:
            return "too_short"
        if valid_name(self.model, sample) is None:
            return "malformed"
        if request.new and self.model.knows(name):
            return "listed"
        if name in seen:
            return "repeated"
        return wording.reason_against(name)

    def _is_near(self, name: str, others: Sequence[NearestNames], least: int) -> bool:
        """Whether fewer than so many edits lie between a name and one of the others."""
        encoded = EncodedNames.from_names([name], self.model.vocabulary)
        return any(nearest.rows(encoded)[1].min() < least for nearest in others)


def check_request(request: Request, vocabulary: Vocabulary, data: DataParams) -> None:
    """Whether a model with this vocabulary, of a list with these params, could meet a request.

    Raises:
        ListError: If no training name has the category that is given.
        SamplingError: If another setting cannot be met.
    """
    _drawing(request, vocabulary, data)
    some = "".join(vocabulary.characters[:10])
    Wording(request, lowercase=data.lowercase).reason_against(some)  # (?R) compiles, and runs away


def _drawing(request: Request, vocabulary: Vocabulary, data: DataParams) -> Drawing:
    limit = min(request.max_length or data.max_length, data.max_length)
    if request.min_length > limit:
        raise SamplingError(
            f"min_length must be at most {limit}, the most characters that a name of this "
            f"model has (data.max_length), got {request.min_length}"
        )
    prefixes = _prefixes(request, limit, vocabulary, data)
    category = None if request.given is None else category_id(request.given, vocabulary)
    return Drawing(request.temperature, request.top_k, request.top_p, prefixes, limit, category)


def _prefixes(
    request: Request, limit: int, vocabulary: Vocabulary, data: DataParams
) -> tuple[tuple[int, ...], ...]:
    """The prefixes as ids, without those that begin with another one, in their own order."""
    given = [request.prefix] if isinstance(request.prefix, str) else request.prefix
    prefixes: list[tuple[int, ...]] = []
    for ids in sorted(_prefix_ids(prefix, limit, vocabulary, data) for prefix in given or [""]):
        # What begins with a prefix comes right behind it.
        if not prefixes or ids[: len(prefixes[-1])] != prefixes[-1]:
            prefixes.append(ids)
    return tuple(prefixes)


def _prefix_ids(
    prefix: str, limit: int, vocabulary: Vocabulary, data: DataParams
) -> tuple[int, ...]:
    # With a letter behind it, since a prefix may end in the space between two words,
    # and since lower case depends on what follows (the Greek sigma).
    normal = normalise(f"{prefix}x", lowercase=data.lowercase)[:-1]
    ids = vocabulary.encode(normal)
    for character, i in zip(characters(normal), ids, strict=True):
        if i == vocabulary.unknown_id:
            raise SamplingError(
                f"the prefix {shortened(prefix)} has the character {character!r}, which no "
                "training name has; a model can only write characters it has seen"
            )
    if len(ids) > limit:
        raise SamplingError(
            f"the prefix {shortened(prefix)} has {len(ids)} characters, and a name has at most "
            f"{limit} (max_length, and data.max_length of this model)"
        )
    return tuple(int(i) for i in ids)


def valid_name(model: TrainedModel, sample: Sample) -> str | None:
    """The name that was drawn, if it would be kept, unchanged, if it stood on the list.

    None if it was cut off, breaks a rule of the list, or its characters are not the
    drawn ones: some, such as two halves of a flag, become one side by side.
    """
    name = model.vocabulary.decode(sample.ids)
    is_valid = (
        sample.ended
        and model.normalise(name) == name
        and not drop_reason(name, model.recipe.data.max_length)
        and np.array_equal(model.vocabulary.encode(name), sample.ids)
    )
    return name if is_valid else None


def _gave_up(tally: Tally, count: int, *, is_dry: bool) -> str:
    found = f"found {tally.kept:,} of the {count:,} names asked for: "
    if is_dry:
        return f"{found}the model cannot write any others ({tally})"
    return (
        f"{found}the last {DRAWS_WITHOUT_A_NAME:,} draws gave none ({tally}); "
        "ask for fewer names, loosen the request, or raise the temperature"
    )
