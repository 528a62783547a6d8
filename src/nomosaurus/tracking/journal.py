"""What runs have to say, kept on disk until MLflow has it.

A journal is a folder: `events.jsonl`, an event a line in the order in which they happened, and
copies of the files that events name, since the pipeline may write those anew before
they are sent. Its process holds it by a lock; when that has ended, by whatever, another
process may send what the journal holds and delete it.
"""

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

EVENTS = "events.jsonl"
LOCK = "lock"


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
    """All events but a last one that a power cut left unfinished."""
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events
