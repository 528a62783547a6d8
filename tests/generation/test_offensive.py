import csv
import re
from importlib.resources import files

import numpy as np
import pytest
from conftest import FROZEN, make_model

from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.offensive import HARMLESS_BESIDE_OTHERS, is_offensive
from nomosaurus.generation.request import Request, Tally

LISTS = {
    path.name.removesuffix(".txt"): path.read_text("utf-8").splitlines()
    for path in (files("badwords") / "resource" / "words").iterdir()
    if path.name.endswith(".txt")
}
EVERY_LANGUAGE = [word for words in LISTS.values() for word in words[::20]]
ENGLISH = [word for word in LISTS["en"] if re.fullmatch("[a-z]{4,}", word)]
LATIN = [word for word in EVERY_LANGUAGE if re.fullmatch("[a-z]{4,}", word)]


def caught(words: list[str]) -> float:
    return float(np.mean([is_offensive(word) for word in words]))


@pytest.mark.parametrize("language", LISTS)
def test_listed_words_are_offensive_alone_and_beside_others(language):
    words = LISTS[language][::20]
    beside = [f"Trex {word}" for word in words if word != HARMLESS_BESIDE_OTHERS]
    share = caught([*words, *beside])
    assert share == 1


def test_case_accents_digits_and_letters_of_other_scripts_hide_no_word():
    share = caught([word.upper() for word in EVERY_LANGUAGE])
    assert share > 0.99  # the Turkish i has no capital
    for letter, other in (("a", "á"), ("a", "4"), ("a", "а"), ("o", "ö"), ("o", "0"), ("o", "о")):
        share = caught([word.replace(letter, other) for word in ENGLISH if letter in word])
        assert share > 0.99, other


def test_longer_words_are_found_inside_a_word():
    share = caught([f"tyranno{word}saurus" for word in ENGLISH])
    assert share == 1
    share = caught([f"b{word}b" for word in EVERY_LANGUAGE if re.fullmatch(r"\w{6,}", word)])
    assert share > 0.98  # beside a Cyrillic letter, b may be taken for another one
    share = caught([f"の{w}の" for w in LISTS["ja"] if re.fullmatch(r"[\u3040-\u9fff]{3,}", w)])
    assert share == 1


@pytest.mark.parametrize(
    ("pattern", "spelling"),
    [
        ("i", "y"),
        ("y", "i"),
        ("c(?![eihyk])|ck", "k"),
        ("(?<!c)k", "ck"),
        ("f", "ph"),
        ("s$", "z"),
        ("([bdfglmnprt])", r"\1\1"),
        (r"(.)\1", r"\1"),
    ],
)
def test_words_that_sound_like_a_listed_one_are_offensive(pattern, spelling):
    respelt = [re.sub(pattern, spelling, word, count=1) for word in LATIN]
    changed = [new for new, word in zip(respelt, LATIN, strict=True) if new != word]
    share = caught(changed)
    assert len(changed) > 10
    assert share > 0.94


def test_hardly_any_dinosaur_is_taken_for_offensive():
    with (FROZEN / "dinosaurs.csv").open(encoding="utf-8") as stream:
        names = [row["name"] for row in csv.DictReader(stream)]
    assert caught(names) < 0.02


def test_harmless_words_are_not():
    share = caught(["tarn", "reed", "gas", "ding", "vella", "Mar del Plata"])
    assert share == 0


def test_clean_names_are_the_others_in_the_same_order():
    model = make_model([*ENGLISH[::10], "ana", "bela"])
    plain = {"new": False, "unique": False}
    free = [name.name for name in NameGenerator(model).generate(300, Request(**plain))]
    expected = [name for name in free if not is_offensive(name)]
    tally = Tally()
    clean = NameGenerator(model).stream(len(expected), Request(**plain, clean=True), tally)
    assert [name.name for name in clean] == expected
    assert tally.left_out["offensive"] == len(free) - len(expected) > 0
