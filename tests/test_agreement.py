"""What stands in several places says the same in all of them."""

import json
import math
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY, as_project, defaults_stand
from ruamel.yaml import YAML
from typer.main import get_command
from typer.testing import CliRunner

from nomosaurus.commands.app import app
from nomosaurus.params import CELLS, Params, Recipe, load_params
from nomosaurus.tracking.lock import stale
from nomosaurus.tracking.logged_model import NEEDS


def read_yaml(name: str) -> dict:
    return YAML(typ="safe", pure=True).load(REPOSITORY / name)


STAGES = read_yaml("dvc.yaml")["stages"] | read_yaml("experiments/dvc.yaml")["stages"]
DOCUMENTS = [
    REPOSITORY / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "data/README.md",
        "benchmarks/README.md",
        "docs/base.md",
        "docs/learning.md",
        "docs/names.md",
        "docs/play.md",
        "docs/recorrido.md",
        "docs/team.md",
        "docs/team-actions.md",
        "docs/team-server.md",
        "docs/walk.md",
    )
]
REPORT = REPOSITORY / "src/nomosaurus/report/page.html.jinja"


@pytest.mark.slow
def test_what_the_served_model_imports_is_among_its_requirements():
    code = (
        "import sys, nomosaurus.generation.generator, nomosaurus.model.file\n"
        "assert not {'badwords', 'jellyfish'} & set(sys.modules)  # only with `clean`\n"
        "import nomosaurus.generation.offensive\n"
        "print(*{name.split('.')[0] for name in sys.modules})\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {re.match(r"[\w.-]+", line).group() for line in project["dependencies"]}
    used = {name for name in wanted if name.split(".")[0].replace("-", "_") in loaded}
    # PyArrow is loaded by pandas where it is there; the served model reads no Parquet.
    assert used - {"pyarrow", "filelock", "rich", "typer"} <= set(NEEDS)


of_the_defaults = pytest.mark.skipif(
    not defaults_stand(),
    reason="the documents show the default model; params.yaml or the list is another",
)


@of_the_defaults
def test_the_lock_is_true_of_this_checkout():
    # On another processor a model of other bytes may lie here, and dvc.lock names that one then.
    assert stale(REPOSITORY) == []


PINNED = {"pyproject.toml": ["project.optional-dependencies.base"]}


def test_every_param_of_a_stage_exists():
    for stage in STAGES:
        for param in STAGES[stage].get("params", []):
            if isinstance(param, dict):
                assert param in ({"params.yaml": None}, PINNED), stage
                continue
            model = Params
            for part in param.split("."):
                assert part in model.model_fields, param
                model = model.model_fields[part].annotation


def test_every_param_is_explained_beside_its_value():
    for line in (REPOSITORY / "params.yaml").read_text("utf-8").splitlines():
        if re.match(r"\s+\w+: |seed: ", line):
            assert "#" in line, line


def options() -> dict[str, set[str]]:
    commands = dict(get_command(app).commands)
    group = commands.pop("ci")
    commands |= {f"ci {name}": command for name, command in group.commands.items()}
    return {
        name: {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for name, command in commands.items()
    } | {"ci": {"--help"}}


@pytest.mark.parametrize("path", [*DOCUMENTS, REPORT], ids=lambda path: path.name)
def test_commands_in_the_documents_exist(path):
    text = path.read_text("utf-8")
    targets = set(
        re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE)
    )
    for target in re.findall(r"(?:^|`|>)make ([a-z]+(?:-[a-z]+)*)", text, re.MULTILINE):
        assert target in targets, target
    known = options()
    names = "|".join([*known, r"\w+ --"])
    for line in re.findall(rf"nomosaurus ((?:{names})[^`|\n#<]*)", text):
        name, *arguments = line.split()
        if name == "ci" and not arguments[0].startswith("-"):
            name = f"ci {arguments.pop(0)}"
        assert name in known, line
        for argument in arguments:
            if re.match(r"-[a-z-]", argument):
                assert argument in known[name], line
    for value in re.findall(r"-S (\w+(?:\.\w+)?)=", text):
        model = Params
        for part in value.split("."):
            assert part in model.model_fields, value
            model = model.model_fields[part].annotation


@pytest.fixture
def committed(tmp_path) -> Path:
    """What git has of the pipeline's outputs: on another processor, a run gives others."""
    for folder in ("metrics", "samples"):
        listing = ["git", "ls-files", "-z", folder]
        names = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, check=True).stdout
        for name in names.decode().split("\0")[:-1]:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            show = ["git", "show", f":{name}"]
            content = subprocess.run(show, cwd=REPOSITORY, capture_output=True, check=True).stdout
            (tmp_path / name).write_bytes(content)
    return tmp_path


@of_the_defaults
def test_readme_shows_what_the_pipeline_gave(committed, monkeypatch):
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    details = json.loads((committed / "metrics/evaluate_details.json").read_text("utf-8"))
    figures = details["figures"]
    for key, digits in {
        "perplexity": 2,
        "network_perplexity": 2,
        "baseline_perplexity": 2,
        "gain_nats": 3,
        "network_gain_nats": 3,
        "memory_gain_nats": 3,
    }.items():
        value, low, high = (figures[key][part] for part in ("value", "low", "high"))
        row = f"| {value:.{digits}f} | {low:.{digits}f} to {high:.{digits}f} |"
        assert row in readme, key
    for key in ("novelty", "uniqueness_at_10k"):
        assert f"| {figures[key]['value']:.3f} | |" in readme, key
    params = load_params(REPOSITORY / "params.yaml")
    prepared = json.loads((committed / "metrics/prepare.json").read_text("utf-8"))
    chosen = Recipe.for_list(params, prepared["names_train"]).model
    number = ["no", "one", "two", "three", "four"][chosen.members]
    assert f"{number} {chosen.cell} networks of {chosen.hidden_size} units" in readme
    trained = json.loads((committed / "metrics/train.json").read_text("utf-8"))
    assert f"order {trained['ngram_order']})" in readme
    names = pd.read_csv(committed / "samples/names.csv")["name"].head(10)
    assert " · ".join(names) in readme
    monkeypatch.chdir(as_project(committed))
    summary = CliRunner().invoke(app, ["summary"])
    assert summary.exit_code == 0
    shown = [line.rstrip() for line in summary.stdout.strip().splitlines()]
    block = readme.split("```text\n")[1].split("```")[0].splitlines()
    assert [line for line in block if line not in shown] == ["  ..."]


@of_the_defaults
def test_the_tables_show_what_cross_validation_gave(committed):
    documents = [REPOSITORY / name for name in ("README.md", "docs/experiments.md")]
    default = load_params(REPOSITORY / "params.yaml").model.cell
    others = read_yaml("experiments/dvc.yaml")["stages"]["crossvalidate-cell"]["matrix"]["cell"]
    assert sorted([default, *others]) == sorted(CELLS)
    wanted = {default: ("perplexity", "network_perplexity", "baseline_perplexity")}
    wanted |= dict.fromkeys(others, ("network_perplexity",))
    for cell, keys in wanted.items():
        name, prefix = "crossvalidate", "cv_"
        if cell != default:
            name, prefix = f"crossvalidate-{cell}", f"cv_{cell}_"
        figures = json.loads((committed / f"metrics/{name}.json").read_text("utf-8"))
        for key in keys:
            perplexities = [figures[f"{prefix}{key}{end}"] for end in ("", "_low", "_high")]
            nats, low, high = map(math.log, perplexities)
            row = f"| {nats:.3f} | {low:.3f} to {high:.3f} | {perplexities[0]:.2f} |"
            assert all(row in document.read_text("utf-8") for document in documents), (cell, key)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_the_documents_link_to_exist(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target


def test_dependencies_are_explained_and_pinned():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"]
    for extra in ("pipeline", "dev"):
        wanted = wanted + project["optional-dependencies"][extra]
    wanted.remove("nomosaurus[pipeline]")
    locks = [REPOSITORY / f"requirements{which}.txt" for which in ("", "-torch")]
    lock = "".join(path.read_text("utf-8") for path in locks).lower()
    reasons = (REPOSITORY / "docs/decisions/0001-dependencies.md").read_text("utf-8")
    for requirement in wanted:
        name = re.match(r"[\w.-]+", requirement).group()
        pinned = re.sub(r"[-_.]+", "-", name)
        assert re.search(rf"^{re.escape(pinned)}==\d", lock, re.MULTILINE), name
        assert f"`{name}`" in reasons, name
    assert "://" not in lock


@pytest.mark.parametrize("path", ["requirements.txt", ".github/tools/requirements.txt"])
def test_each_pinned_package_has_its_hashes(path):
    for line in (REPOSITORY / path).read_text("utf-8").replace("\\\n", "").splitlines():
        assert line.startswith("#") or re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)


def test_each_finding_of_the_audit_that_is_ignored_has_its_reason():
    lines = (REPOSITORY / ".github/audit-answers.txt").read_text("utf-8").splitlines()
    for line in lines:
        assert line.startswith("#") or re.match(r"[A-Z]+-[A-Za-z0-9-]+ \S+ \S+", line), line


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")
def test_the_audit_ignores_what_is_answered_and_nothing_else(tmp_path):
    for name in ("Makefile", "requirements-torch.txt"):
        shutil.copyfile(REPOSITORY / name, tmp_path / name)
    (tmp_path / ".github").mkdir()
    answers = "# X-1 is no answer\nGHSA-abcd-1 we never call it\nPYSEC-2026-7 the same\n"
    (tmp_path / ".github/audit-answers.txt").write_text(answers)
    tools = tmp_path / ".tools/bin"
    tools.mkdir(parents=True)
    (tools / "pip-audit").write_text('#!/bin/sh\necho "$@"\n')
    (tools / "pip-audit").chmod(0o755)
    command = [
        "make",
        "audit",
        "--no-print-directory",
        "--assume-old=.tools/.ready",
        "-o",
        ".github/tools/requirements.txt",
    ]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.split()[0] == "--strict"
    assert said.endswith(" --ignore-vuln GHSA-abcd-1 --ignore-vuln PYSEC-2026-7\n")


def test_copyleft_packages_are_those_that_the_document_names():
    text = (REPOSITORY / "docs/decisions/0001-dependencies.md").read_text("utf-8")
    program = re.search(r"python - <<'END'\n(.*?)\nEND\n", text, re.DOTALL).group(1)
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    pinned = (REPOSITORY / "requirements.txt").read_text("utf-8").lower()
    for line in said.splitlines():
        name = line.split()[0]
        if f"\n{name.lower()}==" in pinned:  # others were installed beside
            assert f"| `{name}` |" in text, line
