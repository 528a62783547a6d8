"""Unfinished training runs on disk, found again by what they follow from.

A run that was stopped or killed resumes after its last finished epoch if params, data and code
are the same, and ends with the same bytes. Each has a folder of its own: a file for each
network, and a note of what the run follows from.
"""

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter

from nomosaurus.errors import ArtifactError, ModelFileError
from nomosaurus.files import read_checked, write_json
from nomosaurus.model.file import FileContent, checked, read_tensors, write_tensors
from nomosaurus.model.trained import Epoch
from nomosaurus.training.loop import Snapshot, Task

NOTE = "made_from.json"
PACKAGE = Path(__file__).parents[1]
CODE = ("names", "model", "training")
"""The packages, and params.py beside them, that an unfinished training run follows from."""


@dataclass(frozen=True)
class _MadeFrom:
    stage: str
    params: dict[str, Any]
    data: str
    code: str


MADE_FROM = TypeAdapter(_MadeFrom)


class SnapshotContent(FileContent):
    """What the JSON of a snapshot says."""

    epochs: Annotated[list[Epoch], Field(min_length=1)]
    cpu_seconds: float


class Checkpoints:
    """One training run's place among the unfinished ones, for a `with` block.

    Entering says on standard error whether an unfinished run resumes, and waits while another
    process trains the same. If the block ends well, the folder goes; if not, it stays.

    Attributes:
        fingerprint: Of params, data and code, hexadecimal; also the folder's name.
    """

    def __init__(self, folder: Path, stage: str, tasks: Sequence[Task]) -> None:
        """Find the place of the stage's networks in the folder of unfinished training runs."""
        self._made_from = _MadeFrom(stage, _flat_params(tasks), _data_hash(tasks), _code_hash())
        text = json.dumps(asdict(self._made_from), sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._path = folder / self.fingerprint
        self._lock = FileLock(folder / f"{self.fingerprint}.lock")

    def __enter__(self) -> "Checkpoints":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            print("waiting for another process that is training the same model", file=sys.stderr)
            self._lock.acquire()
        note = self._path / NOTE
        if note.is_file():
            if any(self._path.glob("*.safetensors")):
                print("resuming an unfinished training run", file=sys.stderr)
            return self
        others = sorted(self._path.parent.glob(f"*/{NOTE}"), key=lambda path: path.stat().st_mtime)
        write_json(note, asdict(self._made_from))
        for other in reversed(others):
            changes = self._changes_since(other)
            if changes:
                print(
                    f"starting over: {changes} changed since the unfinished training run in "
                    f"{other.parent}",
                    file=sys.stderr,
                )
                break
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            shutil.rmtree(self._path, ignore_errors=True)
        self._lock.release()
        if kind is KeyboardInterrupt:
            raise KeyboardInterrupt(
                "stopped; run the same command again to resume after the last finished epoch"
            ) from None

    def file(self, number: int) -> Path:
        """Where the snapshot of network `number`, from 0, lies."""
        return self._path / f"{number}.safetensors"

    def _changes_since(self, note: Path) -> str:
        """What differs from a run of the same stage; empty if it is another stage's."""
        try:
            former = read_checked(note, MADE_FROM, "train")
        except ArtifactError:
            return ""
        if former.stage != self._made_from.stage:
            return ""
        before = former.params
        now = self._made_from.params
        changed = [key for key in now | before if now.get(key) != before.get(key)]
        changed += ["the data"] if self._made_from.data != former.data else []
        changed += ["the code"] if self._made_from.code != former.code else []
        return ", ".join(changed)


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot in the place of an earlier one, which stands until it is whole."""
    content = {
        "epochs": [asdict(epoch) for epoch in snapshot.epochs],
        "cpu_seconds": snapshot.cpu_seconds,
    }
    arrays = {name: tensor.numpy() for name, tensor in snapshot.tensors.items()}
    write_tensors(path, content, arrays)


def load_snapshot(path: Path) -> Snapshot | None:
    """The snapshot at `path`; None if there is none, or a damaged one, which is said."""
    if not path.exists():
        return None
    remedy = "its network starts afresh"
    try:
        text, arrays = read_tensors(path, remedy)
        content = checked(path, text, SnapshotContent, remedy)
    except ModelFileError as error:
        print(f"warning: {error}", file=sys.stderr)
        return None
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    return Snapshot(content.epochs, content.cpu_seconds, tensors)


def _flat_params(tasks: Sequence[Task]) -> dict[str, Any]:
    first = tasks[0]
    params = {f"model.{key}": value for key, value in first.model_params}
    params |= {f"train.{key}": value for key, value in first.train_params}
    return params | {"train.device": first.device.type, "seed": [task.seed for task in tasks]}


def _data_hash(tasks: Sequence[Task]) -> str:
    digest = hashlib.sha256()
    for task in tasks:
        for names in (task.train, task.validation):
            for array in vars(names).values():
                digest.update(f"{array.dtype} {array.shape} ".encode())
                digest.update(np.ascontiguousarray(array).data)
        if task.start:
            digest.update(f"{list(task.start.ids)}".encode())
            for weight in task.start.weights.values():
                digest.update(weight.numpy().data)
    return digest.hexdigest()


def _code_hash() -> str:
    """Of the source that training runs, of torch's version and of the kind of machine."""
    digest = hashlib.sha256(f"{torch.__version__} {platform.machine()}".encode())
    modules = [PACKAGE / "params.py"]
    for package in CODE:
        modules += sorted((PACKAGE / package).rglob("*.py"))
    for module in modules:
        digest.update(f"{module.relative_to(PACKAGE).as_posix()} ".encode())
        digest.update(module.read_bytes())
    return digest.hexdigest()
