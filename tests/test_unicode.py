"""Lists in several scripts, all the way: read, train, generate, score, print, draw.

A character is a grapheme cluster. For each script one name is split into its characters by
hand; the other names are there to be learnt.
"""

import json
import warnings
from pathlib import Path

import pytest
import torch
from conftest import params_with
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from nomosaurus.commands.app import app
from nomosaurus.model.file import save_model
from nomosaurus.model.mixture import fit_mixture
from nomosaurus.model.trained import ListBits, TrainedModel
from nomosaurus.names.casing import Casing
from nomosaurus.names.corpus import build_corpus, name_hashes
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary, characters
from nomosaurus.params import Recipe
from nomosaurus.training.processes import member_tasks, train_networks

FAMILY, ASTRONAUT = "👨\u200d👩\u200d👧", "🧑🏿\u200d🚀"
HEART, THUMB, FLAG = "❤\ufe0f", "👍🏽", "🇩🇪"

SCRIPTS = {
    "accents": (
        ["z", "o", "é"],
        "ñandú élan björn ångström søren çelik müller łukasz šimon žofia renée françois "
        "ángel íñigo órla úrsula naïve aïda öberg ėva ōta żubr håkon noël",
    ),
    "han": (
        ["王", "小", "明"],
        "李娜 张伟 刘洋 陈静 杨光 赵磊 黄河 周杰 吴刚 徐静 孙丽 马云 朱红 胡兵 林峰 郭靖 何平 高山 "
        "罗兰 郑和 梁山 谢安 宋江 唐寅 韩信",
    ),
    "devanagari": (
        ["क्षि", "ति", "ज"],  # ka + virama + ssa + vowel sign i is one
        "ज्ञान त्रिलोक श्रीधर कृष्ण राम सीता लक्ष्मी विद्या प्रिया अर्जुन भीष्म द्रौपदी कर्ण गंगा यमुना नर्मदा "
        "हिमालय शक्ति दुर्गा काली गणेश विष्णु ब्रह्मा शिव पार्वती",
    ),
    "arabic": (
        ["م", "ح", "مَّ", "د"],  # the third with the signs for a vowel and a doubled letter
        "أحمد فاطمة زينب علي حسن حسين مريم يوسف إبراهيم إسماعيل عائشة خديجة عمر عثمان بكر سلمى "
        "ليلى نور هدى سعاد كريم رشيد جميل سمير",
    ),
    "hebrew and latin": (
        ["ד", "ו", "ד", " ", "b"],
        "אברהם יצחק יעקב שרה רבקה רחל לאה משה אהרן מרים דוד שלמה אסתר רות נעמי דבורה חנה שמואל "
        "יונתן דניאל אליהו יונה נח אדם חוה",
    ),
    "emoji": (
        [FAMILY, THUMB, FLAG, HEART],
        f"🎉🎉 🎈{THUMB} {HEART}🎉 {FAMILY}{FAMILY} 🎈🎉🎈 {THUMB}{THUMB} {HEART}{HEART} {FLAG}🎈 "
        f"🎉{HEART}🎈 {ASTRONAUT}🎉 {ASTRONAUT}🎈 {THUMB}{HEART} 🎉🎈{HEART} 🎉{THUMB} "
        f"{HEART}{THUMB} 🎈🎈 🎉🎈 {FLAG}{HEART} {HEART}{FLAG} {FAMILY}{HEART}"
        f" 🎈{FAMILY} 🎉{FLAG} 🎉🎉🎉",
    ),
}
RIGHT_TO_LEFT = ("arabic", "hebrew and latin")


@pytest.fixture(scope="module", params=SCRIPTS)
def trained(request, tmp_path_factory) -> tuple[Path, str, TrainedModel]:
    """A folder where the command finds a model, its script, and the model: two epochs old."""
    _, others = SCRIPTS[request.param]
    folder = tmp_path_factory.mktemp("unicode")
    (folder / "list.txt").write_text("\n".join(others.split()) + "\n", "utf-8")
    params = params_with(
        data={
            "path": str(folder / "list.txt"),
            "max_length": 12,
            "validation_share": 0.2,
            "test_share": 0.2,
        },
        model={"hidden_size": 8, "members": 1},
        train={"max_epochs": 2, "device": "cpu"},
    )
    corpus = build_corpus(params.data)
    vocabulary = Vocabulary.from_names(corpus.train)
    train, validation = (
        EncodedNames.from_names(names, vocabulary) for names in (corpus.train, corpus.validation)
    )
    recipe = Recipe.for_list(params, len(train))
    tasks = member_tasks(train, validation, vocabulary, recipe, torch.device("cpu"))
    (training,) = train_networks(tasks, num_jobs=1)
    mixture = fit_mixture([training.network], train, validation, recipe.model)
    hashes = name_hashes(corpus.names(), params.data.split_key)
    bits = ListBits.measure(mixture, vocabulary, train, validation)
    model = TrainedModel(
        mixture, vocabulary, train, hashes, recipe, [training.epochs], bits, Casing({}, {}, {})
    )
    save_model(folder / "models/model.safetensors", model)
    return folder, request.param, model


@pytest.fixture
def run(trained, monkeypatch, few_draws):
    monkeypatch.chdir(trained[0])

    def invoke(*arguments: str, terminal: bool = False) -> str:
        with monkeypatch.context() as patch:
            if terminal:
                console = Console(force_terminal=True, color_system=None, width=120)
                patch.setattr("nomosaurus.commands.shown.console", lambda: console)
            result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def test_characters_are_what_a_reader_sees_as_one(trained):
    split, _ = SCRIPTS[trained[1]]
    assert characters("".join(split)) == split


def test_what_is_generated_is_made_of_learnt_characters_and_printed_as_it_is(trained, run):
    _, _, model = trained
    names = run("generate", "-n", "40").splitlines()
    assert len(names) == 40
    for name in names:
        assert model.normalise(name) == name
        assert set(characters(name)) <= set(model.vocabulary.characters)


def test_a_prefix_of_the_script_is_continued(trained, run):
    _, _, model = trained
    start = characters(model.train.decode(model.vocabulary)[0])[0]
    for name in run("generate", "-n", "10", "--prefix", start).splitlines():
        assert characters(name)[0] == start


def test_score_counts_characters_and_gives_the_name_back(trained, run):
    split, _ = SCRIPTS[trained[1]]
    scored = json.loads(run("score", "--json", "".join(split)))
    assert scored["name"] == "".join(split)
    assert scored["chars"] == len(split) + 1
    assert scored["surprise"]["character"] in [*split, ""]


@pytest.mark.parametrize("terminal", [False, True])
def test_columns_stand_below_each_other(trained, run, terminal):
    _, script, model = trained
    split, _ = SCRIPTS[script]
    names = ["".join(split), *model.train.decode(model.vocabulary)[:6]]
    heading, *lines = run("score", *names, terminal=terminal).splitlines()
    end = cell_len(heading[: heading.index("log-prob") + len("log-prob")])
    for name, scored, line in zip(names, model.score(names), lines, strict=True):
        number = f"{scored.log_prob:.2f}"
        before = line.index(number) + len(number)
        assert cell_len(line[:before]) == end
        isolated = terminal and script in RIGHT_TO_LEFT
        assert line.startswith(f"\u2068{name}\u2069 " if isolated else f"{name} ")


@pytest.mark.parametrize("terminal", [False, True])
def test_right_to_left_is_kept_apart_on_a_terminal_and_nowhere_else(trained, run, terminal):
    _, script, model = trained
    name = model.train.decode(model.vocabulary)[0]
    isolated = terminal and script in RIGHT_TO_LEFT
    for command in (["score", name], ["explain", name], ["info"]):
        out = run(*command, terminal=terminal)
        assert out.count("\u2068") == out.count("\u2069")
        assert ("\u2068" in out) == isolated, command
        assert all(character in out for character in characters(name))


@pytest.mark.slow
def test_explain_draws_every_script(trained, run):
    folder, script, model = trained
    name = model.train.decode(model.vocabulary)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in ("svg", "png"):
            run("explain", name, "--plot", f"drawn.{suffix}")
    drawn = (folder / "drawn.svg").read_text("utf-8")
    assert all(f">{character}<" in drawn for character in characters(name)), script
    assert (folder / "drawn.png").read_bytes().startswith(b"\x89PNG")
