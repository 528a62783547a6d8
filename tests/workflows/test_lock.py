from nomosaurus.workflows.lock import changed

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
