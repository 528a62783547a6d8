"""The whole of it where a project need not be alone: in a subfolder, a work tree, a submodule."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from clones import command, set_params, succeed

pytestmark = pytest.mark.slowest


def copied(finished: Path, folder: Path, *without: str) -> Path:
    """The finished project without its MLflow store, whose paths are those of the first."""
    ignore = shutil.ignore_patterns("mlflow.db*", "mlartifacts", ".tracked", *without)
    return shutil.copytree(finished, folder, symlinks=True, ignore=ignore)


def subfolder(finished: Path, home: Path) -> Path:
    """Of a repository that has other things, and changes in them."""
    project = copied(finished, home / "company/models/names", ".git")
    (home / "company/other.txt").write_text("other\n")
    succeed(home / "company", "git", "init", "-q")
    succeed(home / "company", "git", "add", "-A")
    succeed(home / "company", "git", "commit", "-qm", "all")
    (home / "company/other.txt").write_text("changed\n")
    (home / "company/staged.txt").write_text("new\n")
    succeed(home / "company", "git", "add", "staged.txt")
    return project


def worktree(finished: Path, home: Path) -> Path:
    """A linked one, with the cache of the first."""
    main = copied(finished, home / "main")
    succeed(main, "git", "worktree", "add", "-q", "-b", "beside", str(home / "beside"))
    return with_cache_of(main, home / "beside")


def submodule(finished: Path, home: Path) -> Path:
    origin = copied(finished, home / "origin")
    succeed(home, "git", "init", "-q", "company")
    add = ("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(origin), "names")
    succeed(home / "company", "git", *add)
    succeed(home / "company", "git", "commit", "-qm", "a submodule")
    return with_cache_of(origin, home / "company/names")


def with_cache_of(first: Path, project: Path) -> Path:
    """As docs/team.md has it."""
    succeed(project, "dvc", "cache", "dir", "--local", str(first / ".dvc/cache"))
    succeed(project, "dvc", "checkout")
    return project


AS_IF_DIRTY = """
import sys, mlflow
mlflow.MlflowClient("sqlite:///mlflow.db").set_tag(sys.argv[1], "git.dirty", "true")
"""


@pytest.mark.longest
@pytest.mark.parametrize("place", [subfolder, worktree, submodule])
def test_the_project_works_wherever_git_has_it(
    finished: Path, tmp_path: Path, place: Callable[[Path, Path], Path]
):
    project = place(finished, tmp_path)
    docs = project / "docs"  # every command works from there too
    before = sorted(path.name for path in docs.iterdir())
    elsewhere = ("git", "status", "--porcelain", "--", ":(top,glob)*.txt")
    changes_elsewhere = succeed(project, *elsewhere)
    assert "matches" in succeed(docs, "nomosaurus", "ci", "check-lock")
    assert "HEAD: has a run now" in succeed(docs, "nomosaurus", "backfill")
    (listed,) = succeed(docs, "nomosaurus", "runs", "--json", "--commit", "HEAD").splitlines()
    run = json.loads(listed)
    assert (run["state"], run["dirty"]) == ("FINISHED", "false")
    assert run["perplexity"] > 1  # metrics of that commit came with it
    # As if it had run before the commit: that vouches for it now.
    succeed(project, "python", "-W", "ignore", "-c", AS_IF_DIRTY, run["run_id"])
    assert "is the champion" in succeed(docs, "nomosaurus", "promote", "--markdown", "v.md")
    (docs / "v.md").unlink()
    assert sorted(path.name for path in docs.iterdir()) == before
    assert len((project / "promotions.jsonl").read_text().splitlines()) == 1
    # A retraining, on commits of the project alone.
    base = succeed(project, "git", "rev-parse", "HEAD").strip()
    succeed(docs, "nomosaurus", "ci", "retrain", "../.retraining", "--set", "model.members=1")
    came = project / ".retraining"
    assert (came / "outcome").read_text() in ("won\n", "lost\n")
    assert "could not take part" not in (came / "summary.md").read_text()
    assert (came / "commits.bundle").stat().st_size > 0
    changed = succeed(project, "git", "diff", "--name-only", "--relative", base, "HEAD").split()
    assert {"dvc.lock", "params.yaml", "metrics/train.json"} <= {*changed}
    assert "matches" in succeed(docs, "nomosaurus", "ci", "check-lock")
    assert not (project / ".before").exists()
    set_params(project, seed=2)
    assert "dvc.lock is stale" in command(docs, "nomosaurus", "ci", "check-lock").stderr
    refused = command(docs, "nomosaurus", "ci", "retrain", "../out")
    assert "error: the checkout has changes (M" in refused.stderr
    assert succeed(project, *elsewhere) == changes_elsewhere
