import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomosaurus.names.vocabulary import BOUNDARY_ID, Vocabulary, characters


def test_boundary_is_id_0_and_characters_follow_in_order():
    vocabulary = Vocabulary.from_names(["cab", "ab"])
    assert BOUNDARY_ID == 0
    assert vocabulary.characters == ("a", "b", "c")
    assert vocabulary.encode("cab").tolist() == [3, 1, 2]
    assert vocabulary.size == 4


@given(st.lists(st.text(min_size=1), min_size=1))
def test_decode_undoes_encode(names):
    vocabulary = Vocabulary.from_names(names)
    for name in names:
        assert vocabulary.decode(vocabulary.encode(name)) == name


@pytest.mark.parametrize("name", ["ñu", "क्षि", "👩‍🚀", "é"])
def test_a_character_is_what_a_reader_sees_as_one(name):
    # n-tilde and u; one Devanagari cluster; one emoji of three code points; e with an accent.
    assert len(characters(name)) == {"ñu": 2}.get(name, 1)


def test_character_outside_the_vocabulary_gets_the_unknown_id():
    vocabulary = Vocabulary.from_names(["ab"])
    assert vocabulary.encode("axb").tolist() == [1, vocabulary.unknown_id, 2]
    assert vocabulary.unknown_id == vocabulary.size
    with pytest.raises(ValueError, match="not a character"):
        vocabulary.decode(vocabulary.encode("axb"))


def test_one_hot_has_one_1_a_row_and_none_for_the_unknown():
    vocabulary = Vocabulary.from_names(["ab"])
    assert vocabulary.one_hot([0, 2, 1, vocabulary.unknown_id]).tolist() == [
        [1, 0, 0],
        [0, 0, 1],
        [0, 1, 0],
        [0, 0, 0],
    ]


def test_ids_are_stored_in_the_smallest_type_that_fits():
    few = Vocabulary(tuple(map(chr, range(100, 200))), 0.1)
    many = Vocabulary(tuple(map(chr, range(0x4E00, 0x4E00 + 5000))), 0.1)
    assert few.encode("d").dtype == np.uint8
    assert many.encode("一").dtype == np.uint16


def test_unknown_mass_is_good_turing_singletons_over_events():
    # a 3 times, b once, c once; 5 characters and 2 ends make 7 events: 2 / (7 + 1).
    assert Vocabulary.from_names(["aab", "ac"]).unknown_mass == 2 / 8


def test_known_and_unknown_events_share_all_probability():
    vocabulary = Vocabulary.from_names(["aab", "ac"])
    known, unknown = np.array([1, 0]), np.array([0, 1])
    assert np.exp(-vocabulary.unknown_nats(known, unknown)).sum() == pytest.approx(1)


def test_categories_are_those_of_the_names_sorted_and_any_other_is_one_past_them():
    of = {"ana": "y", "bela": "x", "lena": "z"}
    vocabulary = Vocabulary.from_names(["ana", "bela"], of)
    assert vocabulary.categories == ("x", "y")
    assert vocabulary.encode_categories(["y", "z", None, "x"]).tolist() == [1, 2, 2, 0]
    none = Vocabulary.from_names(["ana"])
    assert none.num_categories == 0
    assert none.encode_categories([None, "x"]).tolist() == [0, 0]
