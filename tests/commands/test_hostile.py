"""Whatever strangers write into names, models, files and paths, a terminal shows it and no more."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import NAMES, REPOSITORY, as_project, make_model
from finished import FIGURES, PREPARED
from invoked import invoke

from nomosaurus.errors import UNSAFE
from nomosaurus.model.file import save_model

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x7f"
TURNED = "\u202eabc\u2067\u2066"
HOSTILE = f"evil{ESCAPE}{TURNED}"
UNSAFE_CHARACTER = re.compile(f"[{UNSAFE}]")

NO_SUCH_FILE = pytest.mark.skipif(os.name == "nt", reason="Windows refuses such a file")


@pytest.fixture
def run(tmp_path, monkeypatch, few_draws):
    """Run a command beside a model of a hostile list; gives exit code, output, errors."""
    monkeypatch.chdir(as_project(tmp_path))
    names = [*NAMES, "a\x1bb", "a\u202eb", "a\x9bc"]
    model = make_model(names, categories=dict.fromkeys(names, HOSTILE) | {"ana": "b"})
    data = model.recipe.data.model_copy(update={"path": f"{HOSTILE}.csv", "condition": HOSTILE})
    train = model.recipe.train.model_copy(update={"start": "base", "start_from": HOSTILE})
    recipe = model.recipe.model_copy(update={"data": data, "train": train})
    save_model(tmp_path / "models/model.safetensors", replace(model, recipe=recipe))
    details = {"model": "", "figures": FIGURES, "categories": []}
    for path, content in {
        "metrics/prepare.json": json.dumps(PREPARED),
        "metrics/evaluate_details.json": json.dumps(details),
        "samples/names.csv": f"name,new\n{HOSTILE.replace(chr(13), '')},True\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content, "utf-8")
    return invoke


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["info"], 0),
        (["info", "--model", HOSTILE], 1),
        (["summary"], 0),
        (["score", HOSTILE], 0),
        (["score", HOSTILE, "a\u202eb", "a\x1bb"], 0),
        (["score", "--json", HOSTILE], 0),
        (["score", "ana", "--given", HOSTILE], 1),
        (["score", "--file", HOSTILE], 1),
        (["score", f"{HOSTILE}\udcff"], 1),
        (["explain", HOSTILE], 0),
        (["explain", HOSTILE, "--json"], 0),
        (["explain", HOSTILE, "--given", "b", "--plot", "x.svg"], 0),
        pytest.param(["explain", "ana", "--plot", f"{HOSTILE}.svg"], 0, marks=NO_SUCH_FILE),
        (["explain", "ana", "--plot", HOSTILE], 1),
        (["generate"], 0),
        (["generate", "--json"], 0),
        (["generate", "--csv"], 0),
        (["generate", "--prefix", HOSTILE], 1),
        (["generate", "--match", f"({HOSTILE}"], 1),
        (["generate", "--avoid", HOSTILE], 1),
        (["generate", "--given", f"no{HOSTILE}"], 1),
        (["generate", "--temperature", HOSTILE], 2),
        (["generate", HOSTILE], 2),
        (["generate", f"--{HOSTILE}"], 2),
        ([HOSTILE], 2),
        (["ci", HOSTILE], 2),
        (["ci", "before", HOSTILE, "x"], 1),
        (["ci", "release", "x", "--repository", HOSTILE], 2),
        (["runs", "--commit", HOSTILE], 1),
    ],
)
def test_no_command_hands_a_terminal_what_it_would_obey(run, arguments, code):
    outcome, out, err = run(*arguments)
    assert outcome == code, err
    assert not UNSAFE_CHARACTER.search(out + err)


def test_programs_get_hostile_names_as_they_are(run):
    assert json.loads(run("score", "--json", HOSTILE)[1])["name"] == HOSTILE


def test_a_picture_of_a_hostile_name_is_well_formed(run, tmp_path):
    run("explain", HOSTILE, "--plot", "x.svg")
    assert "evil" in "".join(ElementTree.parse(tmp_path / "x.svg").getroot().itertext())


@pytest.mark.parametrize("option", ["--prefix", "--match", "--given", "--temperature"])
@pytest.mark.parametrize("value", ["(" + "z" * 100_000, "(" + "z y " * 25_000])
def test_no_message_repeats_a_value_of_any_length(run, option, value):
    code, out, err = run("generate", option, value)
    assert (code, out) in ((1, ""), (2, ""))
    assert len(err) < 1_500


@pytest.mark.slow
def test_bars_on_a_terminal_leave_output_to_its_file(run, tmp_path):
    """With standard error on a terminal and standard output in a file, as in `generate > names`."""
    pty = pytest.importorskip("pty", reason="only Unix has it", exc_type=ImportError)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "typer", "nomosaurus.commands.app", "run"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "TERM": "xterm"}
    with Path("names.txt").open("w") as file:
        subprocess.run(
            [*command, "generate", "-n", "50"], stdout=file, stderr=theirs, env=environment
        )
    os.close(theirs)
    assert "\x1b[?25l" in os.read(ours, 100_000).decode()  # the bar hides the cursor
    assert len(Path("names.txt").read_text("utf-8").splitlines()) == 50
