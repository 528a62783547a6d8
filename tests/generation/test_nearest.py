import numpy as np
from conftest import NAMES, make_model
from rapidfuzz.distance import DamerauLevenshtein

from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.nearest import name_table, neighbours
from nomosaurus.model.trained import TrainedModel


def pairs(model: TrainedModel, names: list[str], count: int) -> list[list[tuple[str, int]]]:
    return [[(n.name, n.distance) for n in near] for near in neighbours(model, names, count)]


def nearest(model: TrainedModel, names: list[str]) -> list[tuple[str, int]]:
    return [near[0] for near in pairs(model, names, 1)]


def test_nearest_counts_swapped_letters_as_one_edit(model):
    assert nearest(model, ["eelna", "blancas", "ana"]) == [
        ("elena", 1),
        ("blanca", 1),
        ("ana", 0),
    ]


def test_neighbours_are_those_of_comparing_with_every_name():
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 8, size=120)
    names = list(dict.fromkeys("".join(generator.choice(list("abc"), n)) for n in lengths))
    model = make_model(names)
    # "ca" is 2 edits from "abc", by swapping and inserting; 3 if what was swapped must stay.
    asked = ["ca", "abc", "aaacccb", "bdé", *names[:20]]
    for name, near in zip(asked, pairs(model, asked, 4), strict=True):
        every = [(other, DamerauLevenshtein.distance(name, other)) for other in names]
        assert near == sorted(every, key=lambda pair: pair[1])[:4]


def test_neighbours_do_not_depend_on_how_many_are_compared_at_once(model, monkeypatch):
    together = pairs(model, NAMES, 2)
    monkeypatch.setattr("nomosaurus.generation.nearest.DISTANCES_AT_ONCE", 1)
    assert pairs(model, NAMES, 2) == together
    assert [near[0] for near in together] == [(name, 0) for name in NAMES]


def test_a_short_list_has_no_more_neighbours_than_names():
    assert pairs(make_model(["ab"]), ["abc"], 3) == [[("ab", 1)]]


def test_nearest_is_exact_where_the_quick_bound_is_not():
    # The unrestricted distance swaps letters with others between them: "ca" to "abc" is one swap
    # and one more letter, where swapping neighbours alone needs three edits.
    assert nearest(make_model(["zz", "abc"]), ["ca"]) == [("zz", 2)]
    assert nearest(make_model(["zzz", "abc"]), ["ca"]) == [("abc", 2)]
    generator = np.random.default_rng(0)
    words = ["".join(generator.choice(list("abcd"), generator.integers(1, 8))) for _ in range(400)]
    train = list(dict.fromkeys(words[:200]))
    for word, found in zip(words, nearest(make_model(train), words), strict=True):
        distances = [DamerauLevenshtein.distance(word, name) for name in train]
        assert found == (train[np.argmin(distances)], min(distances))


def test_nearest_counts_in_characters_and_takes_unknown_ones_for_others():
    assert nearest(make_model(["मुंबई", "ana"]), ["मुंबxई", "🦖"]) == [("मुंबई", 1), ("मुंबई", 3)]
    assert nearest(make_model(), []) == []


def test_table_has_a_row_a_name(model):
    table = name_table(model, NameGenerator(model).generate(5))
    assert list(table.columns) == [
        "name",
        "log_prob",
        "chars",
        "bits_per_char",
        "new",
        "nearest",
        "distance",
    ]
    assert len(table) == 5
