import sys
import time
from importlib.resources import files

import pytest
from conftest import params_with

from nomosaurus.errors import SamplingError
from nomosaurus.generation.request import Request, Tally, Wording


def against(name: str, *, lowercase: bool = True, **request) -> str | None:
    return Wording(Request(**request), lowercase=lowercase).reason_against(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "seed must be greater than or equal to 0, got -1"),
        ({"seed": 2**63}, f"seed must be less than or equal to {2**63 - 1}, got {2**63}"),
        ({"temperature": 0}, "temperature must be greater than or equal to 0.01, got 0"),
        ({"temperature": 101}, "temperature must be less than or equal to 100, got 101"),
        ({"temperature": float("nan")}, "temperature must be a finite number, got nan"),
        ({"top_k": -1}, "top_k must be greater than or equal to 0, got -1"),
        ({"top_p": 0.0}, "top_p must be greater than or equal to 0.0001, got 0.0"),
        ({"top_p": 1.5}, "top_p must be less than or equal to 1, got 1.5"),
        ({"min_length": 0}, "min_length must be greater than or equal to 1, got 0"),
        ({"max_length": -1}, "max_length must be greater than or equal to 0, got -1"),
        (
            {"min_length": 9, "max_length": 8},
            "max_length must be at least min_length, got 8 with min_length 9",
        ),
        ({"min_distance": -1}, "min_distance must be greater than or equal to 0, got -1"),
        ({"new": "yes"}, "new must be true or false, got 'yes'"),
        ({"avoid": "rex"}, "avoid must be a list, got 'rex'"),
        ({"avoid": 7}, "avoid must be a list, got 7"),
        (
            {"prefix": [7]},
            "prefix must be text (quote it if it looks like a number) or a list of texts, got [7]",
        ),
        ({"tempratur": 2}, "unknown key tempratur (value 2); did you mean temperature?"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_refused_in_one_line(settings, message):
    with pytest.raises(SamplingError) as caught:
        Request(**settings)
    assert str(caught.value) == message


def test_a_request_is_a_value_that_does_not_change():
    request = Request(seed=3, avoid=("rex",))
    assert {request: 1}[Request(avoid=("rex",), seed=3)] == 1
    with pytest.raises(ValueError, match="frozen"):
        request.seed = 4


def test_match_is_searched_for():
    assert against("tyrannus", match="us$") is None
    assert against("tyrannusa", match="us$") == "unmatched"
    assert against("tyrannus", match="^t.*nn") is None
    assert against("anything") is None


def test_case_means_nothing_where_names_are_lower_cased():
    assert against("rex", match="REX") is None
    assert against("Rex", match="^R", lowercase=False) is None
    assert against("rex", match="^R", lowercase=False) == "unmatched"


def test_avoided_names_are_whole_names_unless_there_is_an_asterisk():
    avoid = ["Rex", " new   York ", "*sex*", "mc*", ""]
    for name in ("rex", "new york", "sexton", "essex", "mcdonald"):
        assert against(name, avoid=avoid) == "avoided", name
    for name in ("trex", "rexa", "york", "sax", "emc", "."):
        assert against(name, avoid=avoid) is None, name


def test_clean_leaves_out_what_is_offensive_and_nothing_else():
    word = files("badwords").joinpath("resource/words/en.txt").read_text("utf-8").split()[-1]
    for name in (word, f"trex {word.upper()}", f"{word}saurus"):
        assert against(name, clean=True) == "offensive"
        assert against(name) is None
        assert against(name, clean=True, avoid=["*"]) == "avoided"
    assert against("trex", clean=True) is None
    assert against("trex", clean=True, match="z") == "unmatched"


def test_signs_in_avoided_names_are_no_pattern():
    assert against("axb", avoid=["a.b"]) is None
    assert against("a.b", avoid=["a.b"]) == "avoided"
    assert against("a[b", avoid=["*[*"]) == "avoided"


def test_what_is_no_regular_expression_is_refused_in_one_line():
    with pytest.raises(SamplingError, match=r"^match must be a regular .* got '\(': missing"):
        against("a", match="(")


def test_a_regular_expression_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr("nomosaurus.generation.request.SECONDS_FOR_A_MATCH", 0.05)
    with pytest.raises(SamplingError, match=r"match took more than 0\.05 second"):
        against("a" * 60, match="^(a|aa|aaa|a?)+$(?<!a)")


@pytest.mark.parametrize(
    "match",
    [
        *("(?R)", "(?0)", "(?R)a", "(?P<a>(?R))", "(?<=(?R))", "(?(DEFINE)(?P<x>(?&x)))(?&x)"),
        *("(" * 400 + ")" * 400, "[" * 999, "((x{60000}){60000}){60000}", "(x+){100000000}"),
        *("((((x{100}){100}){100}){100})", "x{0}((x{1000}){1000}){1000}", "a{1,99999999999999}"),
        *("(?u)(?a)x", r"\L<x>", r"\N{none}", "(?|" * 100, "(a" * 500 + ")" * 500),
        *("^(a|aa|aaa|a?)+$(?<!a)", "((a{1,1000}){1,1000}){1,1000}b", "x" * 1001, "(" * 5000),
    ],
)
def test_no_regular_expression_takes_long_or_much_or_gives_a_traceback(match):
    began = time.process_time()
    with pytest.raises(SamplingError, match=r"^match (must|took|is refused)") as caught:
        against("a" * 60, match=match)
    assert len(str(caught.value)) < 300
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    "match", ["us$", "^(?:[a-z]{2,12} ?){1,3}$", "(a|b)+", r"\p{L}{3,}", ".{10}"]
)
def test_usual_regular_expressions_are_not_refused(match):
    assert against("brontosaurus", match=match) in (None, "unmatched")


def test_asterisks_do_not_multiply_the_time():
    began = time.process_time()
    assert against("a" * 1000, avoid=["*a" * 400 + "*b"]) is None
    assert against("a" * 1000, avoid=["*a" * 400 + "*"]) == "avoided"
    assert against("abcbd", avoid=["a*b*b*d"]) == "avoided"
    assert against("abd", avoid=["a*b*b*d"]) is None
    assert against("aba", avoid=["ab*ba"]) is None
    assert time.process_time() - began < 1


def test_a_tally_says_what_was_drawn_kept_and_left_out():
    tally = Tally(drawn=1300, kept=100)
    tally.left_out.update({"too_near": 200, "unmatched": 1000})
    assert str(tally) == (
        "1,300 drawn, 100 kept; left out: 1,000 without a match, 200 too near a "
        "learnt or avoided name"
    )
    tally.share_used = 0.5
    assert str(tally).endswith("; they hold 50.00% of the probability of what can be drawn")
    assert str(Tally(3, 3)) == "3 drawn, 3 kept"


def test_an_empty_category_in_params_is_none_and_in_a_request_is_one():
    params = params_with(sample={"prefix": "tyr", "avoid": ["*rex*"], "given": ""}).sample
    request = Request.from_params(params)
    assert (request.prefix, request.avoid, request.given) == ("tyr", ["*rex*"], None)
    several = params_with(sample={"prefix": ["tyr", "bra"]}).sample
    assert Request.from_params(several).prefix == ["tyr", "bra"]
    assert Request.from_params(params.model_copy(update={"given": "bird"})).given == "bird"
    assert Request(given="").given == ""


def test_clean_without_its_packages_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "nomosaurus.generation.offensive", None)
    with pytest.raises(SamplingError, match="clean needs the packages badwords-py and jellyfish"):
        Wording(Request(clean=True), lowercase=True)
