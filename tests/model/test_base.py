import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import NAMES, make_model, params_with

from nomosaurus.errors import ListError, ModelFileError, ParamsError
from nomosaurus.model.base import (
    Base,
    base_to_try,
    hold_out_unfamiliar,
    load_base,
    save_base,
)
from nomosaurus.model.file import load_model, read_tensors, save_model, write_tensors
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.names.corpus import build_corpus, learnt_hashes
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Recipe

OTHERS = ["ulm", "Ulna", "alum", "manul", "luna", "anlu"]


@pytest.fixture
def base() -> Base:
    model = make_model(OTHERS, cell="lstm")
    form = model.recipe.model
    return Base(form, model.vocabulary.characters, model.mixture.networks, learnt_hashes(OTHERS))


@pytest.fixture
def file(base, tmp_path):
    path = tmp_path / "base.safetensors"
    save_base(path, base, {"people": {"names": 6}})
    return path


def listed(tmp_path, names, path, **train):
    """Params of a list of these names, with the base at `path`, and the corpus."""
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n", "utf-8")
    params = params_with(
        data={"path": str(tmp_path / "list.txt"), "validation_share": 0.25, "test_share": 0.25},
        model={"cell": "lstm", "hidden_size": "auto"},
        train={"start_from": str(path), **train},
    )
    return params, build_corpus(params.data)


def some_names(letters: str, count: int = 40) -> list[str]:
    draw = np.random.default_rng(1)
    return ["".join(draw.choice(list(letters), size=5)) for _ in range(count)]


def test_a_file_gives_back_the_base_in_half_precision(base, file):
    again = load_base(file)
    assert again.params == base.params
    assert again.characters == base.characters
    assert again.knows(["LUNA", "luna", "ulna", "anna"]).tolist() == [True, True, True, False]
    for theirs, ours in zip(again.networks, base.networks, strict=True):
        for name, weight in ours.state_dict().items():
            assert torch.equal(theirs.state_dict()[name], weight.half().float())


def test_the_same_base_gives_the_same_bytes_and_holds_no_name(base, file, tmp_path):
    save_base(tmp_path / "again", base, {"people": {"names": 6}})
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    assert b"manul" not in file.read_bytes()


def test_a_model_of_a_list_is_a_base_that_knows_what_it_learnt(tmp_path):
    model = make_model()
    save_model(tmp_path / "model.safetensors", model)
    base = load_base(tmp_path / "model.safetensors")
    assert base.knows(NAMES).all()
    assert base.characters == model.vocabulary.characters
    assert len(base.networks) == model.recipe.model.members


def test_a_base_is_no_model_to_write_names_with(file):
    with pytest.raises(ModelFileError, match="a base for networks to start from, and not a model"):
        load_model(file)


def test_no_flipped_bit_of_a_base_goes_unnoticed(file):
    content = file.read_bytes()
    for bit in random.Random(1).sample(range(8 * len(content)), 200):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(ModelFileError, match=f'"git checkout {file}"'):
            load_base(file)


@pytest.mark.parametrize(
    "replaced",
    [
        {"format": "base 1"},
        {"model": {}},
        {"characters": []},
        {"characters": list("aab")},
        {"card": 5},
        {"odd": 1},
    ],
    ids=str,
)
def test_a_made_up_base_is_one_line(file, replaced):
    text, arrays = read_tensors(file, "")
    write_tensors(file, json.loads(text) | replaced, arrays)
    with pytest.raises(ModelFileError, match=f'"git checkout {file}"'):
        load_base(file)


@pytest.mark.parametrize("name", ["learnt", "networks.1.W_ya"])
@pytest.mark.parametrize("change", [lambda x: None, lambda x: x[:0], lambda x: x.astype("f8")])
def test_a_base_with_made_up_tensors_is_one_line(file, name, change):
    text, arrays = read_tensors(file, "")
    made_up = change(arrays.pop(name))
    changed = {} if made_up is None else {name: made_up}
    write_tensors(file, json.loads(text), arrays | changed)
    with pytest.raises(ModelFileError, match=f'"git checkout {file}"'):
        load_base(file)


@pytest.mark.parametrize("keep", [0, 9, 300, -40])
def test_a_damaged_base_is_one_line(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match=file.name):
        load_base(file)


def test_a_network_starts_as_the_bases_with_characters_matched_by_what_they_are(base):
    vocabulary = Vocabulary.from_names(["nulaz"])  # other ids; z is unknown to the base
    start = base.start(vocabulary, member=3)
    theirs = base.networks[1]  # members take turns
    network = RecurrentNetwork(base.params, vocabulary.size)
    network.initialise(torch.Generator().manual_seed(9))
    of_z = network.W_ya[vocabulary.encode("z")[0]].clone()
    network.begin_from(*start)
    ids = {c: i for i, c in enumerate(base.characters, 1)}
    word = "luna"
    ours = network.unroll(torch.tensor([[0, *vocabulary.encode(word).tolist()]]))
    wanted = theirs.unroll(torch.tensor([[0, *(ids[c] for c in word)]]))
    for character in "aln":
        mine = vocabulary.encode(character)[0]
        torch.testing.assert_close(ours[0, :, mine], wanted[0, :, ids[character]])
    torch.testing.assert_close(ours[0, :, 0], wanted[0, :, 0])  # the end
    assert torch.equal(network.W_ya[vocabulary.encode("z")[0]], of_z)


def test_categories_start_fresh(base):
    network = RecurrentNetwork(base.params, 7, num_categories=2)
    network.initialise(torch.Generator().manual_seed(9))
    before = network.layers[0].W_ac.clone()
    vocabulary = Vocabulary.from_names(["alumn"])
    weights, ids = base.start(vocabulary, 0)
    network.begin_from(weights, [*ids, -1])
    assert torch.equal(network.layers[0].W_ac, before)


def test_a_short_list_with_known_letters_tries_the_base(file, tmp_path):
    params, corpus = listed(tmp_path, some_names("almnu"), file)
    assert base_to_try(params, corpus)
    fresh, _ = listed(tmp_path, some_names("almnu"), file, start="fresh")
    assert base_to_try(fresh, corpus) is None


def test_a_long_list_starts_fresh_in_silence(file, tmp_path, monkeypatch, capsys):
    params, corpus = listed(tmp_path, some_names("almnu"), file)
    monkeypatch.setattr("nomosaurus.model.base.BASE_UP_TO", len(corpus.train) - 1)
    assert base_to_try(params, corpus) is None
    assert capsys.readouterr().err == ""


def test_a_list_in_other_letters_starts_fresh_and_says_why(file, tmp_path, capsys):
    params, corpus = listed(tmp_path, some_names("xyzlmn"), file)
    assert base_to_try(params, corpus) is None
    assert "is not tried: it knows only 5" in capsys.readouterr().err
    forced, corpus = listed(tmp_path, some_names("xyzlmn"), file, start="base")
    assert base_to_try(forced, corpus)


def test_a_list_that_the_base_knows_starts_fresh_and_says_why(base, tmp_path, capsys):
    names = some_names("almnu")
    path = tmp_path / "base.safetensors"
    save_base(path, replace(base, learnt=learnt_hashes(names[:30])), {})
    params, corpus = listed(tmp_path, names, path)
    assert base_to_try(params, corpus) is None
    assert "it has learnt 75% of the list's names" in capsys.readouterr().err


def test_cell_and_size_come_from_the_base_where_they_are_auto(base, file, tmp_path):
    params, corpus = listed(tmp_path, some_names("almnu"), file)
    model = params.model.model_copy(update={"cell": "auto", "hidden_size": "auto"})
    params = params.model_copy(update={"model": model})
    assert base_to_try(params, corpus)
    gru = base.params.model_copy(update={"cell": "gru", "hidden_size": 8})
    of_base = Recipe.for_list(params, len(corpus.train), gru).model
    assert (of_base.cell, of_base.hidden_size) == ("gru", 8)
    assert Recipe.for_list(params, len(corpus.train)).model.cell == "lstm"


@pytest.mark.parametrize(
    ("key", "value", "has"), [("cell", "gru", "lstm"), ("hidden_size", 16, 8), ("num_layers", 2, 1)]
)
def test_a_contradiction_is_one_line(file, tmp_path, capsys, key, value, has):
    message = f"model.{key} is {value}, and the networks of {file} have {has}"
    for start in ("auto", "base"):
        params, corpus = listed(tmp_path, some_names("almnu"), file, start=start)
        model = params.model.model_copy(update={key: value})
        params = params.model_copy(update={"model": model})
        if start == "base":
            with pytest.raises(ParamsError, match=message):
                base_to_try(params, corpus)
        else:
            assert base_to_try(params, corpus) is None
            assert message in capsys.readouterr().err


def test_no_held_out_name_is_one_that_the_base_has_learnt(base, tmp_path, file):
    names = some_names("almnu")
    known = [name.upper() for name in names[::3]]
    base = replace(base, learnt=learnt_hashes(known))
    _, corpus = listed(tmp_path, names, file)
    left = hold_out_unfamiliar(corpus, base)
    assert not base.knows(left.validation + left.test).any()
    assert base.knows(left.familiar_validation + left.familiar_test).all()
    assert left.train == corpus.train
    assert set(left.names()) == set(corpus.names())
    assert sorted(left.test + left.familiar_test) == sorted(corpus.test)
    report = left.report(Vocabulary.from_names(left.train))
    assert report["familiar_test"] == len(left.familiar_test) > 0
    assert report["names_kept"] == len(set(names))


def test_a_side_without_names_is_one_line(base, tmp_path, file):
    names = some_names("almnu")
    _, corpus = listed(tmp_path, names, file)
    with pytest.raises(ListError, match=r"all \d+ test names; set train.start to fresh"):
        hold_out_unfamiliar(corpus, replace(base, learnt=learnt_hashes(corpus.test)))
