import hashlib
import re
import tomllib
from dataclasses import replace

import pytest
from conftest import CATEGORIES, REPOSITORY, make_model, params_with
from finished import FIGURES, HOSTILE, PREPARED, TRAINED, figure
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from ruamel.yaml import YAML
from typer.testing import CliRunner

from nomosaurus.commands.app import app
from nomosaurus.errors import UNSAFE, printable
from nomosaurus.model.file import save_model
from nomosaurus.report.card import LICENCE, Origin, build_card, build_notes, code

FILE = b"the model file"
ORIGIN = Origin(
    repository="owner/names",
    version="1.2.3",
    commit="c0ffee" + "0" * 34,
    committed_md5=hashlib.md5(FILE).hexdigest(),
    lock_sha256="10c4",
    list_md5="1157",
)


def card(
    names=("belana",), figures=None, prepared=None, categories=(), model=None, origin=ORIGIN
) -> str:
    params = params_with()
    return build_card(
        model or make_model(),
        FILE,
        PREPARED | (prepared or {}),
        TRAINED,
        {"figures": FIGURES | (figures or {}), "categories": list(categories)},
        names,
        params.evaluate,
        params.sample,
        origin,
    )


def notes(names=("belana",), figures=None) -> str:
    details = {"figures": FIGURES | (figures or {}), "categories": []}
    return build_notes(FILE, PREPARED, details, names, ORIGIN)


def body(text: str) -> str:
    return text.removeprefix("---").partition("\n---\n")[2] if text.startswith("---") else text


def tokens(text: str) -> list:
    """What a Markdown reader makes of it, with the parts of paragraphs and cells among them."""
    reader = MarkdownIt("commonmark").enable("table")
    return [part for token in reader.parse(body(text)) for part in (token, *(token.children or []))]


def section(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip))
def test_any_text_is_a_code_span_as_it_is(text):
    text = printable(text)
    read = MarkdownIt("commonmark").parseInline(f"- {code(text)}.")[0].children
    assert [part.content for part in read if part.type == "code_inline"] == [text]
    assert [part.type for part in read] == ["text", "code_inline", "text"]


@pytest.mark.parametrize("write", [card, notes])
def test_no_name_commands_a_terminal_or_turns_text_around(write):
    assert not re.search(f"[{UNSAFE}]", write(["a\x1b[2J", "\u202eb", "\x9bc", "\u2067d"]))


@pytest.mark.parametrize("write", [card, notes])
def test_no_name_becomes_mark_up(write):
    read = tokens(write(HOSTILE))
    assert set(HOSTILE) <= {part.content for part in read if part.type == "code_inline"}
    plain = tokens(write(["belana"] * len(HOSTILE)))
    assert [part.type for part in read] == [part.type for part in plain]
    said = "".join(part.content for part in read if part.type == "text")
    assert "@" not in said
    assert "alert" not in said


def test_what_a_list_is_called_becomes_no_mark_up_either():
    name = "`a|b`[x](y)<b>@all"
    model = make_model(categories=dict.fromkeys(CATEGORIES, name))
    data = model.recipe.data.model_copy(update={"path": name, "column": name, "condition": name})
    model = replace(model, recipe=model.recipe.model_copy(update={"data": data}))
    row = {
        "category": name,
        "names": 12,
        "nats_per_char": figure(1.5, 1.2, 1.9),
        "condition_gain_nats": figure(0.1, 0.0, 0.2),
    }
    read = tokens(card(model=model, categories=[row]))
    assert [part.content for part in read if part.type == "code_inline"].count(name) == 6
    assert not [part for part in read if "html" in part.type]
    said = "".join(part.content for part in read if part.type == "text")
    assert "@" not in said
    assert "12 held-out names, 1.500 nats per character (1.200 to 1.900)" in said


def test_the_front_matter_is_yaml_with_the_repositorys_licence():
    front = card().split("---\n")[1]
    assert YAML(typ="safe", pure=True).load(front) == {
        "license": "mit",
        "library_name": "nomosaurus",
        "tags": ["name-generation", "character-level", "recurrent-neural-network", "gru"],
    }
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == LICENCE


def test_it_has_the_headings_of_a_model_card_in_their_order():
    found = re.findall(r"^## (.+)$", card(), re.MULTILINE)
    assert found == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "How it was trained",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
        "How to use it",
        "How to verify it",
    ]


def test_it_says_which_model_of_which_data_and_commit():
    said = card()
    details = section(said, "Model details")
    assert "2 gru networks of 8 units in 1 layer" in details
    assert "3-gram; 987,654 parameters" in details
    assert hashlib.sha256(FILE).hexdigest() in details
    assert ORIGIN.commit in details
    assert ORIGIN.lock_sha256 in details
    data = section(said, "Training data")
    assert f"`data/dinosaurs.csv`, column `name`, to DVC `{ORIGIN.list_md5}`" in data
    assert f"owner/names/blob/{ORIGIN.commit}/data/README.md" in data
    assert "1,300 rows, of which 1,290 names kept; 4 merged with an earlier row" in data
    assert "6 dropped, too long" in data
    assert "dropped, empty" not in data
    assert "1,050 to learn from; 130 to choose" in data
    assert section(said, "Evaluation data").strip().startswith("110 names")
    trained = section(said, "How it was trained")
    assert "seed 1" in trained
    assert "network 1 epoch 1 (2.100 nats per character)" in trained
    assert '"hidden_size": 8' in trained


def test_it_says_whether_the_commit_names_this_very_model():
    assert "dvc.lock names this very model" in card()
    assert "names a model of other bytes, to DVC `abc`" in card(
        origin=replace(ORIGIN, committed_md5="abc")
    )
    assert "names no model" in card(origin=replace(ORIGIN, committed_md5=""))


def test_every_figure_stands_with_its_interval():
    said = section(card(figures={"nearest_distance": figure(None)}), "Quantitative analyses")
    assert re.search(
        r"^\| \*\*Perplexity\.\*\* .* \| 8\.00 \| 7\.00 to 9\.00 \| 16\.00", said, re.M
    )
    rows = [line for line in said.splitlines() if line.startswith("| **")]
    assert len(rows) == len(FIGURES) - 1  # the n-gram's stands beside the others
    assert "nearest learnt name" not in said


@pytest.mark.parametrize(
    "change, what, how_much",
    [
        ({"perplexity": figure(8.0)}, "too few for an interval", "110 test names"),
        (
            {"network_gain_nats": figure(0.5, -0.1, 0.8)},
            "The networks alone are not shown to be better than the n-gram",
            "0.500 nats per character (-0.100 to 0.800)",
        ),
        ({"memory_gain_nats": figure(0.1, -0.1, 0.3)}, "not shown to use what they remember", ""),
        (
            {"memorisation": figure(38.2, 23.8, 74.1)},
            "It remembers",
            "38.2 times as likely as one that it never saw (23.8 to 74.1)",
        ),
        ({"novelty": figure(0.75)}, "names that it learnt;", "25.0 % of the names that it draws"),
        ({"uniqueness_at_10k": figure(0.9)}, "repeat an earlier one", "10.0 % of 10,000 valid"),
        (
            {"length_wasserstein": figure(0.8, 0.5, 1.2, 0.4)},
            "Distance in length: names that it draws are further from the list than real names are",
            "0.800 (0.500 to 1.200) against 0.400",
        ),
    ],
)
def test_a_limit_is_told_only_where_the_figures_show_it(change, what, how_much):
    harmless = {"memorisation": figure(0.5, 0.4, 0.6), "novelty": figure(1.0)}
    told = section(card(figures=harmless | change), "Caveats and recommendations")
    assert what in told
    assert how_much in told
    assert what not in section(card(figures=harmless), "Caveats and recommendations")


def test_characters_that_it_cannot_write_are_told():
    assert "no training name has, 3 in all" in card(prepared={"unknown_test": 3})
    assert "no training name has" not in card()


def test_case_and_familiar_names_are_told():
    said = card(prepared={"familiar_test": 2})
    assert "97.5 % of the held-out names got their own capitals back" in said
    assert "2 test names that the base had learnt are left out" in said
    assert "that the base had learnt" not in card()


def test_without_intervals_no_claim_is_made():
    bare = {key: figure(parts["value"]) for key, parts in FIGURES.items()}
    assert "Too few names to tell whether it beats the n-gram." in card(figures=bare)
    assert "Too few names to tell whether it beats the n-gram." in notes(figures=bare)


def test_the_commands_in_it_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model.safetensors", make_model())
    use = section(card(), "How to use it")
    commands = re.findall(r"^\$ \.venv/bin/nomosaurus (.+)$", use, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        result = CliRunner().invoke(app, command.split())
        assert result.exit_code == 0, result.output
    exec(use.split("```python\n")[1].split("```")[0], {})
    assert len(capsys.readouterr().out.splitlines()) == 20


@pytest.mark.parametrize("write", [card, notes])
def test_the_two_lines_that_verify_name_the_repository(write):
    said = write()
    assert "$ gh attestation verify model.safetensors --repo owner/names\n" in said
    assert "$ sha256sum --check SHA256SUMS\n" in said


def test_the_notes_have_the_headline_figures_and_ten_names():
    said = notes([f"name{i}" for i in range(20)])
    assert "| Perplexity | 8.000 | 7.000 to 9.000 |" in said
    assert "| New, share of draws | 0.975 | exact |" in said
    assert re.findall(r"^- `(\w+)`$", said, re.MULTILINE) == [f"name{i}" for i in range(10)]
    assert hashlib.sha256(FILE).hexdigest() in said


def test_the_same_inputs_give_the_same_bytes():
    assert card() == card()
    assert not re.search(r"\b20\d\d-\d\d", card())
    assert str(REPOSITORY) not in card()
