"""The one file that is the model: safetensors with its metadata. No pickle is loaded.

It holds the weights of network i under its own parameter names after `networks.i.`, the
training names as `train.ids` and the other parts of `EncodedNames`, the hashes of the whole
list as `known_hashes`, what the names of its sides cost as `scores.train` and
`scores.validation` (bits per character, sorted), and one metadata entry with the vocabulary, the
casing and the recipe. One entry, because safetensors writes several in no fixed order, and the
bytes must repeat. The n-gram is counted again from the training names when the file is read.

The entry is a checksum and JSON. The checksum is the SHA-256 of the whole file, itself written as
zeros, so no bit can change unnoticed. A file that somebody made has the right checksum too, so all
that it says is checked as well.
"""

# V vocabulary, boundary included; C categories; N training names

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import numpy as np
import torch
from pydantic import (
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn

from nomosaurus.errors import ArtifactError, ModelFileError, in_one_line
from nomosaurus.files import problem_in, read_bytes, replace_file
from nomosaurus.model.mixture import Mixture, NgramWeight, category_shares
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.model.ngram import KneserNey
from nomosaurus.model.trained import Epoch, ListBits, TrainedModel
from nomosaurus.names.casing import Casing
from nomosaurus.names.dataset import (
    PARTS,
    EncodedNames,
    check_array,
    check_hashes,
    check_names,
    load_known_hashes,
    load_split,
    load_vocabulary,
)
from nomosaurus.names.vocabulary import Categories, Characters, UnknownMass, Vocabulary
from nomosaurus.params import ModelRecipe, Params, Recipe, Section

ENTRY = "nomosaurus"
FORMAT = 6
NO_CHECKSUM = b"0" * 64
CHECKSUM = re.compile(rb'"%s":"([0-9a-f]{64}) ' % ENTRY.encode())
REMEDY = 'restore it with "dvc checkout", or train again with "dvc repro --force train"'
LARGEST_WEIGHT = 1e6
"""Far beyond any that training finds; with larger ones, scores are no longer numbers."""
LIST_TENSORS = (
    *(f"train.{part}" for part in PARTS),
    "known_hashes",
    "scores.train",
    "scores.validation",
)

Weight = Annotated[float, Field(ge=0, le=1)]
Content = TypeVar("Content", bound="FileContent")


class FileContent(Section):
    """What the JSON of a file says."""

    model_config = ConfigDict(allow_inf_nan=False)


class ModelContent(FileContent):
    """What the JSON of a model file says."""

    format: int
    characters: Characters
    unknown_mass: UnknownMass
    categories: Categories
    recipe: Recipe
    histories: tuple[Annotated[list[Epoch], Field(min_length=1)], ...]
    casing: Casing
    ngram_order: int = Field(ge=1, le=20)
    ngram_weight: tuple[Weight, Weight]

    @model_validator(mode="after")
    def parts_agree(self) -> Self:
        """Each network has epochs, and the first was the best so far."""
        if len(self.histories) != self.recipe.model.members:
            raise ValueError(
                f"{len(self.histories)} histories of {self.recipe.model.members} networks"
            )
        if not all(history[0].is_best for history in self.histories):
            raise ValueError("a history whose first epoch is not the best so far")
        return self


def save_model(path: Path, model: TrainedModel) -> None:
    """Write a model file; the same model gives the same bytes."""
    of_train = [getattr(model.train, part) for part in PARTS]
    of_list = (*of_train, model.known_hashes, *model.list_bits)
    arrays = dict(zip(LIST_TENSORS, of_list, strict=True))
    for name, weight in nn.ModuleList(model.mixture.networks).state_dict().items():
        arrays[f"networks.{name}"] = weight.numpy()
    content = {
        "format": FORMAT,
        **asdict(model.vocabulary),
        "recipe": model.recipe.model_dump(),
        "histories": [[asdict(epoch) for epoch in history] for history in model.histories],
        "casing": asdict(model.casing),
        "ngram_order": model.mixture.ngram.order,
        "ngram_weight": model.mixture.ngram_weight,
    }
    write_tensors(path, content, arrays)


def write_tensors(path: Path, content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write JSON and tensors as one file with its checksum."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    metadata = {ENTRY: f"{NO_CHECKSUM.decode()} {text}"}
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    encoded = save(contiguous, metadata=metadata)
    found = CHECKSUM.search(encoded)
    assert found  # it was written above
    checksum = hashlib.sha256(encoded).hexdigest().encode()
    whole = encoded[: found.start(1)] + checksum + encoded[found.end(1) :]
    replace_file(path, lambda beside: beside.write_bytes(whole))


def read_tensors(path: Path, remedy: str) -> tuple[str, dict[str, np.ndarray]]:
    """The JSON, as text, and the tensors of one of our files, of which no bit has changed.

    Raises:
        ModelFileError: If it is cut short, damaged, or not one of ours; `remedy` says what to do.
        OSError: If it cannot be read.
    """
    encoded = read_bytes(path)
    header = encoded[8 : 8 + int.from_bytes(encoded[:8], "little")]
    if found := CHECKSUM.search(header):
        start, end = 8 + found.start(1), 8 + found.end(1)
        digest = hashlib.sha256(encoded[:start])
        digest.update(NO_CHECKSUM)
        digest.update(memoryview(encoded)[end:])
        if digest.hexdigest().encode() != found[1]:
            raise ModelFileError(f"{path} is cut short or damaged: its checksum is wrong; {remedy}")
    try:
        tensors = load(encoded)
        metadata = json.loads(header).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(
            f"{path} is cut short, damaged or not a safetensors file ({in_one_line(error)}); "
            f"{remedy}"
        ) from None
    if ENTRY not in metadata:
        raise ModelFileError(f"{path} is a safetensors file, but not a Nomosaurus model; {remedy}")
    if not found:
        is_old = metadata[ENTRY].startswith("{")
        what = "of an earlier version of Nomosaurus" if is_old else "damaged: it has no checksum"
        raise ModelFileError(f"{path} is {what}; {remedy}")
    return metadata[ENTRY][65:], tensors


def format_of(text: str) -> Any:
    """The format that JSON names; None if it names none."""
    try:
        return TypeAdapter(dict[str, Any]).validate_json(text).get("format")
    except ValidationError:
        return None


def checked(path: Path, text: str, kind: type[Content], remedy: str) -> Content:
    """What the JSON of a file says, each rule kept.

    Raises:
        ModelFileError: If one is broken.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise not_whole(path, problem_in(error), remedy) from None


def not_whole(path: Path, problem: object, remedy: str) -> ModelFileError:
    """The error for a file that says what cannot be."""
    return ModelFileError(f"{path} is not a whole Nomosaurus model ({problem}); {remedy}")


def networks_of(
    tensors: Mapping[str, np.ndarray],
    kind: type[np.floating[Any]],
    params: ModelRecipe,
    vocab_size: int,
    num_categories: int = 0,
) -> list[RecurrentNetwork]:
    """The networks whose weights, of type `kind`, are in tensors.

    Raises:
        ValueError: If tensors are missing or too many, or of another shape or type, or not finite.
    """
    with torch.device("meta"):  # shapes without memory, which a made-up size could exhaust
        form = RecurrentNetwork(params, vocab_size, num_categories).state_dict()
    wanted = {
        f"networks.{i}.{name}": tuple(weight.shape)
        for i in range(params.members)
        for name, weight in form.items()
    }
    if odd := sorted(wanted.keys() ^ tensors.keys()):
        raise ValueError(f"{odd[0][:100]} is {'missing' if odd[0] in wanted else 'unknown'}")
    for name, weight in tensors.items():
        check_array(name, weight, kind, wanted[name])
        if not float(np.abs(weight).max()) <= LARGEST_WEIGHT:  # nor if it is not a number
            raise ValueError(f"{name} has a weight that is not finite, or too large")
    networks = [
        RecurrentNetwork(params, vocab_size, num_categories).eval() for _ in range(params.members)
    ]
    nn.ModuleList(networks).load_state_dict(
        {
            name.removeprefix("networks."): torch.tensor(weight).float()
            for name, weight in tensors.items()
        }
    )
    return networks


def _check_bits(name: str, bits: np.ndarray, length: int | None) -> None:
    """Refuse costs of another type or number, or that are not finite, above 0 and sorted.

    Raises:
        ValueError: Naming them.
    """
    check_array(name, bits, np.float32, (length,))
    if not len(bits) or not np.isfinite(bits).all() or bits[0] < 0 or (np.diff(bits) < 0).any():
        raise ValueError(f"{name} is empty, not sorted, or has costs that cannot be")


def load_model(path: Path | str, params: Params | None = None) -> TrainedModel:
    """Read a model file; with `params`, one that follows from them.

    Raises:
        ModelFileError: If it is missing, damaged, or not a whole Nomosaurus model.
        OSError: If it cannot be read.
        ArtifactError: If it follows from other params.
    """
    path = Path(path)
    if not path.exists():
        raise ModelFileError(
            f'{path} not found; run "dvc repro" to train a model, or "dvc checkout" '
            "to get back the one that dvc.lock names"
        )
    model = model_from(path, *read_tensors(path, REMEDY))
    if params and (departure := model.recipe.departure_from(params)):
        raise ArtifactError(f'{path} was trained with {departure}; run "dvc repro"')
    return model


def model_from(path: Path, text: str, tensors: dict[str, np.ndarray]) -> TrainedModel:
    """The model that a file's JSON and tensors hold.

    Raises:
        ModelFileError: If they do not hold a whole one.
    """
    has = format_of(text)
    if str(has).startswith("base"):
        raise ModelFileError(
            f"{path} is a base for networks to start from, and not a model of a list"
        )
    if has != FORMAT:
        raise ModelFileError(
            f"{path} has model format {str(has)[:20]}, and this version of "
            f"Nomosaurus reads format {FORMAT}; train it again"
        )
    content = checked(path, text, ModelContent, REMEDY)
    recipe = content.recipe
    vocabulary = Vocabulary(content.characters, content.unknown_mass, content.categories)
    try:
        *of_train, known_hashes, bits_train, bits_validation = map(tensors.pop, LIST_TENSORS)
        train = EncodedNames(*of_train)
        check_names(train, vocabulary, learnt=True)
        check_hashes("known_hashes", known_hashes, np.uint64)
        _check_bits("scores.train", bits_train, train.num_names)
        _check_bits("scores.validation", bits_validation, None)
        networks = networks_of(
            tensors, np.float32, recipe.model, vocabulary.size, vocabulary.num_categories
        )
    except KeyError as error:
        raise not_whole(path, f"{error} is missing", REMEDY) from None
    except ValueError as error:
        raise not_whole(path, error, REMEDY) from None
    ngram = KneserNey.fit(train, vocabulary.size, content.ngram_order)
    shares = category_shares(train, vocabulary.num_categories)
    mixture = Mixture(networks, ngram, NgramWeight(*content.ngram_weight), shares)
    return TrainedModel(
        mixture,
        vocabulary,
        train,
        known_hashes,
        recipe,
        [list(history) for history in content.histories],
        ListBits(bits_train, bits_validation),
        content.casing,
    )


def load_held_out(prepared: Path, side: str, model: TrainedModel) -> EncodedNames:
    """A held-out side of the prepared data that a model learnt from.

    Raises:
        ArtifactError: If it is missing or damaged, or they are of another list or split.
    """
    vocabulary, train = load_vocabulary(prepared), load_split(prepared, "train")
    if (
        vocabulary != model.vocabulary
        or not np.array_equal(load_known_hashes(prepared), model.known_hashes)
        or not all(
            np.array_equal(getattr(train, part), getattr(model.train, part)) for part in PARTS
        )
        or load_split(prepared, "validation").num_names != len(model.list_bits.validation)
    ):
        raise ArtifactError(
            f"{prepared} is not what the model learnt from, which is a split of "
            f'{model.recipe.data.path}; run "dvc repro"'
        )
    return load_split(prepared, side)
