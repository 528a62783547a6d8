from dataclasses import fields

import pytest
from conftest import params_with

from nomosaurus.errors import SamplingError
from nomosaurus.generation.request import Request, Tally, Wording


def against(name: str, *, lowercase: bool = True, **request) -> str | None:
    return Wording(Request(**request), lowercase=lowercase).reason_against(name)


@pytest.mark.parametrize(
    ("request_values", "message"),
    [
        ({"min_length": 0}, "min_length must be 1 or more, got 0"),
        ({"max_length": -1}, r"max_length must be 0 \(no limit\) or more, got -1"),
        ({"min_length": 9, "max_length": 8}, "at least min_length, got 8 with min_length 9"),
        ({"min_distance": -1}, "min_distance must be 0 or more, got -1"),
    ],
)
def test_a_request_that_no_name_meets_is_refused(request_values, message):
    with pytest.raises(SamplingError, match=message):
        Request(**request_values)


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


def test_a_tally_says_what_was_drawn_kept_and_left_out():
    tally = Tally(drawn=1300, kept=100)
    tally.left_out.update({"too_near": 200, "unmatched": 1000})
    assert str(tally) == (
        "1,300 drawn, 100 kept; left out: 1,000 without a match, 200 too near a learnt name"
    )
    tally.share_used = 0.5
    assert str(tally).endswith("; they hold 50.00% of the probability of what can be drawn")
    assert str(Tally(3, 3)) == "3 drawn, 3 kept"


def test_every_param_of_the_sample_section_is_a_part_of_the_request():
    params = params_with(sample={"prefix": "tyr", "avoid": ["*rex*"], "given": ""}).sample
    request = Request.from_params(params)
    assert {field.name for field in fields(Request)} == set(type(params).model_fields) - {"count"}
    assert (request.prefix, request.avoid, request.given) == ("tyr", ["*rex*"], None)
    assert Request.from_params(params.model_copy(update={"given": "bird"})).given == "bird"
