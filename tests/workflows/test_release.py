import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FROZEN, NAMES, make_model
from finished import FIGURES, HOSTILE, PREPARED, TRAINED
from ruamel.yaml import YAML
from typer.testing import CliRunner

from nomosaurus import __version__
from nomosaurus.commands.app import app
from nomosaurus.model.file import save_model
from nomosaurus.tracking.lineage import file_md5
from nomosaurus.tracking.lock import stale
from nomosaurus.workflows.release import MADE_BY

MODEL = "models/model.safetensors"
DETAILS = "metrics/evaluate_details.json"
FILES = ["MODEL_CARD.md", "NOTES.md", "SHA256SUMS", "model.safetensors", "report.html"]


def git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(text.encode())


PARAMS = {"prepare": ["params.yaml"], "train": ["seed"], "evaluate": [], "sample": ["sample"]}
STAGES = {
    "prepare": (["data/dinosaurs.csv"], ["data/prepared", "metrics/prepare.json"]),
    "train": (["data/prepared"], [MODEL, "metrics/train.json"]),
    "evaluate": (["data/prepared", MODEL], [DETAILS]),
    "sample": ([MODEL], ["samples/names.csv"]),
    "report": ([MODEL, DETAILS, "samples/names.csv"], ["report.html"]),
}


def pipeline() -> None:
    """A dvc.yaml of stages that write nothing, and the dvc.lock of what lies here."""
    cached = {"data/prepared", MODEL, "report.html"}
    stages = {}
    for stage, (deps, outs) in STAGES.items():
        params = [{key: None} if key == "params.yaml" else key for key in PARAMS.get(stage, [])]
        stages[stage] = {
            "cmd": "true",
            "deps": deps,
            "params": params,
            "outs": [out if out in cached else {out: {"cache": False}} for out in outs],
        }
    with Path("dvc.yaml").open("wb") as file:
        YAML(typ="safe", pure=True).dump({"stages": stages}, file)
    dvc("commit", "--force")


def dvc(*arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def make_checkout(folder: Path) -> None:
    """A git checkout after `dvc repro`, in which all but what DVC keeps is committed."""
    with contextlib.chdir(folder):
        write("params.yaml", (FROZEN / "params.yaml").read_text("utf-8"))
        write("data/dinosaurs.csv", "name\n" + "".join(f"{name}\n" for name in NAMES))
        write("data/prepared/x", "x")
        write("metrics/prepare.json", json.dumps(PREPARED))
        write("metrics/train.json", json.dumps(TRAINED))
        details = {"figures": FIGURES, "categories": []}
        write("metrics/evaluate_details.json", json.dumps(details))
        drawn = "".join(f'"{name}",ana\n' for name in HOSTILE)
        write("samples/names.csv", "name,nearest\n" + drawn)
        write("report.html", "<html></html>\n")
        write(".gitignore", "/models/\n/data/prepared/\n/report.html\n/out/\n")
        save_model(Path(MODEL), make_model())
        git("init", "-q")
        git("config", "core.autocrlf", "false")
        dvc("init", "--quiet")
        pipeline()
        git("add", "-A")
        git("commit", "-qm", "all")


@pytest.fixture
def checkout(tmp_path, monkeypatch, git_identity, once) -> Path:
    """A copy of that checkout, to work in."""
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    made = once("release", make_checkout)
    shutil.copytree(made, tmp_path / "checkout", symlinks=True)
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "checkout"


def release(*arguments: str, folder: str = "out", repository: str = "owner/names"):
    result = CliRunner().invoke(
        app, ["ci", "release", folder, "--repository", repository, *arguments]
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_release_is_model_report_card_checksums_and_notes(checkout):
    result = release("--tag", f"v{__version__}")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("out").iterdir()) == FILES
    assert Path("out/model.safetensors").read_bytes() == Path(MODEL).read_bytes()
    assert Path("out/report.html").read_bytes() == Path("report.html").read_bytes()
    card = Path("out/MODEL_CARD.md").read_text("utf-8")
    assert git("rev-parse", "HEAD") in card
    assert hashlib.sha256(Path("dvc.lock").read_bytes()).hexdigest() in card
    assert "dvc.lock names this very model" in card
    assert str(checkout) not in card
    assert sorted(result.stdout.splitlines()) == [str(Path("out") / name) for name in FILES]


@pytest.mark.slow
def test_the_checksums_are_those_of_what_is_published(checkout):
    release()
    lines = Path("out/SHA256SUMS").read_text("utf-8").splitlines()
    assert [line[66:] for line in lines] == ["model.safetensors", "report.html", "MODEL_CARD.md"]
    for line in lines:
        assert line[64:66] == "  "
        content = (Path("out") / line[66:]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == line[:64]


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="there is no sha256sum here")
@pytest.mark.slow
def test_sha256sum_accepts_them_until_a_byte_changes(checkout):
    release()

    def check() -> int:
        command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        return subprocess.run(command, cwd="out", capture_output=True, check=False).returncode

    assert check() == 0
    content = bytearray(Path("out/model.safetensors").read_bytes())
    content[-1] ^= 1
    Path("out/model.safetensors").write_bytes(content)
    assert check() == 1


@pytest.mark.slow
def test_the_same_checkout_gives_the_same_bytes(checkout):
    release()
    release(folder="out/again")
    for name in FILES:
        assert (Path("out") / name).read_bytes() == (Path("out/again") / name).read_bytes()


@pytest.mark.slow
def test_training_again_elsewhere_needs_no_commit_and_is_said(checkout):
    model = make_model(hidden_size=4)  # stands for other bytes
    committed = file_md5(Path(MODEL))
    save_model(Path(MODEL), model)
    dvc("commit", "--force")
    result = release()
    assert result.exit_code == 0, result.output
    assert f"of other bytes, to DVC `{committed}`" in Path("out/MODEL_CARD.md").read_text("utf-8")


@pytest.mark.slow
def test_outputs_that_are_missing_or_others_are_refused(checkout):
    for path in MADE_BY:
        content = Path(path).read_bytes()
        Path(path).unlink()
        result = release()
        assert result.exit_code == 1
        assert f"{path} not found" in result.stderr
        Path(path).write_bytes(content + b" ")
    result = release()
    assert result.exit_code == 1
    assert " modified" in result.stderr
    assert not Path("out").exists()
    found = stale(cached_too=True)
    for path, stage in MADE_BY.items():
        assert any(line.startswith(f"{stage}: {path} modified") for line in found), found


def relocked(stage: str, path: str) -> None:
    """dvc.lock as it is when a stage ran on another file than the one here."""
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(Path("dvc.lock"))
    for entry in content["stages"][stage]["deps"]:
        if entry["path"] == path:
            entry["md5"] = "0" * 32
    with Path("dvc.lock").open("wb") as file:
        yaml.dump(content, file)


@pytest.mark.slow
def test_figures_and_names_of_another_model_are_refused(checkout):
    stages = ("evaluate", "sample", "report")
    for stage in stages:
        relocked(stage, MODEL)
    result = release()
    assert result.exit_code == 1
    assert f"{MODEL} is not the one that dvc.lock says was made" in result.stderr
    found = stale(cached_too=True)
    for stage in stages:
        assert any(line.startswith(f"{stage}: {MODEL} ") for line in found), found


@pytest.mark.slow
def test_a_model_of_another_list_or_of_other_params_is_refused(checkout):
    write("data/dinosaurs.csv", "name\nzoe\n")
    git("commit", "-qam", "another list")
    assert "prepare: data/dinosaurs.csv modified" in release().stderr
    git("revert", "--no-edit", "HEAD")
    text = Path("params.yaml").read_text("utf-8")
    write("params.yaml", text.replace("seed: 1 ", "seed: 2 ", 1))
    git("commit", "-qam", "another seed")
    result = release()
    assert result.exit_code == 1
    assert "params.yaml" in result.stderr


@pytest.mark.slow
def test_what_no_commit_holds_is_refused(checkout):
    write(".gitignore", Path(".gitignore").read_text("utf-8") + "/other/\n")
    result = release()
    assert result.exit_code == 1
    assert "a release names the commit" in result.stderr
    shutil.rmtree(".git")
    assert release().exit_code == 1


@pytest.mark.slow
def test_a_tag_of_another_version_is_refused(checkout):
    for tag in (__version__, "v99.0.0", f"v{__version__}-rc1"):
        result = release("--tag", tag)
        assert result.exit_code == 2
        assert f"v{__version__}" in result.stderr


@pytest.mark.slow
def test_nothing_is_written_over(checkout):
    write("out/notes.txt", "mine")
    assert release().exit_code == 2
    assert release(folder="params.yaml").exit_code == 2
    assert [path.name for path in Path("out").iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_a_repository_that_could_not_be_one_is_refused(checkout):
    for repository in ("names", "o/r/x", "o/r; rm x", "$(x)/r", "o/r\nx", "`o`/r"):
        assert release(repository=repository).exit_code == 2, repository


@pytest.mark.slow
def test_the_repository_may_come_from_the_environment(checkout):
    command = ["ci", "release", "out"]
    assert CliRunner().invoke(app, command).exit_code == 2
    result = CliRunner().invoke(app, command, env={"GITHUB_REPOSITORY": "owner/names"})
    assert result.exit_code == 0, result.output
    assert "--repo owner/names" in Path("out/NOTES.md").read_text("utf-8")
