import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomosaurus.names.casing import Casing
from nomosaurus.names.corpus import normalise

TITLE = ["Anna", "Ben", "Cora"]
PLACES = [
    "San Juan de la Cruz",
    "Vega de Tera",
    "La Vega",
    "Torre de la Reina",
    "Aix-en-Provence",
    "Brive-la-Gaillarde",
    "Mont d'Or",
    "Val d'Isère",
]
SURNAMES = ["McDonald", "McEwan", "Mace", "O'Brien", "van der Berg", "van den Heuvel", "Bakker"]


@pytest.mark.parametrize(
    ("names", "folded", "written"),
    [
        (TITLE, "dora", "Dora"),
        ([name.upper() for name in TITLE], "dora", "DORA"),
        ([name.lower() for name in TITLE], "dora", "dora"),
        (PLACES, "la torre de la cruz", "La Torre de la Cruz"),
        (PLACES, "vega del tera", "Vega del Tera"),  # "del" is on no list
        (PLACES, "mont-en-vega", "Mont-en-Vega"),
        (PLACES, "bois d'ambre", "Bois d'Ambre"),
        (SURNAMES, "mcfarlane", "McFarlane"),
        (SURNAMES, "macey", "Macey"),
        (SURNAMES, "o'neill", "O'Neill"),
        (SURNAMES, "van der heuvel", "van der Heuvel"),
        (["IBM", "Apple", "Intel", "BMW", "Nokia"], "ibm", "IBM"),
        (["Ελένη", "Άννα"], "νίκος", "Νίκος"),
        (["İzmir", "Iğdır"], "i̇stanbul", "İstanbul"),
        (["東京", "京都"], "東都", "東都"),
        (TITLE, "4ever & 2 more", "4Ever & 2 More"),
        (TITLE, "ßa", "ßa"),  # its capital is two letters, which fold to others
    ],
)
def test_a_name_is_written_as_its_list_writes(names, folded, written):
    assert Casing.learn(names).written(folded) == written


def test_a_word_of_the_list_keeps_its_case():
    casing = Casing.learn([*PLACES, *SURNAMES])
    for name in (*PLACES, *SURNAMES):
        assert casing.written(normalise(name, lowercase=True)) == name


def test_without_anything_learnt_nothing_changes():
    assert Casing({}, {}, {}).written("anna de la cruz") == "anna de la cruz"


def test_what_the_rule_gets_right_is_not_kept():
    assert Casing.learn(TITLE).words == {}


def test_a_tie_between_two_ways_to_write_a_beginning_does_not_hang_on_hash_seeds():
    names = [f"{b}{ending}" for b in "bcdfghklmn" for ending in ("eLo", "eRo", "ESo", "ETo")]
    found = Casing.learn(names).beginnings
    assert found == {f"{b}e": f"{b}E" for b in "bcdfghklmn"}


NAMES = st.lists(
    st.text(max_size=12).map(lambda text: normalise(text, lowercase=False)), max_size=6
)


@settings(deadline=None)
@given(NAMES, st.text(max_size=20))
def test_whatever_the_list_a_written_name_folds_back(names, text):
    folded = normalise(text, lowercase=True)
    for name in (folded, *(normalise(name, lowercase=True) for name in names)):
        assert normalise(Casing.learn(names).written(name), lowercase=True) == name or (
            Casing.learn(names).written(name) == name
        )
