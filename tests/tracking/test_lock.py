import json
from pathlib import Path

import pytest
from conftest import REPOSITORY, git

from nomosaurus.errors import PipelineError
from nomosaurus.tracking import lock
from nomosaurus.tracking.lineage import file_md5, head
from nomosaurus.tracking.lock import MODEL_FILE, changed, hashes, locked_stages, model_at

STAGES = {
    "prepare": {
        "deps": [{"path": "data/list.csv", "md5": "l1"}],
        "outs": [{"path": "data/prepared", "md5": "p1"}],
    },
    "train": {
        "deps": [{"path": "data/prepared", "md5": "p1"}, {"path": "src/a.py", "md5": "a1"}],
        "outs": [{"path": "models/m", "md5": "m1"}],
    },
}
IN_GIT = {"metrics/train.json", "src/a.py"}


@pytest.mark.parametrize(
    "stages",
    [
        "5",
        "[1, 2]",
        "{prepare: 5}",
        "{prepare: {deps: {}}}",
        "{prepare: {deps: [data/list.csv]}}",
        "{prepare: {outs: [{md5: a1}]}}",
        "{prepare: {outs: [{path: a, md5: [a1]}]}}",
        "{prepare: {params: {params.yaml: seed}}}",
    ],
)
def test_an_edited_lock_is_one_line(tmp_path, stages):
    (tmp_path / "dvc.lock").write_text(f"schema: '2.0'\nstages: {stages}\n")
    with pytest.raises(PipelineError, match=r"dvc\.lock: stages\..*git checkout") as caught:
        locked_stages(folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_fresh_clone_without_data_is_fresh():
    status = {
        "prepare": [{"changed outs": {"data/prepared": "not in cache"}}],
        "train": [
            {"changed deps": {"data/prepared": "deleted"}},
            {"changed outs": {"models/m": "deleted"}},
        ],
        "data/list.csv.dvc": [{"changed outs": {"data/list.csv": "not in cache"}}],
    }
    assert changed(status, STAGES, {}, IN_GIT) == []


def test_changed_code_data_params_and_commands_are_named_with_their_stage():
    status = {
        "prepare": [{"changed deps": {"data/list.csv": "modified"}}, "changed command"],
        "train": [{"changed deps": {"params.yaml": {"seed": "modified", "train.x": "new"}}}],
    }
    assert changed(status, STAGES, {}, IN_GIT) == [
        "prepare: data/list.csv modified",
        "prepare: changed command",
        "train: params.yaml: seed modified",
        "train: params.yaml: train.x new",
    ]


def test_outputs_of_another_commit_in_the_work_tree_say_nothing_of_the_lock():
    status = {
        "prepare": [{"changed outs": {"data/prepared": "modified"}}],
        "train": [{"changed deps": {"data/prepared": "modified"}}],
    }
    assert changed(status, STAGES, {}, IN_GIT) == []


def test_a_metric_edited_by_hand_is_stale():
    status = {"train": [{"changed outs": {"metrics/train.json": "modified"}}]}
    assert changed(status, STAGES, {}, IN_GIT) == ["train: metrics/train.json modified"]


def test_an_input_that_nothing_makes_and_nobody_has_is_stale():
    status = {"train": [{"changed deps": {"src/a.py": "deleted"}}]}
    assert changed(status, STAGES, {}, IN_GIT) == ["train: src/a.py deleted"]


def test_a_list_that_dvc_keeps_may_be_absent():
    status = {"prepare": [{"changed deps": {"data/list.csv": "deleted"}}]}
    assert changed(status, STAGES, {"data/list.csv": "l1"}, IN_GIT) == []


def test_a_list_in_a_folder_that_dvc_keeps_may_be_absent():
    status = {"prepare": [{"changed deps": {"data/list.csv": "deleted"}}]}
    assert changed(status, STAGES, {"data": "d1"}, IN_GIT) == []


def test_a_list_that_dvc_keeps_may_not_be_another():
    status = {"prepare": [{"changed deps": {"data/list.csv": "deleted"}}]}
    (line,) = changed(status, STAGES, {"data/list.csv": "l2"}, IN_GIT)
    assert line.startswith("prepare: data/list.csv is not the one")


def test_a_lock_of_which_only_the_first_stage_was_run_again_is_stale():
    # In a fresh clone dvc status sees only that the prepared data are absent.
    stages = STAGES | {
        "prepare": STAGES["prepare"] | {"outs": [{"path": "data/prepared", "md5": "p2"}]}
    }
    status = {"train": [{"changed deps": {"data/prepared": "deleted"}}]}
    (line,) = changed(status, stages, {}, IN_GIT)
    assert line.startswith("train: data/prepared is not the one")


def test_what_the_cache_keeps_must_be_here_only_where_that_is_asked():
    status = {"train": [{"changed outs": {"models/m": "modified"}}]}
    assert changed(status, STAGES, {}, IN_GIT) == []
    assert changed(status, STAGES, {}, IN_GIT | {"models/m"}) == ["train: models/m modified"]


def test_an_output_that_is_as_the_lock_says_may_be_missing_from_the_cache():
    status = {"train": [{"changed outs": {"models/m": "not in cache"}}]}
    assert changed(status, STAGES, {}, IN_GIT | {"models/m"}) == []


def test_hashes_are_those_that_dvc_writes():
    # Worked by DVC itself, in the lock of this checkout; the list is an input of it.
    locked = hashes(locked_stages(folder=REPOSITORY)["prepare"]["deps"])
    others = ("pipeline/", "src/", "models/")
    (path,) = (path for path in locked if not path.startswith(others))
    assert file_md5(REPOSITORY / path) == locked[path]


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A git checkout whose second commit has a lock that names the model `abc`."""
    monkeypatch.chdir(tmp_path)
    Path("code.py").write_text("one\n")
    Path("metrics").mkdir()
    Path("metrics/train.json").write_text("{}")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "code")
    outs = [{"path": MODEL_FILE, "md5": "abc"}]
    Path("dvc.lock").write_text(json.dumps({"stages": {"train": {"outs": outs}}}))
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "lock")
    monkeypatch.setattr(lock, "stale", lambda only: [])
    return tmp_path


def test_the_model_of_a_commit_is_the_one_its_lock_names(checkout):
    assert model_at("HEAD") == "abc"
    assert model_at("HEAD~1") == ""


def test_a_commit_vouches_for_the_model_that_its_lock_names(checkout):
    assert lock.commit_of_model("abc") == head() != ""
    assert lock.commit_of_model("abd") == lock.commit_of_model("") == ""


def test_a_changed_output_leaves_the_commit_to_vouch_and_changed_code_does_not(checkout):
    Path("metrics/train.json").write_text('{"other": 1}')
    assert lock.commit_of_model("abc")
    Path("code.py").write_text("two\n")
    assert lock.commit_of_model("abc") == ""


def test_a_commit_whose_lock_is_stale_vouches_for_nothing(checkout, monkeypatch):
    monkeypatch.setattr(lock, "stale", lambda only: ["train: code.py modified"])
    assert lock.commit_of_model("abc") == ""


def test_outside_of_a_checkout_there_is_no_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert locked_stages() == locked_stages("HEAD") == {}
