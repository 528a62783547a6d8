"""What several test modules share."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from nomosaurus.corpus import name_hashes
from nomosaurus.dataset import EncodedNames
from nomosaurus.model import NameModel, Recipe
from nomosaurus.network import RecurrentNetwork
from nomosaurus.params import Params, parse_params
from nomosaurus.training import Epoch
from nomosaurus.vocabulary import Vocabulary

REPOSITORY = Path(__file__).resolve().parents[1]

os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

NAMES = ["ana", "anabel", "bela", "belana", "abel", "nala", "lena", "elena", "alba", "blanca"]


def params_with(**sections: dict) -> Params:
    """The repository's params.yaml with some values replaced."""
    content = YAML(typ="safe", pure=True).load(REPOSITORY / "params.yaml")
    for section, values in sections.items():
        if isinstance(values, dict):
            content[section] |= values
        else:
            content[section] = values
    return parse_params(content, "params.yaml")


def make_model(names: list[str] = NAMES, **model_params) -> NameModel:
    """An untrained model on a small list; same arguments, same weights."""
    params = params_with(
        data={"max_length": 12},
        model={"cell": "gru", "hidden_size": 8, "num_layers": 1} | model_params,
    )
    vocabulary = Vocabulary.from_names(names)
    network = RecurrentNetwork(params.model, vocabulary.size)
    network.initialise(torch.Generator().manual_seed(3))
    return NameModel(
        network.eval(),
        vocabulary,
        EncodedNames.from_names(names, vocabulary),
        name_hashes(names, params.data.split_key),
        Recipe(params.seed, params.data, params.model, params.train),
        Epoch(1, 2.0, 2.1, True),
    )


def with_fixed_logits(model: NameModel, logits: list[float]) -> NameModel:
    """The same model, saying the same logits (one for each id) at every step."""
    network = RecurrentNetwork(model.network.params, model.network.vocab_size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.b_y.copy_(torch.tensor(logits))
    return replace(model, network=network.eval())


@pytest.fixture
def model() -> NameModel:
    return make_model()
