import numpy as np
import pytest
from conftest import NAMES, make_model, params_with
from safetensors.numpy import save_file

import nomosaurus
from nomosaurus.errors import ArtifactError, ModelFileError
from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.request import Request
from nomosaurus.model.file import load_held_out, load_model, save_model
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


def test_a_model_without_its_parts_is_refused(tmp_path):
    save_file({"x": np.zeros(1)}, tmp_path / "x", metadata={"nomosaurus": '{"format": 4}'})
    with pytest.raises(ModelFileError, match="not a whole Nomosaurus model"):
        load_model(tmp_path / "x")
    save_file({"x": np.zeros(1)}, tmp_path / "x", metadata={"nomosaurus": '{"format": 9}'})
    with pytest.raises(ModelFileError, match="has model format 9"):
        load_model(tmp_path / "x")


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
