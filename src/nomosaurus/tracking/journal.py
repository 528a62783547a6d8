"""What runs have to say, kept on disk until MLflow has it.

A journal is a folder: `events.jsonl`, an event a line in the order in which they happened, and
copies of the files that events name, since the pipeline may write those anew before
they are sent. Its process holds it by a lock; when that has ended, by whatever, another
process may send what the journal holds and delete it.
"""

import json
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter, ValidationError, create_model

from nomosaurus.files import problem_in

EVENTS = "events.jsonl"
SET_ASIDE = "events.malformed"
LOCK = "lock"
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Values = dict[str, str]
LINE = TypeAdapter(dict[str, Any])
FIELDS: dict[str, dict[str, Any]] = {
    "start": {
        **dict.fromkeys(("experiment", "key", "name"), str),
        "tags": Values,
        "inputs": list[tuple[str, str, str]],
    },
    "params": {"values": Values},
    "tags": {"values": Values},
    "metrics": {"values": dict[str, float], "step": Whole},
    "file": {"path": str, "folder": str},
    "text": {"text": str, "name": str, "folder": str},
    "note": {"heading": str, "text": str},
    "model": {"path": str, "sha256": str, "md5": str},
    "end": {"status": Literal["FINISHED", "FAILED", "KILLED"]},
}
"""What each kind of event holds, beside its time."""
KINDS = {kind: create_model(kind, time=Whole, **fields) for kind, fields in FIELDS.items()}


class Journal:
    """The events of one stage's run. What is in memory counts; the disk is for later processes.

    Attributes:
        events: In order; each has its `event` (the kind) and its `time`, in milliseconds of
            the epoch as MLflow counts them.
        folder: Where it lies.
        problem: Why the disk does not have all of it; None while it has.
    """

    def __init__(self, folder: Path, events: list[dict[str, Any]], lock: FileLock) -> None:
        """Make a journal of its parts; `start` and `left_over` do."""
        self.events = events
        self.problem: OSError | None = None
        self.folder = folder
        self._lock = lock

    @classmethod
    def start(cls, root: Path) -> "Journal":
        """An empty journal in a new folder below `root`, held by this process."""
        folder = root / f"{time.time_ns()}-{secrets.token_hex(3)}"  # in order of time
        journal = cls(folder, [], FileLock(folder / LOCK))
        try:
            folder.mkdir(parents=True)
            journal._lock.acquire()
        except OSError as error:
            journal.problem = error
        return journal

    @classmethod
    def left_over(cls, root: Path) -> Iterator["Journal"]:
        """The journals below `root` whose processes have ended, the oldest first, each held."""
        for path in sorted(root.glob(f"*/{EVENTS}")):
            lock = FileLock(path.with_name(LOCK))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue  # its process lives
            except OSError as error:
                print(f"warning: {path.parent} is passed over: {error}", file=sys.stderr)
                continue
            try:
                if path.is_file():  # else another process has sent it meanwhile
                    yield cls(path.parent, _whole_lines(path), lock)
            finally:
                lock.release()

    def add(self, kind: str, **content: Any) -> None:
        """Add an event that happens now."""
        event = {"event": kind, "time": int(time.time() * 1000)} | content
        self.events.append(event)
        if self.problem:
            return
        try:
            with (self.folder / EVENTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, ensure_ascii=False) + "\n")
        except OSError as error:
            self.problem = error

    def keep(self, source: Path, folder: str) -> str:
        """Copy a file; returns the `path` for an event, which `file` understands.

        Where the disk is full, that is the file's own.
        """
        kept = Path("files", folder, source.name)
        if not self.problem:
            try:
                (self.folder / kept).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, self.folder / kept)
                return kept.as_posix()
            except OSError as error:
                self.problem = error
        return str(source.resolve())

    def problem_on_disk(self) -> str:
        """Why it cannot be sent, as when somebody edited it; empty if it can."""
        for number, event in enumerate(self.events, start=1):
            kind = event.get("event")
            is_first = kind == "start"
            if is_first != (number == 1) or not isinstance(kind, str) or kind not in KINDS:
                return f"line {number} is no event that may stand there"
            try:
                KINDS[kind].model_validate(event)
            except ValidationError as error:
                return f"line {number}: {problem_in(error)}"
            if "path" in event and not self.file(event).is_file():
                return f"line {number}: {event['path']} is missing"
        return ""

    def set_aside(self) -> Path:
        """Leave it on the disk, but no longer to be sent; returns where its events are."""
        kept = self.folder / SET_ASIDE
        (self.folder / EVENTS).replace(kept)
        return kept

    def file(self, event: dict[str, Any]) -> Path:
        """Where the file lies that an event names."""
        return self.folder / event["path"]

    def delete(self) -> None:
        """Remove it from the disk, as when all of it was sent, and let it go."""
        with suppress(OSError):
            (self.folder / EVENTS).unlink()  # first, since it names the other files
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def close(self) -> None:
        """Let it go, for another process to send."""
        self._lock.release()


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """All events but a last one that a power cut left unfinished; empty ones for what is none."""
    events = []
    *lines, unfinished = path.read_bytes().split(b"\n")
    for line in [*lines, unfinished]:
        try:
            events.append(LINE.validate_json(line))
        except ValidationError:
            events.append({})
    return events if events[-1] else events[:-1]
