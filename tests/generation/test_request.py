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
    assert Request.from_params(params.model_copy(update={"given": "bird"})).given == "bird"
    assert Request(given="").given == ""
