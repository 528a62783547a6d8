"""The walk through the lesson: its cells run, and print what it shows, in both languages."""

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY, defaults_stand

CELL = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def cells(document: str) -> list[tuple[str, str]]:
    """Each cell, and what the document says that it prints."""
    return CELL.findall((REPOSITORY / document).read_text("utf-8"))


def run(code: str, namespace: dict, capsys: pytest.CaptureFixture) -> str:
    exec(code, namespace)
    return "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())


def test_both_languages_have_the_same_cells():
    assert cells("docs/walk.md")
    assert cells("docs/walk.md") == cells("docs/recorrido.md")


@pytest.mark.slow
@pytest.mark.skipif(
    not defaults_stand(),
    reason="the walk shows the default model; params.yaml or the list is another",
)
def test_the_cells_print_what_the_walk_shows(monkeypatch, capsys):
    if not Path(REPOSITORY, "models/model.safetensors").exists():
        pytest.skip("no models/model.safetensors: run make repro")
    monkeypatch.chdir(REPOSITORY)
    namespace = {}
    for code, shown in cells("docs/walk.md"):
        printed = run(code, namespace, capsys)
        if "nomosaurus.load" in code:  # another processor trains a model of other bytes
            totals, wanted = (" ".join(t.splitlines()[:3]) for t in (printed, shown))
            assert NUMBER.sub("", totals).split() == NUMBER.sub("", wanted).split()
            numbers, expected = ([float(x) for x in NUMBER.findall(t)] for t in (totals, wanted))
            assert numbers == pytest.approx(expected, rel=0.3)
        else:  # in double precision, so that rounding is far below the digits shown
            assert printed == shown


@pytest.mark.slow
def test_the_cells_run_on_another_list(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    namespace = {}
    for code, _ in cells("docs/walk.md"):
        assert run(code, namespace, capsys).strip()
