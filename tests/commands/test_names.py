import csv
import io
import json
import math
import re
from dataclasses import replace

import pytest
from conftest import CATEGORIES, NAMES, make_model
from invoked import invoke
from rich.console import Console

from nomosaurus.commands.names import LEGEND
from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.request import Request
from nomosaurus.model.file import save_model


@pytest.fixture
def run(tmp_path, monkeypatch, few_draws):
    """Run the command in a folder with a trained model; gives exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "models" / "model.safetensors", make_model())
    return invoke


def objects(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_generate_writes_a_name_a_line(run):
    code, out, _ = run("generate", "-n", 7)
    assert code == 0
    assert len(out.splitlines()) == 7


def test_prefix_may_be_given_more_than_once(run):
    _, out, _ = run("generate", "-n", 30, "--prefix", "b", "--prefix", "le")
    names = NameGenerator(make_model()).generate(30, Request(prefix=["b", "le"]))
    assert out.splitlines() == [name.name for name in names]


def test_fewer_names_are_the_head_of_more(run):
    _, few, _ = run("generate", "-n", 10, "--seed", 4)
    _, many, _ = run("generate", "-n", 400, "--seed", 4)
    assert many.startswith(few)


def test_json_has_the_promised_keys(run):
    _, out, _ = run("generate", "--count", 5, "--new", "--unique", "--json")
    for name in objects(out):
        assert list(name) == ["name", "log_prob", "chars", "bits_per_char", "new"]
        assert name["chars"] == len(name["name"]) + 1
        assert name["bits_per_char"] == pytest.approx(
            -name["log_prob"] / name["chars"] / math.log(2), abs=1e-4
        )
        assert name["new"] is True


def test_csv_has_a_header_and_the_same_values(run):
    _, objects_text, _ = run("generate", "-n", 5, "--json")
    _, table, _ = run("generate", "-n", 5, "--csv")
    rows = list(csv.DictReader(io.StringIO(table)))
    for row, name in zip(rows, objects(objects_text), strict=True):
        assert row.pop("nearest") in NAMES
        assert int(row.pop("distance")) > 0
        assert row == {key: str(value) for key, value in name.items()}


def test_csv_guards_spreadsheets_against_names_unless_told_otherwise(run, tmp_path):
    names = ["-ana", "=ben", "+col", "@dan"]
    save_model(tmp_path / "models" / "model.safetensors", make_model(names))

    def drawn(*arguments: str) -> list[str]:
        _, table, _ = run("generate", "-n", 20, "--csv", "--prefix", "-", *arguments)
        return [row["name"] for row in csv.DictReader(io.StringIO(table))]

    assert all(name.startswith("'-") for name in drawn())
    assert drawn("--no-guard") == [name[1:] for name in drawn()]


def test_sorted_names_are_the_same_names_the_most_natural_first(run):
    _, plain, _ = run("generate", "-n", 30, "--json")
    _, ordered, _ = run("generate", "-n", 30, "--json", "--sort")
    found = list(objects(ordered))
    assert found != list(objects(plain))
    assert found == sorted(objects(plain), key=lambda name: name["bits_per_char"])


def test_what_was_found_of_an_impossible_request_is_sorted_too(run, tmp_path):
    from conftest import with_fixed_logits

    only = with_fixed_logits(make_model(["a", "aa"]), [0.0, 1.0])
    save_model(tmp_path / "models" / "model.safetensors", only)
    code, out, _ = run("generate", "-n", 50, "--no-new", "--sort", "--json")
    assert code == 1
    bits = [name["bits_per_char"] for name in objects(out)]
    assert len(bits) == 12
    assert bits == sorted(bits)


def test_generate_keeps_to_the_request_and_says_what_it_left_out(run, tmp_path):
    (tmp_path / "taken.txt").write_text("abel\n*nn*\n", "utf-8")
    request = ["--new", "--unique", "--match", "a", "--min-length", 4, "--max-length", 7]
    code, out, err = run(
        "generate", "-n", 30, *request, "--avoid", tmp_path / "taken.txt", "--min-distance", 2
    )
    assert code == 0
    names = out.splitlines()
    assert len(set(names)) == 30
    for name in names:
        assert "a" in name
        assert "nn" not in name
        assert 4 <= len(name) <= 7
    assert re.match(r"[\d,]+ drawn, 30 kept; left out: .*too long, .*too short, .*match", err)
    assert "% of the probability" in err


def test_a_long_generation_into_a_pipe_says_how_it_goes(run, monkeypatch):
    monkeypatch.setattr("nomosaurus.commands.shown.names_progress.__wrapped__.__defaults__", (0,))
    _, _, err = run("generate", "-n", 3)
    lines = [line for line in err.splitlines() if "a second" in line]
    assert len(lines) == 3
    assert re.fullmatch(r"3 of 3 names, [\d,]+ a second, 0 s left", lines[-1])


def test_score_and_generate_say_the_same_of_a_name(run):
    _, drawn, _ = run("generate", "-n", 30, "--json", "--temperature", 1.5, "--top-k", 4)
    lines = "\n".join(name["name"] for name in objects(drawn))
    _, scored, _ = run("score", "--json", stdin=lines)
    for one, other in zip(objects(drawn), objects(scored), strict=True):
        for key, value in one.items():
            about = key in ("log_prob", "bits_per_char")
            assert other[key] == (pytest.approx(value, abs=1e-4) if about else value), key


def test_score_takes_names_from_arguments_a_file_and_standard_input(run, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("Bela\nana\n", "utf-8")
    _, by_argument, _ = run("score", "Bela", "ana", "--json")
    _, by_file, _ = run("score", "--file", path, "--json")
    _, by_stdin, _ = run("score", "--json", stdin="Bela\nana")
    assert by_argument == by_file == by_stdin
    assert [name["name"] for name in objects(by_argument)] == ["Bela", "ana"]


def test_score_warns_of_characters_never_seen(run):
    code, out, err = run("score", "--json", "anx", "zoé")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert err == "warning: no learnt name has the characters 'o' 'x' 'z' 'é'\n"


def test_score_says_in_words_what_to_think_of_a_name(run):
    code, out, _ = run("score", "belanna")
    assert code == 0
    (name,) = objects(run("score", "belanna", "--json")[1])
    for part in (
        f"{name['bits_per_char']:.2f} bits a character",
        f"as typical as {name['percentile_held_out']:.0f} % of the 10 held-out names",
        f"95 % interval {name['rank_low']:,} to {name['rank_high']:,}",
        "belana (1), ",
        f"at place {name['surprise']['place']} costs most",
    ):
        assert part in out, part


def test_score_shows_a_table_of_several_names(run):
    code, out, err = run("score", "belanna", "ana", "zzzzzzzzzzzz")
    assert code == 0
    heading, *lines = out.splitlines()
    assert heading.split()[:2] == ["name", "log-prob"]
    explained = [line.split()[0] for line in err.splitlines() if line]
    assert explained[:6] == heading.replace(" (edits)", "").split()[2:]
    assert [line.split()[0] for line in lines] == ["belanna", "ana", "zzzzzzzzzzzz"]
    assert "belana (1)" in lines[0]
    assert " no " in lines[1]
    assert " > " in lines[2]
    assert len({line.index("(") - len(line.split()[-2]) for line in lines}) == 1  # aligned


def test_score_tells_programs_all_of_it(run):
    (name,) = objects(run("score", "belanna", "--json")[1])
    assert list(name) == [
        *("name", "log_prob", "chars", "bits_per_char", "new"),
        *("percentile_train", "percentile_held_out", "rank", "rank_low", "rank_high"),
        *("nearest", "surprise"),
    ]
    assert name["nearest"][0] == {"name": "belana", "distance": 1}
    assert set(name["surprise"]) == {"character", "place", "bits"}


@pytest.mark.slow
@pytest.mark.parametrize("form", [["--json"], []])
def test_a_long_list_is_scored_in_parts_and_in_order(run, monkeypatch, form):
    lines = "\n".join(["bela", "ana", "", "lena", "nala", "", "", "", "abel"])
    _, together, _ = run("score", *form, stdin=lines)
    monkeypatch.setattr("nomosaurus.commands.names.SCORED_TOGETHER", 2)
    _, apart, err = run("score", *form, stdin=lines)
    assert apart == together
    legend = "" if form else LEGEND.format(held_out=10) + "\n"
    assert err == legend + "warning: empty lines left out: 4\n"


@pytest.mark.parametrize("name", ["[/c]", "c[o-]c", "[bold]x", ":smile:"])
def test_names_are_shown_as_they_are(run, name):
    code, out, _ = run("score", name)
    assert code == 0
    assert name in out


def test_info_names_network_list_and_training(run):
    code, out, _ = run("info")
    assert code == 0
    for part in (
        "2 gru",
        "10 names",
        "sha256",
        "kept epoch 1",
        "3-gram, weight in the mixture 0.2 where",
    ):
        assert part in out


@pytest.mark.parametrize(
    ("start", "said"), [("fresh", "fresh"), ("base", "from models/base.safetensors")]
)
def test_info_says_how_the_networks_started(run, tmp_path, start, said):
    model = make_model()
    train = model.recipe.train.model_copy(update={"start": start})
    model = replace(model, recipe=model.recipe.model_copy(update={"train": train}))
    save_model(tmp_path / "models" / "model.safetensors", model)
    rows = dict(line.split(maxsplit=1) for line in run("info")[1].splitlines())
    assert rows["start"].rstrip() == said


@pytest.fixture
def run_conditional(run, tmp_path):
    save_model(tmp_path / "models" / "model.safetensors", make_model(categories=CATEGORIES))
    return run


def test_score_takes_a_category(run_conditional):
    model = make_model(categories=CATEGORIES)
    for given in ("long", "short"):
        (scored,) = objects(run_conditional("score", "bela", "--json", "--given", given)[1])
        assert scored["log_prob"] == model.score(["bela"], given)[0].log_prob
    (scored,) = objects(run_conditional("score", "bela", "--json")[1])
    assert scored["log_prob"] == model.score(["bela"])[0].log_prob


def test_generate_takes_a_category(run_conditional):
    model = make_model(categories=CATEGORIES)
    for given in ("long", "short", None):
        arguments = [] if given is None else ["--given", given]
        _, out, _ = run_conditional("generate", "-n", 5, *arguments)
        names = NameGenerator(model).generate(5, Request(given=given))
        assert out.splitlines() == [name.name for name in names]


def test_explain_says_for_which_category(run_conditional):
    _, out, _ = run_conditional("explain", "bela", "--given", "short")
    assert out.endswith("category     'short', as given\n")
    _, out, _ = run_conditional("explain", "bela")
    assert out.endswith("category     'long', the likeliest for this name\n")


def test_info_counts_the_categories(run_conditional):
    lines = [line.rstrip() for line in run_conditional("info")[1].splitlines()]
    assert "categories  kind: 'long' 7, 'other' 2, 'short' 1" in lines


@pytest.mark.parametrize("command", ["score", "explain"])
def test_a_category_that_is_not_known_gets_one_line(run_conditional, command):
    code, out, err = run_conditional(command, "bela", "--given", "huge")
    assert (code, out) == (1, "")
    expected = "error: no training name has the category 'huge'; there are 'long', 'other', 'short'"
    assert err == f"{expected}\n"


@pytest.mark.parametrize("command", ["generate", "score", "explain", "info"])
def test_help_teaches(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert len(out.splitlines()) > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--prefix", "q"], "the character 'q', which no training name has"),
        (["generate", "--model", "absent"], 'absent not found; run "dvc repro"'),
        (["score", "--file", "absent.txt"], "absent.txt cannot be read"),
        (["generate", "--avoid", "absent.txt"], "absent.txt cannot be read"),
        (["generate", "--match", "("], "match must be a regular expression, got '('"),
        (["generate", "--min-length", "99"], "min_length must be at most 12"),
        (["generate", "--min-length", "5", "--max-length", "4"], "at least min_length, got 4"),
        (["score", " "], "there is no name to score"),
        (["info", "--model", "short"], "short is cut short or damaged"),
    ],
)
def test_bad_input_gets_one_line_and_exit_1(run, tmp_path, arguments, message):
    (tmp_path / "short").write_bytes(
        (tmp_path / "models" / "model.safetensors").read_bytes()[:1000]
    )
    code, out, err = run(*arguments)
    assert code == 1
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0].replace("\\", "/")


def test_a_name_that_is_not_utf8_is_refused(run):
    code, _, err = run("score", b"M\xfcller".decode("utf-8", "surrogateescape"))
    assert code == 1
    assert "is not UTF-8" in err


def test_names_that_are_not_utf8_are_refused(run):
    code, _, err = run("score", stdin=b"ana\nM\xfcller\n")
    assert code == 1
    assert "standard input, line 2: not UTF-8" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "-n", "0"],
        ["generate", "--seed", "-1"],
        ["generate", "--seed", str(2**63)],
        ["generate", "--temperature", "0"],
        ["generate", "--temperature", "101"],
        ["generate", "--top-k", "-1"],
        ["generate", "--top-p", "0"],
        ["generate", "--top-p", "1.5"],
        ["generate", "--min-length", "0"],
        ["generate", "--max-length", "-1"],
        ["generate", "--min-distance", "-1"],
        ["generate", "--new", "yes"],
        ["generate", "--json", "--csv"],
        ["score", "ana", "--file", "x"],
    ],
)
def test_bad_usage_exits_with_2(run, arguments):
    assert run(*arguments)[0] == 2


def test_impossible_request_prints_what_it_managed_and_fails(run, tmp_path):
    from conftest import with_fixed_logits

    only = with_fixed_logits(make_model(["a", "aa"]), [0.0, 1.0])
    save_model(tmp_path / "models" / "model.safetensors", only)
    code, out, err = run("generate", "-n", 50, "--no-new")
    assert code == 1
    assert len(out.splitlines()) == 12
    assert err.startswith("error: found 12 of the 50 names asked for")


def test_explain_shows_every_step_and_the_sums(run):
    code, out, _ = run("explain", "Belana")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[1] for line in lines[1:8]] == ["start", *"belana"]
    assert "end" in lines[7]
    (scored,) = objects(run("score", "belana", "--json")[1])
    assert lines[8].split()[-1] == f"{-scored['log_prob'] / math.log(2):.2f}"


def test_explain_fits_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setattr("nomosaurus.commands.shown.console", lambda: Console(width=80))
    _, out, _ = run("explain", "belanaelenab")
    assert "…" not in out
    assert max(map(len, out.splitlines()[:15])) <= 80


def test_explain_gives_programs_all_of_it(run):
    content = json.loads(run("explain", "ana", "--json", "--network", 2)[1])
    assert content["network"] == 2
    assert [step["x"] for step in content["steps"]] == ["", "a", "n", "a"]


def test_explain_draws_a_picture(run, tmp_path):
    code, _, err = run("explain", "ana", "--plot", tmp_path / "ana.svg")
    assert code == 0
    assert "ana.svg written" in err
    assert "<svg" in (tmp_path / "ana.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((" ",), "is blank"),
        (("ana", "--network", 9), "there is no network 9: this model has 1 to 2"),
        (("ana", "--plot", "x.gif"), "x.gif does not end in .svg, .png, .pdf"),
    ],
)
def test_explain_refuses_in_one_line(run, arguments, message):
    code, _, err = run("explain", *arguments)
    assert code == 1
    assert message in err
    assert len(err.splitlines()) == 1
