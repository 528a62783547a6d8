"""Other checkouts of a repository in which the project may lie anywhere; git alone is real."""

from pathlib import Path

import pytest
from conftest import git

from nomosaurus.workflows import checkouts


def alone(home: Path) -> Path:
    return committed(home, home)


def subfolder(home: Path) -> Path:
    return committed(home, home / "a b/names")


def worktree(home: Path) -> Path:
    project = committed(home / "first", home / "first/names")
    (project / "dvc.yaml").write_text("uncommitted\n")
    git(home / "first", "worktree", "add", "-q", "--detach", str(home / "beside"))
    return home / "beside/names"


def submodule(home: Path) -> Path:
    committed(home / "first", home / "first")
    committed(home / "top", home / "top")
    add = ("submodule", "add", "-q", str(home / "first"), "names")
    git(home / "top", "-c", "protocol.file.allow=always", *add)
    return home / "top/names"


def committed(repository: Path, project: Path) -> Path:
    project.mkdir(parents=True, exist_ok=True)
    (project / "dvc.yaml").write_text("stages: {}\n")
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "all")
    return project


@pytest.fixture
def seen(monkeypatch, git_identity) -> list[tuple[str, Path]]:
    """What DVC was asked to do, and where; it does nothing."""
    asked = []
    real = checkouts.run

    def run(*command: str, folder: Path = Path(), **settings) -> str:
        if command[0] == "git":
            return real(*command, folder=folder, **settings)
        asked.append((command[1], folder.resolve()))
        return ".dvc/cache"

    monkeypatch.setattr(checkouts, "run", run)
    monkeypatch.setattr(checkouts, "stale", lambda folder: [])
    monkeypatch.setattr(checkouts, "_share_remotes", lambda folder: None)
    return asked


@pytest.mark.parametrize("place", [alone, subfolder, worktree, submodule])
def test_the_project_is_found_in_another_checkout(tmp_path, monkeypatch, seen, place):
    project = place(tmp_path / "home")
    monkeypatch.chdir(project)
    inside = git(project, "rev-parse", "--show-prefix")
    again, before = tmp_path / "again", tmp_path / "before"
    checkouts.run_again(again)
    assert seen[0] == ("cache", project)
    assert [place for command, place in seen[1:]] == [again / inside] * (len(seen) - 1)
    assert seen[-1] == ("repro", again / inside)
    assert (again / inside / "dvc.yaml").read_text() == "stages: {}\n"
    assert checkouts.run_elsewhere("HEAD", before) == before / inside
    assert seen[-1] == ("repro", before / inside)
    for given in (before, before / inside):  # a checkout, or the project in it
        assert checkouts.project_in(given) == before / inside


def test_a_commit_before_the_project_came_is_said(tmp_path, monkeypatch, seen):
    committed(tmp_path, tmp_path / "old")
    committed(tmp_path, tmp_path / "names")
    monkeypatch.chdir(tmp_path / "names")
    old = git(tmp_path, "rev-parse", "HEAD~1")
    with pytest.raises(checkouts.PipelineError, match=rf"{old[:7]} has no names/dvc\.yaml"):
        checkouts.run_elsewhere(old, tmp_path / "before")
    assert not seen[1:]


def test_a_shallow_clone_has_what_it_fetched(tmp_path, monkeypatch, seen):
    origin = committed(tmp_path / "origin", tmp_path / "origin")
    for number in range(4):
        (origin / "dvc.yaml").write_text(f"{number}\n")
        git(origin, "commit", "-qam", "more")
    git(origin, "checkout", "-qb", "side", "HEAD~2")
    (origin / "dvc.yaml").write_text("side\n")
    git(origin, "commit", "-qam", "side")
    git(origin, "checkout", "-q", "-")
    url = f"file://{origin}"
    git(tmp_path, "clone", "-q", "--depth", "2", "--no-single-branch", url, "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    git(Path(), "checkout", "-q", "--detach")
    for name, content in (("HEAD", "3\n"), ("HEAD^1", "2\n"), ("origin/side", "side\n")):
        commit = git(Path(), "rev-parse", name)
        project = checkouts.check_out(commit, tmp_path / name.replace("/", "-"))
        assert (project / "dvc.yaml").read_text() == content
