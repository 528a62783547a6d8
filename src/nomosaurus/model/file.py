"""The one file that is the model: safetensors with its metadata. No pickle is loaded.

It holds the weights of network i under its own parameter names after `networks.i.`, the
training names as `train.ids`, `train.offsets` and `train.categories`, the hashes of the whole
list as `known_hashes`, what the names of its sides cost as `scores.train` and
`scores.validation` (bits per character, sorted), and one metadata entry, JSON, with the
vocabulary, the casing and the recipe. One entry, because safetensors writes several in no fixed
order, and the bytes must repeat. The n-gram is counted again from the training names when the file
is read.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import nn

from nomosaurus.errors import ArtifactError, ModelFileError
from nomosaurus.files import replace_file
from nomosaurus.model.mixture import Mixture, NgramWeight, category_shares
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.model.ngram import KneserNey
from nomosaurus.model.trained import Epoch, ListBits, TrainedModel
from nomosaurus.names.casing import Casing
from nomosaurus.names.dataset import (
    PARTS,
    EncodedNames,
    load_known_hashes,
    load_split,
    load_vocabulary,
)
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Params, Recipe

ENTRY = "nomosaurus"
FORMAT = 4
LIST_TENSORS = (
    *(f"train.{part}" for part in PARTS),
    "known_hashes",
    "scores.train",
    "scores.validation",
)


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
    metadata = {ENTRY: json.dumps(content, sort_keys=True, ensure_ascii=False)}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    encoded = save(contiguous, metadata=metadata)
    replace_file(path, lambda beside: beside.write_bytes(encoded))


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The JSON entry and the tensors of one of our files.

    Raises:
        ModelFileError: If it is missing, cut short, or not one of ours.
    """
    if not path.is_file():
        raise ModelFileError(
            f'{path} not found; run "dvc repro" to train a model, or "dvc checkout" '
            "to get back the one that dvc.lock names"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path} is cut short, damaged or not a safetensors file ({error}); "
            'restore it with "dvc checkout" or train again with "dvc repro --force train"'
        ) from None
    if ENTRY not in metadata:
        raise ModelFileError(f"{path} is a safetensors file, but not a Nomosaurus model")
    try:
        return dict(json.loads(metadata[ENTRY])), tensors
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{path} is not a whole Nomosaurus model ({error})") from None


def load_model(path: Path | str, params: Params | None = None) -> TrainedModel:
    """Read a model file; with `params`, one that follows from them.

    Raises:
        ModelFileError: If it is missing, cut short, or not a Nomosaurus model.
        ArtifactError: If it follows from other params.
    """
    path = Path(path)
    content, tensors = read_tensors(path)
    try:
        if content["format"] != FORMAT:
            if str(content["format"]).startswith("base"):
                raise ModelFileError(
                    f"{path} is a base for networks to start from, and not a model of a list"
                )
            raise ModelFileError(
                f"{path} has model format {content['format']}, and this version of "
                f"Nomosaurus reads format {FORMAT}; train it again"
            )
        recipe = Recipe.model_validate(content["recipe"])
        vocabulary = Vocabulary(
            tuple(content["characters"]), content["unknown_mass"], tuple(content["categories"])
        )
        *of_train, known_hashes, bits_train, bits_validation = map(tensors.pop, LIST_TENSORS)
        list_bits = ListBits(bits_train, bits_validation)
        train = EncodedNames(*of_train)
        networks = [
            RecurrentNetwork(recipe.model, vocabulary.size, vocabulary.num_categories).eval()
            for _ in range(recipe.model.members)
        ]
        nn.ModuleList(networks).load_state_dict(
            {
                name.removeprefix("networks."): torch.from_numpy(weight)
                for name, weight in tensors.items()
            }
        )
        ngram = KneserNey.fit(train, vocabulary.size, content["ngram_order"])
        weight = NgramWeight(*content["ngram_weight"])
        shares = category_shares(train, vocabulary.num_categories)
        mixture = Mixture(networks, ngram, weight, shares)
        casing = Casing(**content["casing"])
        histories = [[Epoch(**epoch) for epoch in history] for history in content["histories"]]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = str(error).splitlines()[0]
        raise ModelFileError(f"{path} is not a whole Nomosaurus model ({problem})") from None
    if params and (departure := recipe.departure_from(params)):
        raise ArtifactError(f'{path} was trained with {departure}; run "dvc repro"')
    return TrainedModel(
        mixture, vocabulary, train, known_hashes, recipe, histories, list_bits, casing
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
        or len(load_split(prepared, "validation")) != len(model.list_bits.validation)
    ):
        raise ArtifactError(
            f"{prepared} is not what the model learnt from, which is a split of "
            f'{model.recipe.data.path}; run "dvc repro"'
        )
    return load_split(prepared, side)
