import json
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY
from ruamel.yaml import YAML

from nomosaurus.errors import TrackingError
from nomosaurus.tracking import lineage


@pytest.fixture
def checkout(tmp_path, monkeypatch, git_identity) -> Path:
    """A git checkout with a small pipeline, in which all is committed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    Path("list.txt").write_text("ana\n")
    Path("params.yaml").write_text("data: {path: list.txt}\ntrain: {rate: 0.5, epochs: 3}\n")
    stage = {
        "deps": ["${data.path}", "code"],
        "params": ["train.rate", {"params.yaml": None}],
        "outs": ["out.txt"],
        "metrics": [{"metrics/train.json": {"cache": False}}],
    }
    with Path("dvc.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump({"stages": {"train": stage}}, file)
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


def test_hashes_are_those_that_dvc_writes(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    # Worked by DVC itself, in the lock of this checkout; data/dinosaurs.csv is its first input.
    locked = lineage.hashes(lineage.locked_stages()["prepare"]["deps"])
    path = "data/dinosaurs.csv"
    assert lineage.dvc_md5(REPOSITORY / path) == locked[path]


def test_a_folders_hash_is_that_of_its_listing(tmp_path):
    # From `dvc add` of this folder, with DVC 3.67.
    (tmp_path / "names/b").mkdir(parents=True)
    (tmp_path / "names/a.txt").write_text("ana\n")
    (tmp_path / "names/b/c.txt").write_text("bela\n")
    assert lineage.dvc_md5(tmp_path / "names") == "7487379a07163debf8343b141aabfe18.dir"
    assert lineage.dvc_md5(tmp_path / "none") == ""


def test_a_stages_inputs_are_those_of_dvc_yaml(checkout):
    inputs = lineage.stage_inputs("train")
    assert list(inputs) == ["list.txt", "code", "train.rate", "params.yaml"]
    assert inputs["list.txt"] == lineage.dvc_md5(Path("list.txt"))
    assert inputs["code"].endswith(".dir")
    assert inputs["train.rate"] == 0.5
    assert list(lineage.stage_outputs("train")) == ["metrics/train.json"]
    assert lineage.stage_inputs("none") == {}


def test_each_change_of_an_input_is_seen(checkout):
    before = lineage.stage_inputs("train")
    assert lineage.changed_inputs(before, lineage.stage_inputs("train")) == []
    Path("code/b/c.py").write_text("x")
    Path("params.yaml").write_text("data: {path: list.txt}\ntrain: {rate: 0.6, epochs: 3}\n")
    changed = lineage.changed_inputs(before, lineage.stage_inputs("train"))
    assert changed == ["code", "train.rate", "params.yaml"]


def test_what_the_pipeline_writes_makes_no_checkout_dirty(checkout):
    Path("metrics/train.json").write_text("other")
    assert lineage.changes() == ""
    Path("code/a.py").write_text("other\n")
    Path("new.py").write_text("x")
    patch = lineage.changes()
    assert "+other" in patch
    assert "train.json" not in patch
    assert lineage.untracked() == ["new.py"]


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


def test_the_model_of_a_commit_is_the_one_its_lock_names(checkout):
    assert lineage.model_at("HEAD") == ""
    outs = [{"path": lineage.MODEL_FILE, "md5": "abc"}]
    Path("dvc.lock").write_text(json.dumps({"stages": {"train": {"outs": outs}}}))
    run("add", "dvc.lock")
    run("commit", "-qm", "lock")
    assert lineage.model_at("HEAD") == "abc"
    assert lineage.model_at("HEAD~1") == ""


def commit_lock(deps: list[str], **params: object) -> None:
    """Commit all, with a lock that says what the model `abc` was made of."""
    stage = {
        "deps": [{"path": path, "md5": lineage.dvc_md5(Path(path))} for path in deps],
        "params": {"params.yaml": params},
        "outs": [{"path": lineage.MODEL_FILE, "md5": "abc"}],
    }
    Path("dvc.lock").write_text(json.dumps({"stages": {"train": stage}}))
    run("add", "-A")
    run("commit", "-qm", "lock")


def test_a_commit_vouches_for_the_model_that_its_lock_makes_of_what_it_holds(checkout):
    Path("code/a.py").write_text("new")
    commit_lock(["code"], **{"train.rate": 0.5})
    assert lineage.commit_of_model("abc") == lineage.head() != ""
    assert lineage.commit_of_model("abd") == lineage.commit_of_model("") == ""
    Path("metrics/train.json").write_text("an output may change")
    assert lineage.commit_of_model("abc")
    Path("code/a.py").write_text("newer")
    assert lineage.commit_of_model("abc") == ""
    run("commit", "-qam", "a change that the lock does not know")
    assert lineage.commit_of_model("abc") == ""


def test_a_commit_does_not_vouch_for_a_model_of_other_params(checkout):
    commit_lock([], **{"train.rate": 0.4})
    assert lineage.commit_of_model("abc") == ""
    commit_lock([], **{"train.rate": 0.5})
    assert lineage.commit_of_model("abc")


def test_outside_of_a_checkout_nothing_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert lineage.head() == lineage.changes() == ""
    assert lineage.untracked() == []
    assert lineage.locked_stages() == lineage.stage_inputs("train") == {}
