from dataclasses import asdict, replace

import pytest
from conftest import NAMES, make_model, params_with, with_fixed_logits

from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.comparison import compare, decoded, names_sha256, num_learnt
from nomosaurus.evaluation.estimate import Comparison, Estimate
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.serving.promotion import Challenger, Version, decide

RULES = params_with(
    promote={
        "margin_nats": 0.01,
        "min_gain_nats": 0.02,
        "min_novelty": 0.5,
        "min_validity": 0.9,
        "min_uniqueness": 0.6,
    }
).promote
CHAMPION = Version(1, "sha of 1", "test list", "c0ffee1")
CHALLENGER = Challenger(
    Version(2, "sha of 2", "test list", "c0ffee2"),
    dirty=False,
    figures={"gain_nats": 0.02, "novelty": 0.5, "validity": 0.95, "uniqueness_at_10k": 0.8},
)
BOOTSTRAP = Bootstrap(200, seed=1)


def gain(low, value, high):
    return Comparison(100, 1.5 - value, 1.5, Estimate(value, low, high))


def failed(verdict) -> list[str]:
    return [check.found for check in verdict.checks if not check.passed]


def test_a_better_model_becomes_champion():
    verdict = decide(CHALLENGER, CHAMPION, gain(0.02, 0.05, 0.08), 0, RULES)
    assert verdict.promoted
    assert verdict.summary == (
        "nomosaurus version 2 is the champion: against version 1 it saves 0.0500 nats per "
        "character (1.4500 against 1.5000) on the same 100 test names, "
        "95 % interval 0.0200 to 0.0800"
    )


def test_the_label_names_what_is_missing():
    assert decide(CHALLENGER, CHAMPION, gain(0.02, 0.05, 0.08), 0, RULES).label == "champion"
    dirty = replace(CHALLENGER, dirty=True)
    assert decide(dirty, CHAMPION, gain(-0.02, 0.05, 0.08), 0, RULES).label == (
        "not promoted: lacks a clean commit, a gain above 0.01 nats per character"
    )


@pytest.mark.parametrize(
    "comparison",
    [
        gain(-0.08, -0.05, -0.02),  # worse
        gain(0.0, 0.0, 0.0),  # equal
        gain(-0.01, 0.02, 0.05),  # perhaps better
        gain(0.01, 0.02, 0.03),  # better by the margin, and not by more
    ],
)
def test_a_gain_that_is_not_surely_above_the_margin_is_refused(comparison):
    verdict = decide(CHALLENGER, CHAMPION, comparison, 0, RULES)
    assert not verdict.promoted
    (reason,) = failed(verdict)
    assert reason.endswith("which is not above 0.01")
    assert reason in verdict.summary


def test_too_few_names_prove_nothing():
    verdict = decide(CHALLENGER, CHAMPION, gain(None, 0.9, None), 0, RULES)
    (reason,) = failed(verdict)
    assert "too few names" in reason


def test_the_first_champion_needs_only_the_floors():
    verdict = decide(CHALLENGER, None, None, 0, RULES)
    assert verdict.promoted
    assert "the first" in verdict.summary


@pytest.mark.parametrize("champion", [None, CHAMPION])
@pytest.mark.parametrize("figure", ["gain_nats", "novelty", "validity", "uniqueness_at_10k"])
@pytest.mark.parametrize("value", [-0.1, None])
def test_a_figure_below_its_floor_or_missing_is_refused(champion, figure, value):
    figures = {name: kept for name, kept in CHALLENGER.figures.items() if name != figure}
    figures |= {} if value is None else {figure: value}
    comparison = gain(0.02, 0.05, 0.08) if champion else None
    verdict = decide(replace(CHALLENGER, figures=figures), champion, comparison, 0, RULES)
    (reason,) = failed(verdict)
    assert figure in reason
    assert ("-0.1000" if value else "evaluate") in reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dirty": True}, "not committed"),
        ({"version": replace(CHALLENGER.version, commit="")}, "no commit"),
    ],
)
def test_a_model_that_cannot_be_made_again_is_refused(changes, reason):
    verdict = decide(replace(CHALLENGER, **changes), CHAMPION, gain(0.02, 0.05, 0.08), 0, RULES)
    (found,) = failed(verdict)
    assert reason in found


def test_other_test_names_are_refused_unless_they_are_allowed():
    other = replace(CHAMPION, test_sha256="other list")
    verdict = decide(CHALLENGER, other, None, 0, RULES)
    (reason,) = failed(verdict)
    assert "other li" in reason
    allowed = decide(CHALLENGER, other, gain(0.02, 0.05, 0.08), 0, RULES, other_test=True)
    assert allowed.promoted
    worse = decide(CHALLENGER, other, gain(-0.08, -0.05, 0.01), 0, RULES, other_test=True)
    assert not worse.promoted


def test_a_model_that_learnt_a_test_name_is_refused():
    verdict = decide(CHALLENGER, CHAMPION, gain(0.02, 0.05, 0.08), 3, RULES)
    (reason,) = failed(verdict)
    assert reason.startswith("3 test names")


def test_the_champion_is_not_promoted_over_itself():
    same = replace(CHALLENGER, version=replace(CHALLENGER.version, model_sha256="sha of 1"))
    verdict = decide(same, CHAMPION, None, 0, RULES)
    assert failed(verdict) == ["this very model is the champion already"]


def test_every_reason_is_said_in_words_in_json_and_in_markdown():
    bad = replace(CHALLENGER, dirty=True, figures={"novelty": 0.1})
    verdict = decide(bad, CHAMPION, gain(-0.08, -0.05, -0.02), 1, RULES)
    reasons = failed(verdict)
    assert len(reasons) == 7
    as_dict = verdict.as_dict()
    assert as_dict["promoted"] is False
    assert as_dict["comparison"]["gain"] == asdict(Estimate(-0.05, -0.08, -0.02))
    assert [check["found"] for check in as_dict["checks"] if not check["passed"]] == reasons
    for reason in reasons:
        assert f"| **failed** | {reason} |" in verdict.as_markdown()
        assert reason in str(verdict)


def test_the_gain_is_the_difference_of_the_costs_by_hand():
    names = ["ab", "b", "ba"] * 5
    known = make_model(["ab", "ba", "b"])
    # Every step: the boundary, a, b. One model finds them equally likely, log 3 nats each; the
    # other never tires of b: e^2 / (e^2 + 2) = .787, the rest .1065 each.
    even = with_fixed_logits(known, [0.0, 0.0, 0.0])
    odd = with_fixed_logits(known, [0.0, 0.0, 2.0])
    test = EncodedNames.from_names(names, known.vocabulary)
    comparison = compare(odd, even, test, BOOTSTRAP)
    # 5 times ab, b, ba: 25 letters, of them 10 a and 15 b, and 15 ends. Of 40 events 15 are b.
    unknown = -known.vocabulary.unknown_nats(1, 0)
    assert comparison.champion == pytest.approx(1.0986123 - unknown)
    assert comparison.challenger == pytest.approx((15 * 0.2395448 + 25 * 2.2395448) / 40 - unknown)
    assert comparison.gain.value == pytest.approx(comparison.champion - comparison.challenger)
    assert comparison.gain.low < comparison.gain.value < comparison.gain.high
    assert compare(even, even, test, BOOTSTRAP).gain == Estimate(0.0, 0.0, 0.0)


def test_models_with_other_characters_are_compared_on_the_same_names():
    model, wider = make_model(), make_model([*NAMES, "zoe"])
    test = ["anna", "bob", "ela"] * 4
    there = EncodedNames.from_names(test, model.vocabulary)
    comparison = compare(model, wider, there, BOOTSTRAP)
    # The o is unknown to the challenger, and so it counts as unknown to both.
    as_unknown = EncodedNames.from_names([n.replace("o", "\ufffd") for n in test], wider.vocabulary)
    costs = wider.nats(as_unknown)
    assert comparison.champion == pytest.approx(costs.sum() / (as_unknown.lengths + 1).sum())


def test_a_category_is_given_to_both_models_or_to_neither():
    kinds = dict.fromkeys(NAMES, "long") | {"ana": "short", "abel": "short"}
    knows, wider = make_model(NAMES, kinds), make_model(NAMES, kinds | {"lena": "odd"})
    ignores = make_model()
    names = ["anna", "ela"] * 6
    given = {"anna": ("short",), "ela": ("long",)}
    test = EncodedNames.from_names(names, knows.vocabulary, given)
    chars = (test.lengths + 1).sum()

    def cost(model, categories):
        return (
            model.nats(EncodedNames.from_names(names, model.vocabulary, categories)).sum() / chars
        )

    assert cost(knows, given) != pytest.approx(cost(knows, None))
    assert compare(knows, ignores, test, BOOTSTRAP).challenger == pytest.approx(cost(knows, None))
    both = compare(knows, wider, test, BOOTSTRAP)
    assert both.challenger == pytest.approx(cost(knows, given))
    assert both.champion == pytest.approx(cost(wider, given))
    # A category that only one of them knows.
    odd = {"anna": ("odd",), "ela": ("long",)}
    test = EncodedNames.from_names(names, wider.vocabulary, odd)
    one = compare(wider, knows, test, BOOTSTRAP)
    assert one.challenger == pytest.approx(cost(wider, {"ela": ("long",)}))
    assert one.champion == pytest.approx(cost(knows, {"ela": ("long",)}))


def test_names_are_decoded_with_a_mark_for_each_unknown_character():
    vocabulary = Vocabulary.from_names(["ab"])
    names = ["ba", "xab", ""]
    encoded = EncodedNames.from_names(names, vocabulary)
    assert decoded(encoded, vocabulary) == ["ba", "\ufffdab", ""]


def test_the_hash_of_a_list_is_that_of_its_names_and_not_of_their_order():
    assert names_sha256(["b", "a"]) == names_sha256(["a", "b"])
    assert names_sha256(["a", "b"]) != names_sha256(["a", "c"])
    # printf 'a\nb' | sha256sum
    assert names_sha256(["b", "a"]) == (
        "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"
    )


def test_test_names_that_were_learnt_are_counted_once():
    models = [make_model(), make_model([*NAMES, "zoe"])]
    assert num_learnt(models, ["ana", "zoe", "bob"]) == 2
    assert num_learnt(models[:1], ["ana", "zoe", "bob"]) == 1
