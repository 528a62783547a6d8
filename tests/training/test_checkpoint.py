import threading
import time
from dataclasses import replace

import pytest
import torch
from conftest import NAMES, params_with

from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Recipe
from nomosaurus.training import checkpoint
from nomosaurus.training.checkpoint import Checkpoints, load_snapshot, save_snapshot
from nomosaurus.training.loop import Task, train_network
from nomosaurus.training.processes import member_tasks

VOCABULARY = Vocabulary.from_names(NAMES)


def tasks(names=NAMES[:7], seed=1, **train) -> list[Task]:
    params = params_with(model={"hidden_size": 4}, train={"max_epochs": 2} | train, seed=seed)
    recipe = Recipe.for_list(params, len(names))
    return member_tasks(
        EncodedNames.from_names(names, VOCABULARY),
        EncodedNames.from_names(NAMES[7:], VOCABULARY),
        VOCABULARY,
        recipe,
        torch.device("cpu"),
    )


def leave_unfinished(folder, stage="train", **values) -> Checkpoints:
    with pytest.raises(ZeroDivisionError), Checkpoints(folder, stage, tasks(**values)) as left:
        train_network(tasks()[0], on_snapshot=lambda s: save_snapshot(left.file(0), s))
        raise ZeroDivisionError
    return left


def test_snapshot_comes_back_as_it_was(tmp_path):
    kept = []
    train_network(tasks()[0], on_snapshot=kept.append)
    save_snapshot(tmp_path / "0", kept[0])
    back = load_snapshot(tmp_path / "0")
    assert back.epochs == kept[0].epochs
    assert back.tensors.keys() == kept[0].tensors.keys()
    assert back.tensors["generator"].dtype == torch.uint8


@pytest.mark.parametrize("content", [b"", b"half of a snapshot"])
def test_a_damaged_snapshot_is_none_and_said(tmp_path, capsys, content):
    assert load_snapshot(tmp_path / "0") is None
    assert capsys.readouterr().err == ""
    (tmp_path / "0").write_bytes(content)
    assert load_snapshot(tmp_path / "0") is None
    assert "0 is cut short, damaged" in capsys.readouterr().err


def test_a_snapshot_with_a_flipped_bit_is_not_gone_on_with(tmp_path, capsys):
    kept = []
    train_network(tasks()[0], on_snapshot=kept.append)
    save_snapshot(tmp_path / "0", kept[0])
    flipped = bytearray((tmp_path / "0").read_bytes())
    flipped[-5] ^= 1
    (tmp_path / "0").write_bytes(flipped)
    assert load_snapshot(tmp_path / "0") is None
    assert "its checksum is wrong; its network starts afresh" in capsys.readouterr().err


def test_finished_training_leaves_nothing(tmp_path, capsys):
    with Checkpoints(tmp_path, "train", tasks()) as checkpoints:
        checkpoints.file(0).write_bytes(b"")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert capsys.readouterr().err == ""


def test_unfinished_training_goes_on_and_says_so(tmp_path, capsys):
    left = leave_unfinished(tmp_path)
    with Checkpoints(tmp_path, "train", tasks()) as again:
        assert load_snapshot(again.file(0)).epochs
    assert again.fingerprint == left.fingerprint
    assert "resuming an unfinished training run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learning_rate": 0.5}, "train.learning_rate changed"),
        ({"seed": 2}, "seed changed"),
        ({"names": NAMES[:6]}, "the data changed"),
        ({"names": NAMES[:6], "batch_size": 3}, "train.batch_size, the data changed"),
    ],
)
def test_a_change_starts_afresh_and_is_named(tmp_path, capsys, values, said):
    leave_unfinished(tmp_path)
    with Checkpoints(tmp_path, "train", tasks(**values)) as checkpoints:
        assert not checkpoints.file(0).exists()
    assert said in capsys.readouterr().err


def test_changed_code_starts_afresh(tmp_path, capsys, monkeypatch):
    leave_unfinished(tmp_path)
    monkeypatch.setattr(checkpoint, "_code_hash", lambda: "other")
    with Checkpoints(tmp_path, "train", tasks()):
        assert "the code changed" in capsys.readouterr().err


def test_another_stages_unfinished_training_is_no_matter(tmp_path, capsys):
    leave_unfinished(tmp_path, stage="crossvalidate", seed=5)
    with Checkpoints(tmp_path, "train", tasks()):
        assert capsys.readouterr().err == ""


def test_the_same_data_in_another_order_is_other_data(tmp_path):
    one, other = (
        Checkpoints(tmp_path, "train", tasks(names=names)).fingerprint
        for names in (NAMES[:7], NAMES[6::-1])
    )
    assert one != other


def test_the_same_names_of_other_categories_are_other_data(tmp_path):
    plain = tasks()
    moved = [replace(task, train=task.train.with_category(1)) for task in plain]
    one, other = (Checkpoints(tmp_path, "train", both).fingerprint for both in (plain, moved))
    assert one != other


def test_members_that_swap_places_are_another_training(tmp_path):
    first, second = tasks()
    swapped = [replace(first, seed=second.seed), replace(second, seed=first.seed)]
    prints = {Checkpoints(tmp_path, "train", both).fingerprint for both in (tasks(), swapped)}
    assert len(prints) == 2


def test_two_that_train_the_same_take_turns(tmp_path, capsys):
    order = []

    def second() -> None:
        with Checkpoints(tmp_path, "train", tasks()):
            order.append("second")

    with Checkpoints(tmp_path, "train", tasks()):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert "waiting for another process" in capsys.readouterr().err
