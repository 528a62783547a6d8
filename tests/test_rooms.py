"""The library's packages: who may import whom, and which of them each stage depends on."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import REPOSITORY, as_project, make_model
from ruamel.yaml import YAML

from nomosaurus.model.file import save_model

LIBRARY = REPOSITORY / "src/nomosaurus"
PACKAGES = [
    *("names", "model", "training", "generation", "evaluation", "report"),
    *("tracking", "serving", "workflows", "commands"),
]
"""Each imports only those before it."""
BESIDE = {"params", "errors", "files"}
STAGES = {
    stage: content
    for file in ("dvc.yaml", "experiments/dvc.yaml")
    for stage, content in YAML(typ="safe", pure=True).load(REPOSITORY / file)["stages"].items()
}
SCRIPTS = {stage: REPOSITORY / f"pipeline/{stage.split('-')[0]}.py" for stage in STAGES}


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from, wherever in it; "" is the library's own __init__."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            modules = [node.module or ""]
            if node.module == "nomosaurus":
                modules = [f"nomosaurus.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            library, _, rest = module.partition(".")
            if library == "nomosaurus":
                room = rest.partition(".")[0]
                found.add(room if room in {*PACKAGES, *BESIDE} else "")
    return found


def rooms_of(package: str) -> set[str]:
    return set().union(*(imported(path) for path in (LIBRARY / package).rglob("*.py")))


def needed(script: Path) -> set[str]:
    """All rooms that a script's bytes may follow from; tracking decides none."""
    found: set[str] = set()
    waiting = imported(script) - {"tracking"}
    while waiting:
        room = waiting.pop()
        found.add(room)
        if room in PACKAGES:
            waiting |= rooms_of(room) - found - {"tracking", ""}
    return found


def test_the_library_is_these_packages_and_files():
    folders = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert folders == set(PACKAGES)
    assert {path.stem for path in LIBRARY.glob("*.py")} == {*BESIDE, "__init__"}
    for package in PACKAGES:
        assert (LIBRARY / package / "__init__.py").read_text() == ""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_those_before_it(package):
    before = set(PACKAGES[: PACKAGES.index(package)])
    if package == "generation":
        before.remove("training")
    assert rooms_of(package) - {package} <= before | BESIDE | {""}


def test_what_stands_beside_the_packages_imports_none_of_them():
    for room in BESIDE:
        assert imported(LIBRARY / f"{room}.py") <= BESIDE


def test_only_tracking_and_serving_import_mlflow():
    users = {
        path.relative_to(LIBRARY).parts[0]
        for path in LIBRARY.rglob("*.py")
        if re.search(r"^\s*(import|from) mlflow", path.read_text("utf-8"), re.MULTILINE)
    }
    assert users == {"tracking", "serving"}


def test_each_stage_is_a_script_of_the_same_name():
    assert set((REPOSITORY / "pipeline").glob("*.py")) == set(SCRIPTS.values())
    for stage, script in SCRIPTS.items():
        assert STAGES[stage]["cmd"].startswith(f"python pipeline/{script.name} ")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_script_and_the_rooms_that_decide_its_bytes(stage):
    wanted = {f"pipeline/{SCRIPTS[stage].name}"}
    for room in needed(SCRIPTS[stage]) - {"errors"}:  # messages are no output
        package = "__init__.py" if room == "" else room if room in PACKAGES else f"{room}.py"
        wanted.add(f"src/nomosaurus/{package}")
    if stage in ("track", "base"):  # a receipt, which no code decides; weights that stay in git
        wanted = {f"pipeline/{stage}.py"}
    code = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "pipeline/"))}
    assert code == wanted


WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from nomosaurus.commands.app import app
app()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("generate", "-n", "2", "--csv", "--model", "m.safetensors"), 0),
        (("score", "belana", "--model", "m.safetensors"), 0),
        (("explain", "belana", "--plot", "x.svg", "--model", "m.safetensors"), 0),
        (("info", "--model", "m.safetensors"), 0),
        (("runs",), 1),
    ],
)
def test_a_loaded_model_needs_no_more_than_the_wheel_alone_brings(tmp_path, arguments, code):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    pipeline = project["optional-dependencies"]["pipeline"]
    absent = {re.match(r"\w+", requirement).group() for requirement in pipeline}
    save_model(tmp_path / "m.safetensors", make_model())
    folder = as_project(tmp_path)
    script = WITHOUT.format(absent=absent)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stderr
    if code:
        (line,) = result.stderr.splitlines()
        assert "is not installed" in line
        assert "nomosaurus[pipeline]" in line
