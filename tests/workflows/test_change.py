import dataclasses
import json
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from nomosaurus.evaluation.estimate import Comparison, Estimate
from nomosaurus.workflows.change import (
    MOST_BYTES,
    NAMES_SHOWN,
    Change,
    ChangeError,
    Side,
    from_json,
)

BEFORE = Side(
    commit="a" * 40,
    model="1" * 64,
    figures={"perplexity": Estimate(6.0, 5.0, 7.0), "novelty": Estimate(0.9)},
    counts={"names_train": 100, "names_test": 12},
    params={"model.cell": "gru", "seed": "1"},
    validation=[3.0, 2.0],
    names=["tyrannus", "brontes"],
)
AFTER = Side(
    commit="b" * 40,
    model="2" * 64,
    figures={"perplexity": Estimate(4.0, 3.5, 4.5), "novelty": Estimate(0.95)},
    counts={"names_train": 120, "names_test": 12},
    params={"model.cell": "lstm", "seed": "1"},
    validation=[3.0, 2.5, 2.0, 1.5],
    names=["raptor"],
)


CLEAR = Estimate(0.2, 0.1, 0.3)


def change(gain: Estimate = CLEAR) -> Change:
    return Change(BEFORE, AFTER, Comparison(12, 1.6, 1.8, gain), "")


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Estimate(0.2, 0.1, 0.3), "**Better** by 0.2000"),
        (Estimate(-0.2, -0.3, -0.1), "**Worse** by 0.2000"),
        (Estimate(0.2, -0.1, 0.5), "**No difference**"),
        (Estimate(-0.2, -0.5, 0.1), "**No difference**"),
        (Estimate(0.2), "Too few held-out names"),
    ],
)
def test_a_difference_is_real_only_where_the_paired_interval_lies_on_one_side_of_0(gain, words):
    assert words in change(gain).as_markdown()


def test_the_same_model_is_said_to_be_the_same_and_its_names_are_not_shown_twice():
    same = Change(BEFORE, dataclasses.replace(BEFORE, commit="b" * 40), None, "")
    assert "byte for byte" in same.verdict
    assert "tyrannus" not in same.as_markdown()


def test_why_two_models_were_not_compared_is_said():
    assert "learnt names that are held out now" in Change(BEFORE, AFTER, None, "learnt").verdict


def test_intervals_that_do_not_touch_are_apart_and_others_overlap():
    rows = {line.split(" | ")[0]: line for line in change().as_markdown().splitlines()}
    assert rows["| Perplexity"].endswith("| -2.0000, **apart** |")
    assert rows["| New, share of draws"].endswith("| +0.0500 |")
    wide = dataclasses.replace(AFTER, figures={"perplexity": Estimate(5.5, 4.0, 6.0)})
    assert "-0.5000, overlap" in Change(BEFORE, wide).as_markdown()


def test_only_what_differs_in_params_and_counts_is_a_row():
    text = change().as_markdown()
    assert "| `model.cell` | `gru` | `lstm` |" in text
    assert "`seed`" not in text
    assert "| names train | 100 | 120 | changed |" in text
    assert "names test" not in text


def test_the_shorter_learning_curve_goes_on_flat():
    text = change().as_markdown()
    assert "line [3.0000, 2.0000, 2.0000, 2.0000]" in text
    assert "line [3.0000, 2.5000, 2.0000, 1.5000]" in text
    assert 'x-axis "epoch" 1 --> 4' in text


def test_a_long_learning_curve_is_thinned_from_its_first_epoch_to_its_last():
    long = dataclasses.replace(AFTER, validation=[float(i) for i in range(1000)])
    lines = [line for line in Change(BEFORE, long).as_markdown().splitlines() if "line [" in line]
    values = lines[1].strip()[6:-1].split(", ")
    assert len(values) == 40
    assert (values[0], values[-1]) == ("0.0000", "999.0000")


def test_names_stand_side_by_side():
    text = change().as_markdown()
    assert "| `tyrannus` | `raptor` |" in text
    assert "| `brontes` |  |" in text
    many = dataclasses.replace(AFTER, names=[f"n{i}" for i in range(100)])
    assert Change(BEFORE, many).as_markdown().count("`n") == NAMES_SHOWN


@pytest.mark.parametrize(
    "name",
    [
        "@everyone",
        "`</code><script>alert(1)</script>",
        "a|b",
        "![x](http://example.invalid/x.png)",
        "[click](http://example.invalid)",
        "two\nlines\r\n# heading",
        "\u202eright to left",
        "x" * 10_000,
    ],
)
def test_a_name_cannot_leave_its_cell(name):
    hostile = dataclasses.replace(
        AFTER, names=[name], params={"model.cell": name}, figures=BEFORE.figures
    )
    text = Change(BEFORE, hostile).as_markdown()
    plain = Change(BEFORE, dataclasses.replace(hostile, names=["a"], params={"model.cell": "a"}))
    assert text.count("\n") == plain.as_markdown().count("\n")
    for line in text.splitlines():
        if line.startswith("| `"):
            assert line.count("`") % 2 == 0
            outside = "".join(line.split("`")[::2])
            assert set(outside) <= set("| "), line
            assert len(line) < 250


def test_what_is_written_is_read_again():
    assert from_json(change().as_json()) == change()
    unpaired = Change(BEFORE, AFTER, None, "no model")
    assert from_json(unpaired.as_json()) == unpaired


def test_a_change_without_anything_is_still_told():
    text = Change(Side("a" * 40, ""), Side("b" * 40, "")).as_markdown()
    assert "were not compared" in text


def broken(**replaced) -> str:
    content = json.loads(change().as_json())
    for path, value in replaced.items():
        *parents, key = path.split("__")
        inner = content
        for parent in parents:
            inner = inner[parent]
        inner[key] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "nonsense",
        "[" * 100_000,
        broken(before=3),
        broken(before__commit="main"),
        broken(before__commit="a" * 40 + "\n"),
        broken(after__model="x"),
        broken(after__figures={"<b>": {"value": 1, "low": None, "high": None}}),
        broken(after__figures={"novelty": {"value": "1 <b>", "low": None, "high": None}}),
        broken(after__figures={"novelty": {"value": True, "low": None, "high": None}}),
        broken(after__names=[1]),
        broken(after__names="abc"),
        broken(after__validation=["1"]),
        broken(after__validation=[1e308]),
        broken(paired__names=10**400),
        broken(paired={}),
        broken(paired__gain__value=None),
        broken(why_not_paired=[]),
        change().as_json().replace("1.6", "NaN"),
        change().as_json().replace("1.6", "1e999"),
        " " * (MOST_BYTES + 1),
    ],
)
def test_what_is_no_change_is_refused(text):
    with pytest.raises(ChangeError):
        from_json(text)


def test_it_needs_nothing_but_python():
    # The job that comments on a pull request installs nothing.
    code = (
        "import sys; sys.path.insert(0, 'src')\n"
        "import nomosaurus.workflows.github\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(*(loaded - set(sys.stdlib_module_names) - {'__main__'}))"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["nomosaurus"]
