"""A base: networks that have learnt other names, for the networks of a short list to start from.

Any model file is one. A base file holds less: the networks in half precision, their characters,
and of the names that they learnt only hashes, so that none of them counts as never seen.
"""

# V characters of the list to learn, boundary included; N names

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from nomosaurus.errors import ListError, ModelFileError, ParamsError
from nomosaurus.model.file import (
    FileContent,
    checked,
    format_of,
    model_from,
    networks_of,
    not_whole,
    read_tensors,
    write_tensors,
)
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.names.corpus import Corpus, learnt_hashes
from nomosaurus.names.dataset import check_hashes
from nomosaurus.names.vocabulary import BOUNDARY_ID, Characters, Vocabulary, characters
from nomosaurus.params import BASE_UP_TO, ModelRecipe, Params

FORMAT = "base 2"
LEAST_KNOWN_LETTERS = 0.9
"""Of a list's letters, the share that a base must know to be tried on it."""
MOST_KNOWN_NAMES = 0.5
"""Of a list's names, the share that a base may know: more, and too few are left to measure with."""


class BaseContent(FileContent):
    """What the JSON of a base file says; the card is for readers."""

    format: str
    model: ModelRecipe
    characters: Characters
    card: dict[str, Any]


class Start(NamedTuple):
    """Where a network's weights begin, as `RecurrentNetwork.begin_from` takes it.

    Attributes:
        weights: Of one of the base's networks, by name.
        ids: Of each id of the list's vocabulary, the base's, or -1; shape (V,).
    """

    weights: Mapping[str, Tensor]
    ids: Sequence[int]


@dataclass(frozen=True)
class Base:
    """Networks to start from, and what they know.

    Attributes:
        params: The networks' form.
        characters: `characters[i]` has the id i + 1, as in a vocabulary.
        networks: At least one, on the CPU.
        learnt: Sorted hashes of the names that they learnt, as `learnt_hashes` gives them.
    """

    params: ModelRecipe
    characters: tuple[str, ...]
    networks: list[RecurrentNetwork]
    learnt: np.ndarray

    def knows(self, names: Sequence[str]) -> np.ndarray:
        """Which names it has learnt, whatever their case; shape (N,), bool."""
        return np.isin(learnt_hashes(names), self.learnt)

    def start(self, vocabulary: Vocabulary, member: int) -> Start:
        """Where network `member`, from 0, of a list with this vocabulary begins.

        Members take the base's networks in turn.
        """
        ids = {character: i for i, character in enumerate(self.characters, start=1)}
        theirs = [BOUNDARY_ID, *(ids.get(character, -1) for character in vocabulary.characters)]
        return Start(self.networks[member % len(self.networks)].state_dict(), theirs)

    def contradiction(self, params: Params) -> str:
        """What params.yaml asks for that its networks are not; empty if nothing."""
        for key in ("cell", "num_layers", "hidden_size"):
            wanted, has = getattr(params.model, key), getattr(self.params, key)
            if wanted not in ("auto", has):
                path = params.train.start_from
                return f"model.{key} is {wanted}, and the networks of {path} have {has}"
        return ""


def base_to_try(params: Params, corpus: Corpus) -> Base | None:
    """The base that training is to try on a list; None if its networks start fresh.

    With `start: auto`, a base is tried on lists that are short enough, whose letters it knows,
    and of whose names it knows too few to spoil the figures.

    Raises:
        ParamsError: If `start: base` asks for a base that params.yaml contradicts.
        ModelFileError: If the base's file cannot be read.
    """
    wanted, path = params.train.start, params.train.start_from
    if wanted == "fresh" or (wanted == "auto" and len(corpus.train) > BASE_UP_TO):
        return None
    base = load_base(Path(path))
    reason = base.contradiction(params)
    if wanted == "base":
        if reason:
            raise ParamsError(f"train.start is base, but {reason}; set it to auto or fresh")
        return base
    letters = [c for name in corpus.train for c in characters(name)]
    known_letters = np.isin(letters, base.characters).mean()
    known_names = base.knows(corpus.names()).mean()
    if not reason and known_letters < LEAST_KNOWN_LETTERS:
        reason = f"it knows only {known_letters:.0%} of the list's letters"
    if not reason and known_names > MOST_KNOWN_NAMES:
        reason = (
            f"it has learnt {known_names:.0%} of the list's names, so too few are left to measure "
            "with; with train.start: base the networks start from it all the same"
        )
    if reason:
        print(f"{path} is not tried: {reason}", file=sys.stderr)
        return None
    return base


def hold_out_unfamiliar(corpus: Corpus, base: Base) -> Corpus:
    """The corpus without held-out names that the base has learnt.

    Raises:
        ListError: If that leaves a side without names.
    """
    left = corpus.without_familiar(base.knows)
    if not (left.validation and left.test):
        raise ListError(
            f"the base has learnt all {len(corpus.validation)} validation names or all "
            f"{len(corpus.test)} test names; set train.start to fresh, or add names"
        )
    return left


def save_base(path: Path, base: Base, card: Mapping[str, object]) -> None:
    """Write a base file; the same base gives the same bytes. `card` says what it learnt."""
    arrays = {
        f"networks.{name}": weight.half().numpy()
        for name, weight in nn.ModuleList(base.networks).state_dict().items()
    }
    content = {
        "format": FORMAT,
        "model": base.params.model_dump(),
        "characters": base.characters,
        "card": card,
    }
    write_tensors(path, content, arrays | {"learnt": np.unique(base.learnt)})


def load_base(path: Path) -> Base:
    """Read a base file, or a model file as a base.

    Raises:
        ModelFileError: If it is missing, damaged, or neither.
        OSError: If it cannot be read.
    """
    remedy = f'restore it with "git checkout {path}", or make the base again with "make base"'
    if not path.exists():
        raise ModelFileError(f"{path} not found; {remedy}")
    text, tensors = read_tensors(path, remedy)
    has = format_of(text)
    if not str(has).startswith("base"):
        model = model_from(path, text, tensors)
        names = model.train.decode(model.vocabulary)
        return Base(
            model.recipe.model,
            model.vocabulary.characters,
            model.mixture.networks,
            np.unique(learnt_hashes(names)),
        )
    if has != FORMAT:
        raise ModelFileError(
            f"{path} has the format {str(has)[:20]!r}, and this version of Nomosaurus reads "
            f"{FORMAT!r}; {remedy}"
        )
    content = checked(path, text, BaseContent, remedy)
    try:
        learnt = tensors.pop("learnt")
        check_hashes("learnt", learnt, np.uint32)
        networks = networks_of(tensors, np.float16, content.model, len(content.characters) + 1)
    except KeyError:
        raise not_whole(path, "'learnt' is missing", remedy) from None
    except ValueError as error:
        raise not_whole(path, error, remedy) from None
    return Base(content.model, content.characters, networks, learnt)
