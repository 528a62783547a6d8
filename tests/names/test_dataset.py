import numpy as np
import pytest
import torch
from conftest import params_with

from nomosaurus.errors import ArtifactError
from nomosaurus.names.casing import Casing
from nomosaurus.names.dataset import (
    SIDES,
    EncodedNames,
    Split,
    batches_by_length,
    check_prepared,
    load_casing,
    load_known_hashes,
    load_split,
    load_tries_base,
    load_vocabulary,
    make_batch,
    save_prepared,
)
from nomosaurus.names.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("a", "b", "c"), 0.01)
CASING = Casing({"^a": "A"}, {"": "title"}, {})
DATA = params_with().data
NAMES = ["abc", "a", "cab", "bb", "abcabc", "c"]


def encoded(names=NAMES) -> EncodedNames:
    return EncodedNames.from_names(names, VOCABULARY)


def test_names_come_back_from_their_compact_form():
    assert encoded().decode(VOCABULARY) == NAMES
    assert encoded().lengths.tolist() == [3, 1, 3, 2, 6, 1]


def test_batch_shifts_by_one_and_starts_and_ends_at_the_boundary():
    batch = make_batch(encoded(), np.array([0, 1]))  # abc and a
    assert batch.inputs.tolist() == [[0, 1, 2, 3], [0, 1, 0, 0]]
    assert batch.targets.tolist() == [[1, 2, 3, 0], [1, 0, 0, 0]]
    assert batch.mask.tolist() == [[True] * 4, [True, True, False, False]]


def test_batch_of_one_name_of_one_letter():
    batch = make_batch(encoded(["b"]), np.array([0]))
    assert batch.inputs.tolist() == [[0, 2]]
    assert batch.targets.tolist() == [[2, 0]]
    assert batch.mask.all()


def test_unknown_character_is_an_input_and_a_target_of_its_own():
    batch = make_batch(encoded(["axb"]), np.array([0]))
    assert batch.inputs.tolist() == [[0, 1, 4, 2]]
    assert batch.targets.tolist() == [[1, 4, 2, 0]]


def test_each_event_knows_its_name_and_its_place_there():
    names = encoded(["ab", "b", "aba"])
    assert names.event_rows.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert names.event_places.tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 3]


@pytest.mark.parametrize("seed", [None, 1])
def test_every_name_is_in_exactly_one_batch(seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    rows = [row for rows, _ in batches_by_length(encoded(), 4, generator) for row in rows]
    assert sorted(rows) == list(range(len(NAMES)))


def test_batches_hold_names_of_nearly_one_length():
    generator = torch.Generator().manual_seed(1)
    names = encoded(["a" * length for length in [1, 9, 5] * 40])
    for _, batch in batches_by_length(names, 40, generator):
        assert batch.mask.all()


def test_order_of_batches_follows_the_generator():
    def order(seed):
        batches = batches_by_length(encoded(), 2, torch.Generator().manual_seed(seed))
        return [rows.tolist() for rows, _ in batches]

    assert order(1) == order(1)
    assert len({str(order(seed)) for seed in range(5)}) > 1


def test_prepared_data_comes_back_from_disk(tmp_path):
    folder = tmp_path / "prepared"
    hashes = np.array([3, 2**63 + 1], dtype=np.uint64)
    for train in (["abc"], NAMES):  # the second time over the first
        save_prepared(
            folder,
            Split(VOCABULARY, encoded(train), encoded(["a"]), encoded([]), encoded([])),
            hashes,
            CASING,
            DATA,
            tries_base=train == NAMES,
        )
        assert load_casing(folder) == CASING
        assert load_tries_base(folder) is (train == NAMES)
        assert load_vocabulary(folder) == VOCABULARY
        assert load_split(folder, "train").decode(VOCABULARY) == train
        assert len(load_split(folder, "test")) == 0
        assert load_known_hashes(folder).tolist() == hashes.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_prepared_data_of_other_params_are_refused(tmp_path):
    names, hashes = encoded(NAMES), np.zeros(1, dtype=np.uint64)
    save_prepared(tmp_path / "prepared", Split(VOCABULARY, *[names] * 4), hashes, CASING, DATA)
    check_prepared(tmp_path / "prepared", DATA)
    for key, value in {"path": "towns.csv", "lowercase": False, "test_share": 0.2}.items():
        with pytest.raises(ArtifactError, match=rf"data\.{key} .*{value!r}; run \"dvc repro\""):
            check_prepared(tmp_path / "prepared", DATA.model_copy(update={key: value}))


def test_missing_or_damaged_data_says_what_to_run(tmp_path):
    with pytest.raises(ArtifactError, match='run "dvc repro prepare"'):
        load_vocabulary(tmp_path)
    with pytest.raises(ArtifactError, match='run "dvc repro prepare"'):
        load_split(tmp_path, "train")
    (tmp_path / "known_hashes.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ArtifactError, match="is damaged"):
        load_known_hashes(tmp_path)
    for name, load in (("casing", load_casing), ("start", load_tries_base)):
        with pytest.raises(ArtifactError, match=f"{name}.json not found"):
            load(tmp_path)
        (tmp_path / f"{name}.json").write_text('{"wrong": 1}')
        with pytest.raises(ArtifactError, match="dvc repro --force prepare"):
            load(tmp_path)


@pytest.fixture
def prepared(tmp_path):
    folder = tmp_path / "prepared"
    split = Split(VOCABULARY, encoded(NAMES), encoded(["a"]), encoded(["ab"]), encoded([]))
    save_prepared(folder, split, np.array([3, 5], dtype=np.uint64), CASING, DATA)
    return folder


def load_all(folder) -> None:
    load_vocabulary(folder)
    load_casing(folder)
    load_tries_base(folder)
    load_known_hashes(folder)
    for side in SIDES:
        load_split(folder, side)


EDITED_JSON = [
    *("", "{", "[]", "{}", "null", "5", '"x"', '[{"characters": 1}]'),
    '{"tries_base": 1}',
    '{"words": [], "places": {}, "beginnings": {}}',
    '{"words": {}, "places": {"": "odd"}, "beginnings": {}}',
    '{"characters": "abc", "unknown_mass": 0.1, "categories": []}',
    '{"characters": ["a", "a"], "unknown_mass": 0.1, "categories": []}',
    '{"characters": ["a", "b", "c"], "unknown_mass": 2, "categories": []}',
    '{"characters": ["a", "b", "c"], "unknown_mass": NaN, "categories": []}',
    '{"characters": ["a", "b"], "unknown_mass": 0.1, "categories": []}',
]


@pytest.mark.parametrize("name", ["vocabulary", "casing", "start"])
@pytest.mark.parametrize("text", EDITED_JSON)
def test_edited_json_says_what_to_run(prepared, name, text):
    load_all(prepared)
    (prepared / f"{name}.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"is damaged .*dvc repro --force prepare") as caught:
        load_all(prepared)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["known_hashes", "train/ids", "test/offsets", "test/categories"])
@pytest.mark.parametrize(
    "array",
    [
        np.array([], dtype=np.int64),
        np.array([[1, 2]]),
        np.array([5, 3]),
        np.array(["a"]),
        np.array(7),
        np.array([np.nan]),
        np.array([200] * 5, dtype=np.uint8),
        None,
    ],
    ids=str,
)
def test_edited_arrays_say_what_to_run(prepared, part, array):
    path = prepared / f"{part}.npy"
    if array is None:
        path.write_bytes(path.read_bytes()[:-3])
    else:
        np.save(path, array)
    with pytest.raises(ArtifactError, match=r"is damaged .*dvc repro --force prepare") as caught:
        load_all(prepared)
    assert "\n" not in str(caught.value)


def test_categories_go_with_their_names(tmp_path):
    of = dict(zip(NAMES, "xyxzyx", strict=True))
    vocabulary = Vocabulary.from_names(["abc", "a", "cab"], of)  # none of category z
    names = EncodedNames.from_names(NAMES, vocabulary, of)
    assert names.categories.tolist() == [0, 1, 0, 2, 1, 0]
    for rows, batch in batches_by_length(names, 4, torch.Generator().manual_seed(1)):
        assert batch.categories.tolist() == names.categories[rows].tolist()
    chosen = names.select(np.array([3, 0, 3]))
    assert chosen.decode(VOCABULARY) == ["bb", "abc", "bb"]
    assert chosen.categories.tolist() == [2, 0, 2]
    assert names.with_category(1).categories.tolist() == [1] * 6
    hashes = np.zeros(1, dtype=np.uint64)
    save_prepared(tmp_path / "prepared", Split(vocabulary, *[names] * 4), hashes, CASING, DATA)
    assert load_vocabulary(tmp_path / "prepared") == vocabulary
    assert load_split(tmp_path / "prepared", "test").categories.tolist() == [0, 1, 0, 2, 1, 0]


def test_no_names_can_be_selected():
    none = encoded().select(np.empty(0, dtype=np.int64))
    assert (len(none), none.ids.dtype) == (0, encoded().ids.dtype)


def test_a_name_of_several_categories_has_a_row_for_each_and_counts_once(tmp_path):
    of = {"abc": ("x",), "a": ("x", "y"), "cab": ("y",)}
    vocabulary = Vocabulary.from_names(list(of), of)
    names = EncodedNames.from_names(list(of), vocabulary, of, {"a": 5.0, "cab": 2.0})
    assert names.decode(vocabulary) == ["abc", "a", "a", "cab"]
    assert names.categories.tolist() == [0, 0, 1, 1]
    assert names.weights.tolist() == [1.0, 2.5, 2.5, 2.0]
    assert names.repeats.tolist() == [False, False, True, False]
    assert names.mean_by_name(np.array([1.0, 2.0, 4.0, 8.0])).tolist() == [1.0, 3.0, 8.0]
    distinct = names.distinct()
    assert distinct.decode(vocabulary) == list(of)
    assert distinct.weights.tolist() == [1.0, 5.0, 2.0]
    assert not distinct.repeats.any()
    hashes = np.zeros(1, dtype=np.uint64)
    save_prepared(tmp_path / "prepared", Split(vocabulary, *[names] * 4), hashes, CASING, DATA)
    loaded = load_split(tmp_path / "prepared", "train")
    assert loaded.weights.tolist() == names.weights.tolist()
    assert loaded.repeats.tolist() == names.repeats.tolist()


def test_means_are_by_weight_over_known_events():
    names = EncodedNames.from_names(["ab", "za"], VOCABULARY, weights={"za": 3.0})
    events = np.array([1.0, 2.0, 3.0, 0.0, 4.0, 5.0])  # z is unknown
    assert names.mean_of_known(events, VOCABULARY.size) == (6 + 3 * 9) / (3 + 3 * 2)


def test_an_epoch_takes_each_name_as_often_as_its_weight_says():
    weights = dict(zip(NAMES, [0.5, 1.0, 3.0, 10.0, 0.01, 2.0], strict=True))
    names = EncodedNames.from_names(NAMES, VOCABULARY, weights=weights)
    expected = names.weights / names.weights.sum() * len(NAMES)
    generator = torch.Generator().manual_seed(1)
    epochs = [np.bincount(names.drawn_rows(generator), minlength=6) for _ in range(2000)]
    assert all(
        ((counts >= expected // 1) & (counts <= expected // 1 + 1)).all() for counts in epochs
    )
    np.testing.assert_allclose(np.mean(epochs, axis=0), expected, atol=0.05)


@pytest.mark.parametrize("weight", [1.0, 250.0])
def test_with_equal_weights_an_epoch_takes_each_name_once(weight):
    names = EncodedNames.from_names(NAMES, VOCABULARY, weights=dict.fromkeys(NAMES, weight))
    generator, same = (torch.Generator().manual_seed(1) for _ in range(2))
    expected = torch.randperm(len(NAMES), generator=same).tolist()
    assert names.drawn_rows(generator).tolist() == expected
