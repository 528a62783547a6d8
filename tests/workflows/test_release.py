import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from clones import succeed
from conftest import git, make_model
from ruamel.yaml import YAML
from typer.testing import CliRunner

from nomosaurus import __version__
from nomosaurus.commands.app import app
from nomosaurus.model.file import save_model
from nomosaurus.tracking.lineage import file_md5
from nomosaurus.tracking.lock import stale
from nomosaurus.workflows.release import MADE_BY, SBOM

pytestmark = pytest.mark.slow

MODEL = "models/model.safetensors"
OUT = Path("../out")
FILES = [
    *("MODEL_CARD.md", "NOTES.md", "SHA256SUMS"),
    *("model.safetensors", f"nomosaurus-{__version__}-py3-none-any.whl"),
    *("play.html", "report.html", "sbom.cdx.json"),
]


@pytest.fixture
def checkout(project, monkeypatch, git_identity) -> Path:
    """A checkout in which the pipeline has run, and all but what DVC keeps is committed."""
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.chdir(project)
    SBOM.write_text('{"bomFormat": "CycloneDX"}')
    return project


def release(*arguments: str, folder: str | Path = OUT, repository: str = "owner/names"):
    result = CliRunner().invoke(
        app, ["ci", "release", str(folder), "--repository", repository, *arguments]
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_release_is_model_report_card_checksums_and_notes(checkout):
    result = release("--tag", f"v{__version__}")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in OUT.iterdir()) == FILES
    assert (OUT / "model.safetensors").read_bytes() == Path(MODEL).read_bytes()
    assert (OUT / "report.html").read_bytes() == Path("report.html").read_bytes()
    card = (OUT / "MODEL_CARD.md").read_text("utf-8")
    assert git(checkout, "rev-parse", "HEAD") in card
    assert hashlib.sha256(Path("dvc.lock").read_bytes()).hexdigest() in card
    assert "dvc.lock names this very model" in card
    assert str(checkout) not in card
    assert sorted(result.stdout.splitlines()) == [str(OUT / name) for name in FILES]


def test_a_release_that_is_cut_off_leaves_nothing_to_be_published(checkout, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nomosaurus.workflows.release.write_text", killed)
        assert release().exit_code == 130
    assert not OUT.exists()
    assert release().exit_code == 0


def test_the_checksums_are_those_of_what_is_published(checkout):
    release()
    lines = (OUT / "SHA256SUMS").read_text("utf-8").splitlines()
    assert {line[66:] for line in lines} == {*FILES} - {"SHA256SUMS", "NOTES.md"}
    for line in lines:
        assert line[64:66] == "  "
        content = (OUT / line[66:]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == line[:64]


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="there is no sha256sum here")
def test_sha256sum_accepts_them_until_a_byte_changes(checkout):
    release()

    def check() -> int:
        command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        return subprocess.run(command, cwd=OUT, capture_output=True, check=False).returncode

    assert check() == 0
    content = bytearray((OUT / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (OUT / "model.safetensors").write_bytes(content)
    assert check() == 1


def test_the_same_checkout_gives_the_same_bytes(checkout):
    release()
    release(folder=OUT / "again")
    for name in FILES:
        assert (OUT / name).read_bytes() == ((OUT / "again") / name).read_bytes()


def test_training_again_elsewhere_needs_no_commit_and_is_said(checkout):
    model = make_model(hidden_size=4)  # stands for other bytes
    committed = file_md5(Path(MODEL))
    save_model(Path(MODEL), model)
    succeed(checkout, "dvc", "commit", "--force")
    result = release()
    assert result.exit_code == 0, result.output
    assert f"of other bytes, to DVC `{committed}`" in (OUT / "MODEL_CARD.md").read_text("utf-8")


def test_a_release_without_a_bill_of_materials_is_refused(checkout):
    SBOM.unlink()
    result = release()
    assert result.exit_code == 1
    assert 'run "make sbom"' in result.stderr
    assert not OUT.exists()


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
    assert not OUT.exists()
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


def test_a_model_of_another_list_or_of_other_params_is_refused(checkout):
    Path("small.txt").write_text("zoe\n")
    git(checkout, "commit", "-qam", "another list")
    assert "prepare: small.txt modified" in release().stderr
    git(checkout, "revert", "--no-edit", "HEAD")
    text = Path("params.yaml").read_text("utf-8")
    Path("params.yaml").write_text(text.replace("seed: 1 ", "seed: 2 ", 1), "utf-8")
    git(checkout, "commit", "-qam", "another seed")
    result = release()
    assert result.exit_code == 1
    assert "params.yaml" in result.stderr


def test_what_no_commit_holds_is_refused(checkout):
    Path(".gitignore").write_text("/other/\n")
    for when in ([], ["--check"]):  # after training, and before
        result = release(*when)
        assert result.exit_code == 1
        assert "a release names the commit" in result.stderr
    shutil.rmtree(".git")
    assert release().exit_code == 1


def test_before_training_a_release_is_checked_without_outputs_and_writes_nothing(checkout):
    for path in (MODEL, "report.html"):
        Path(path).unlink()
    result = release("--tag", f"v{__version__}", "--check")
    assert result.exit_code == 0, result.output
    assert "can be released" in result.stdout
    assert not OUT.exists()


def test_a_tag_of_another_version_is_refused(checkout):
    for tag in (__version__, "v99.0.0", f"v{__version__}-rc1"):
        result = release("--tag", tag, "--check")
        assert result.exit_code == 2
        assert f"v{__version__}" in result.stderr


def test_nothing_is_written_over(checkout):
    OUT.mkdir()
    (OUT / "notes.txt").write_text("mine")
    assert release().exit_code == 2
    assert release(folder="params.yaml").exit_code == 2
    assert [path.name for path in OUT.iterdir()] == ["notes.txt"]


def test_a_repository_that_could_not_be_one_is_refused(checkout):
    for repository in ("names", "o/r/x", "o/r; rm x", "$(x)/r", "o/r\nx", "`o`/r"):
        assert release(repository=repository).exit_code == 2, repository


def test_the_repository_may_come_from_the_environment(checkout):
    command = ["ci", "release", str(OUT)]
    assert CliRunner().invoke(app, command).exit_code == 2
    result = CliRunner().invoke(app, command, env={"GITHUB_REPOSITORY": "owner/names"})
    assert result.exit_code == 0, result.output
    assert "--repo owner/names" in (OUT / "NOTES.md").read_text("utf-8")
