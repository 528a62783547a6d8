import subprocess
from pathlib import Path

import pytest

from nomosaurus.errors import TrackingError
from nomosaurus.tracking import lineage


@pytest.fixture
def checkout(tmp_path, monkeypatch, git_identity) -> Path:
    """A git checkout with code and an output, in which all is committed."""
    monkeypatch.chdir(tmp_path)
    for path in ("code/a.py", "code/b/c.py", "metrics/train.json"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
    run("init", "-q")
    run("add", "-A")
    run("commit", "-qm", "all")
    return tmp_path


def run(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_what_the_pipeline_writes_makes_no_checkout_dirty(checkout):
    Path("metrics/train.json").write_text("other")
    assert lineage.changes() == ""
    Path("code/a.py").write_text("other\n")
    Path("new.py").write_text("x")
    patch = lineage.changes()
    assert "+other" in patch
    assert "train.json" not in patch
    assert lineage.Origin.of_checkout().untracked == ("new.py",)


def test_the_patch_brings_the_commit_to_what_is_checked_out(checkout):
    Path("code/a.py").write_text("other ñ\n")
    Path("patch").write_text(lineage.changes() + "\n", "utf-8")
    run("checkout", "-q", "code")
    run("apply", "patch")
    assert Path("code/a.py").read_text("utf-8") == "other ñ\n"


def test_a_commit_is_known_by_whatever_git_takes(checkout):
    commit = run("rev-parse", "HEAD")
    run("tag", "first")
    assert {lineage.full_commit(name) for name in ("HEAD", "first", commit[:8])} == {commit}
    with pytest.raises(TrackingError, match="no commit 'second'"):
        lineage.full_commit("second")


def test_experiments_are_found_by_their_names(checkout):
    commit = run("rev-parse", "HEAD")
    run("update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/bold-idea", "HEAD")
    run("update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    assert lineage.experiments() == {"bold-idea": commit}


def test_outside_of_a_checkout_nothing_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    assert lineage.Origin.of_checkout() == lineage.Origin("")


def test_the_origin_of_a_checkout_is_its_commit_and_what_changed_since(checkout, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    Path("new.py").write_text("x")
    clean = lineage.Origin.of_checkout()
    assert clean == lineage.Origin(run("rev-parse", "HEAD"), "", ("new.py",), "bold-idea")
    Path("code/a.py").write_text("other\n")
    assert lineage.Origin.of_checkout().as_dict() == clean.as_dict() | {"dirty": True}
