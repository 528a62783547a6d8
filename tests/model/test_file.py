import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import NAMES, make_model, params_with
from safetensors.numpy import save_file

import nomosaurus
from nomosaurus.errors import ArtifactError, ModelFileError
from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.request import Request
from nomosaurus.model.file import load_held_out, load_model, read_tensors, save_model, write_tensors
from nomosaurus.names.corpus import name_hashes
from nomosaurus.names.dataset import EncodedNames, Split, save_prepared
from nomosaurus.params import CELLS


@pytest.mark.parametrize("cell", CELLS)
def test_a_loaded_model_is_the_saved_one(tmp_path, cell):
    model = make_model(cell=cell, num_layers=2)
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    generator = nomosaurus.load(path)
    request = Request(new=True)
    assert generator.generate(20, request) == NameGenerator(model).generate(20, request)
    loaded = generator.model
    assert loaded.recipe == model.recipe
    assert loaded.vocabulary == model.vocabulary
    assert loaded.histories == model.histories
    for side in ("train", "validation"):
        np.testing.assert_array_equal(
            getattr(loaded.list_bits, side), getattr(model.list_bits, side)
        )


def test_a_model_of_other_params_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, make_model())
    small = {"cell": "gru", "hidden_size": 8, "num_layers": 1, "members": 2}
    for members in (2, "auto"):  # what `auto` came to is no departure
        of = params_with(data={"max_length": 12}, model=small | {"members": members})
        load_model(path, of)
    for sections, said in (
        ({"seed": 2}, "seed 1, and params.yaml has 2"),
        ({"data": {"max_length": 13}}, "data.max_length 12, and params.yaml has 13"),
        ({"model": small | {"cell": "rnn"}}, "model.cell 'gru', and params.yaml has 'rnn'"),
        ({"train": {"device": "cpu"}}, "train.device 'auto', and params.yaml has 'cpu'"),
    ):
        given = {"data": {"max_length": 12}, "model": small} | sections
        with pytest.raises(ArtifactError) as caught:
            load_model(path, params_with(**given))
        assert str(caught.value) == f'{path} was trained with {said}; run "dvc repro"'


def test_held_out_names_of_another_list_or_split_are_refused(tmp_path, model):
    held_out = ["nana", "alla"]

    def prepare(train=NAMES, validation=NAMES, known=NAMES, vocabulary=model.vocabulary):
        sides = [
            EncodedNames.from_names(names, vocabulary)
            for names in (train, validation, held_out, [])
        ]
        hashes = name_hashes(known, model.recipe.data.split_key)
        split = Split(vocabulary, *sides)
        save_prepared(tmp_path / "prepared", split, hashes, model.casing, model.recipe.data)
        return load_held_out(tmp_path / "prepared", "test", model)

    assert prepare().decode(model.vocabulary) == held_out
    for other in (
        {"train": [*NAMES[1:], NAMES[0]]},
        {"train": NAMES[:-1]},
        {"validation": NAMES[:-1]},
        {"known": NAMES[:-1]},
        {"known": [*NAMES[:-1], "zoe"]},
        {"vocabulary": type(model.vocabulary).from_names([*NAMES, "zoe"])},
    ):
        with pytest.raises(ArtifactError, match="prepared is not what the model learnt from"):
            prepare(**other)


def test_categories_come_back_with_the_model(tmp_path, conditional):
    save_model(tmp_path / "model.safetensors", conditional)
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.vocabulary.categories == ("long", "other", "short")
    assert loaded.train.categories.tolist() == conditional.train.categories.tolist()
    assert loaded.mixture.category_shares == conditional.mixture.category_shares
    for given in (None, "short"):
        assert loaded.score(["nana"], given) == conditional.score(["nana"], given)
        request = Request(given=given)
        assert NameGenerator(loaded).generate(9, request) == NameGenerator(conditional).generate(
            9, request
        )


def test_same_model_same_bytes_whatever_the_files_name(tmp_path, model):
    for name in ("one", "other"):
        save_model(tmp_path / name, model)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_a_file_cut_short_is_refused_in_one_line(tmp_path, model, share):
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError, match=r"model\.safetensors is cut short") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(ModelFileError, match='run "dvc repro"'):
        load_model(tmp_path / "absent")


def test_another_safetensors_file_is_refused(tmp_path):
    save_file({"x": np.zeros(1)}, tmp_path / "x")
    with pytest.raises(ModelFileError, match="not a Nomosaurus model"):
        load_model(tmp_path / "x")


def test_a_file_of_an_earlier_version_is_refused_in_one_line(tmp_path):
    save_file({"x": np.zeros(1)}, tmp_path / "x", metadata={"nomosaurus": '{"format": 4}'})
    with pytest.raises(ModelFileError, match="x is of an earlier version of Nomosaurus; restore"):
        load_model(tmp_path / "x")
    write_tensors(tmp_path / "x", {"format": 9}, {})
    with pytest.raises(ModelFileError, match="has model format 9"):
        load_model(tmp_path / "x")


def test_no_flipped_bit_goes_unnoticed(tmp_path, model):
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    content = path.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    draw = random.Random(1)
    bits = [*range(64), *draw.sample(range(64, 8 * length), 400)]  # of the header
    bits += draw.sample(range(8 * length, 8 * len(content)), 200)
    for bit in bits:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ModelFileError, match=r'model\.safetensors .*"dvc checkout"') as caught:
            load_model(path)
        assert "\n" not in str(caught.value)


NAN = float("nan")
MADE_UP_JSON = [
    {"format": None},
    {"format": [6]},
    {"format": "6"},
    {"characters": None},
    {"characters": "abel"},
    {"characters": []},
    {"characters": ["", *"abceln"]},
    {"characters": ["a", *"abceln"]},
    {"characters": [1, *"abceln"]},
    {"characters": [*"abceln", "x"]},
    {"characters": [*"abcel"]},
    {"unknown_mass": 0},
    {"unknown_mass": 1},
    {"unknown_mass": NAN},
    {"unknown_mass": "half"},
    {"categories": ["x"]},
    {"categories": ["x", "x"]},
    {"categories": None},
    {"recipe": None},
    {"recipe": {}},
    {"recipe": []},
    {"recipe": {"model": {"members": 32}}},
    {"recipe": {"model": {"hidden_size": 4096}}},
    {"recipe": {"model": {"hidden_size": 10**40}}},
    {"recipe": {"model": {"num_layers": 4}}},
    {"recipe": {"model": {"cell": "lstm"}}},
    {"recipe": {"model": {"cell": ["gru"]}}},
    {"recipe": {"train": {"num_threads": 10**9}}},
    {"histories": []},
    {"histories": [[], []]},
    {"histories": {}},
    {"histories": [[{"number": 1, "train_nats": 1.0, "validation_nats": 1.0}]] * 2},
    {"histories": [[[1, NAN, NAN, True]]] * 2},
    {"casing": None},
    {"casing": {"places": {"": "odd"}}},
    {"casing": {"words": {"a": 1}}},
    {"casing": {"other": {}}},
    {"ngram_order": 0},
    {"ngram_order": 10**9},
    {"ngram_order": 3.5},
    {"ngram_weight": NAN},
    {"ngram_weight": [NAN, NAN]},
    {"ngram_weight": [0.5]},
    {"ngram_weight": [0.5, 1.5]},
    {"ngram_weight": ["0.5", 0.5]},
    {"odd": 1},
]
MADE_UP_TENSORS = {
    "train.ids": [
        lambda x: None,
        lambda x: x * 0,
        lambda x: x + 50,
        lambda x: x.astype(np.int64) - 300,
        lambda x: x.astype(np.float32) * np.nan,
        lambda x: x[:-1],
        lambda x: x[:0],
        lambda x: x[None],
    ],
    "train.offsets": [
        lambda x: x[:0],
        lambda x: x[:1],
        lambda x: x[::-1],
        lambda x: x + 1,
        lambda x: x * 2**40,
        lambda x: x.astype(np.float64),
        lambda x: np.concatenate((x[:1], x)),
    ],
    "train.categories": [lambda x: x + 1, lambda x: x[1:], lambda x: x.astype(np.float32)],
    "known_hashes": [
        lambda x: x[::-1],
        lambda x: x[:0],
        lambda x: x.astype(np.float64),
        lambda x: x[:, None],
    ],
    "scores.train": [
        lambda x: x * np.nan,
        lambda x: x[1:],
        lambda x: -x[::-1],
        lambda x: x[::-1],
        lambda x: x.astype(np.float64),
    ],
    "scores.validation": [lambda x: x[:0], lambda x: x * np.inf],
    "networks.0.W_ya": [
        lambda x: None,
        lambda x: x * np.nan,
        lambda x: x + np.inf,
        lambda x: x * 0 + np.float32(1e30),
        lambda x: x.T,
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.int32),
    ],
    "networks.1.layers.0.b_a": [lambda x: x[:, None], lambda x: x[:1]],
    "networks.2.b_y": [lambda x: np.zeros(7, np.float32)],
}


def nested(values: dict, replaced: dict) -> dict:
    """Values with some replaced, in their sections too."""
    return values | {
        key: nested(values[key], value) if key in ("recipe", "model", "train") and value else value
        for key, value in replaced.items()
    }


def refused(path) -> None:
    with pytest.raises(ModelFileError, match=path.name) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.fixture
def parts(tmp_path, model):
    """The path of a model file, and what is in it."""
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    text, arrays = read_tensors(path, "")
    return path, json.loads(text), arrays


@pytest.mark.parametrize("replaced", MADE_UP_JSON, ids=str)
def test_a_made_up_header_is_refused_in_one_line(parts, replaced):
    path, content, arrays = parts
    recipe = replaced.get("recipe")
    if isinstance(recipe, dict) and recipe:
        replaced = {"recipe": nested(content["recipe"], recipe)}
    write_tensors(path, content | replaced, arrays)
    refused(path)


@pytest.mark.parametrize("key", [*dict.fromkeys(k for made in MADE_UP_JSON[:-1] for k in made)])
def test_a_header_that_lacks_a_key_is_refused_in_one_line(parts, key):
    path, content, arrays = parts
    del content[key]
    write_tensors(path, content, arrays)
    refused(path)


@pytest.mark.parametrize("text", ["", "[]", "null", "5", '"format"', "[" * 100_000, '{"format": 6'])
def test_json_of_another_kind_is_refused_in_one_line(parts, monkeypatch, text):
    path, content, arrays = parts
    monkeypatch.setattr("json.dumps", lambda *arguments, **settings: text)
    write_tensors(path, content, arrays)
    refused(path)


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, i) for name, changes in MADE_UP_TENSORS.items() for i in range(len(changes))],
)
def test_made_up_tensors_are_refused_in_one_line(parts, name, number):
    path, content, arrays = parts
    made_up = MADE_UP_TENSORS[name][number](arrays.pop(name, None))
    write_tensors(path, content, arrays | ({} if made_up is None else {name: made_up}))
    refused(path)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match=str(path)):
            load_model(path)


def test_an_earlier_model_survives_a_failed_write(tmp_path, model, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    before = path.read_bytes()

    def full_disk(self, content):
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_model(path, make_model(hidden_size=4))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
