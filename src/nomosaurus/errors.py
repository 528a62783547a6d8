"""The errors that a person is meant to read: one line, then a non-zero exit.

Names, paths and files from strangers may hold anything. So whatever a command or a stage writes
to standard output and standard error goes through `printable`, and messages through `abridged`.
"""

import errno
import os
import re
import reprlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

UNSAFE = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters, line separators, marks that turn text around, and lone surrogates."""
ISOLATED_OR_UNSAFE = re.compile(rf"(\u2068[^\n{UNSAFE}]*\u2069)|[{UNSAFE}]")


def printable(text: str) -> str:
    """Text in which a terminal finds no command, and which reads in the order it is written.

    Unsafe characters become what JSON writes for them, so JSON means the same as before. Line
    ends and tabs stay, and so does a whole pair of isolates, which turns nothing outside it.
    """
    return ISOLATED_OR_UNSAFE.sub(lambda found: found[1] or f"\\u{ord(found[0]):04x}", text)


def visible(character: str) -> str:
    """A character as one can see it, the space too."""
    return "␣" if character == " " else character


def abridged(text: str) -> str:
    """Text whose words of over 200 characters, and lines of over 1,000, lack their middle."""
    text = re.sub(r"(\S{120})\S{21,}(\S{60})", r"\1…\2", text)
    return re.sub(r"(.{600}).{101,}(.{300})", r"\1…\2", text)


class NomosaurusError(Exception):
    """Base of every error shown as one line instead of a traceback.

    The message names the thing, the rule it broke, the value that was found
    and, where there is one, what to do next. A long value is shortened.
    """

    def __init__(self, message: str) -> None:
        super().__init__(abridged(" ".join(message.splitlines())))


class ParamsError(NomosaurusError):
    """params.yaml is missing, unreadable or breaks a rule."""


class ListError(NomosaurusError):
    """The list of names cannot be read, or is too small to learn from."""


class ModelFileError(NomosaurusError):
    """A model file is missing, cut short or not one of ours."""


class SamplingError(NomosaurusError):
    """A request for names that cannot be met.

    Attributes:
        managed: The names found before it was given up.
    """

    def __init__(self, message: str, managed: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.managed = managed


class ArtifactError(NomosaurusError):
    """A file that an earlier stage should have written is missing or damaged."""


class RegistryError(NomosaurusError):
    """MLflow's model registry does not have what is asked for."""


class DeviceError(NomosaurusError):
    """train.device asks for hardware that is not there."""


class TrainingError(NomosaurusError):
    """Training failed: the loss is not a number, or a process was killed."""


class PipelineError(NomosaurusError):
    """DVC or git cannot do what is asked for."""


class TrackingError(NomosaurusError):
    """The MLflow store cannot be used, or lacks what was asked for."""


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlevel = 3


def shortened(value: object) -> str:
    """A value as a message shows it: all of what is short, both ends of what is long."""
    text = _short.repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


MOST_SAID = 400  # characters of another program's or library's words
BESIDE_THE_CAUSE = re.compile(r"(warning|hint|note|to|from)\b|having any troubles", re.IGNORECASE)
BEFORE_THE_CAUSE = re.compile(
    r"((error|fatal): |unexpected error - |error tokenizing data\. c error: )+", re.IGNORECASE
)


def in_one_line(said: Exception | str) -> str:
    """What went wrong, from the words of DVC, git, `gh`, MLflow or pandas.

    Of an exception that is its first line. Of a program's output it is the first line marked as an
    error, with the next one where it ends in a colon, else the first two lines; what follows is an
    offer to help. A traceback has it at the end.
    """
    lines = [" ".join(line.split()) for line in str(said).splitlines() if line.strip()]
    marked = [line for line in lines if re.match(r"(error|fatal)\b", line, re.IGNORECASE)]
    if not lines:
        line = type(said).__name__ if isinstance(said, Exception) else "it said nothing"
    elif isinstance(said, Exception):
        line = lines[0]
    elif lines[0].startswith("Traceback"):
        line = lines[-1]
    else:
        causes = [line for line in lines if not BESIDE_THE_CAUSE.match(line)] or lines
        if marked:
            causes = lines[lines.index(marked[0]) :]
        is_whole = marked and not causes[0].endswith(":")
        line = " ".join(causes[: 1 if is_whole else 2])
    if refused := re.search(r"Caused by \w+\((.+)\)\)$", line):  # after a long address
        return refused[1].strip("'\"").split("): ", 1)[-1]
    line = line[found.end() :] if (found := BEFORE_THE_CAUSE.match(line)) else line
    if len(line) <= MOST_SAID:
        return line
    whole = line[:MOST_SAID].rpartition(". ")[0]  # a remedy is whole or not there
    return f"{whole}." if whole else f"{line[:MOST_SAID]}…"


REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, and run the same again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "get the right to it, or name another place"),
    errno.EROFS: "name a place that can be written to",
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), 'allow more open files, as with "ulimit -n 4096"'
    ),
    errno.EFBIG: 'allow larger files, as with "ulimit -f unlimited"',
    errno.EEXIST: "name another place, or move away what is there",
    errno.ENOMEM: "free some memory, and run the same again",
    errno.EISDIR: "name a file, or move the folder away",
    errno.ENOTDIR: "name a folder, or move the file away",
    errno.EIO: "see whether the disk is sound",
}
"""What to do about an error of the operating system."""


def system_error(error: OSError) -> str:
    """What the operating system refused, at which path, and what to do."""
    said = error.strerror or str(error) or type(error).__name__
    paths = " to ".join(str(path) for path in (error.filename, error.filename2) if path is not None)
    if not paths and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        paths = "standard output"  # files that are written are named
    line = f"{paths}: {said}" if paths else said
    return f"{line}; {REMEDIES.get(error.errno or 0, 'check the path, and run the same again')}"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Show our own errors, and the system's, as one line on stderr and exit with 1.

    For entry points, and for their imports. Anything else is a defect and keeps its traceback.
    Ctrl-C exits with 130, as shells do, and so does a request to end (SIGTERM), which is treated
    alike, except in a process's workers: they import its script again, and just end. Output that
    nobody reads any more is left to Typer.
    """
    if threading.current_thread() is threading.main_thread() and not _is_worker():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with shown_safely():
        try:
            yield
            _flush_output()
        except NomosaurusError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except ModuleNotFoundError as error:
            package = (error.name or "nomosaurus").partition(".")[0]
            if package == "nomosaurus":
                raise
            print(
                f"error: {package} is not installed; stages, the store and the workflows need "
                "what \"pip install 'nomosaurus[pipeline]'\" brings",
                file=sys.stderr,
            )
            raise SystemExit(1) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            with suppress(OSError):
                _flush_output()
            print(f"error: {system_error(error)}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt as stop:
            print(str(stop) or "stopped before the end", file=sys.stderr)
            raise SystemExit(130) from None


def _is_worker() -> bool:
    """Whether multiprocessing started this process, also while it still reads its script.

    By then it has a name, and no `parent_process()`. Where nothing has loaded that package, this is
    no worker, and the start is quicker without it.
    """
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and processes.current_process().name != "MainProcess"


class _Shown:
    """A stream to which text goes changed."""

    def __init__(self, stream: TextIO, change: Callable[[str], str]) -> None:
        self.unchanged = stream
        self._change = change

    def write(self, text: str) -> int:
        return self.unchanged.write(self._change(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unchanged, name)


@contextmanager
def shown_safely() -> Iterator[None]:
    """Write what is `printable` to standard output and error, the latter `abridged` too."""
    before = sys.stdout, sys.stderr
    if sys.stdout and not isinstance(sys.stdout, _Shown):
        sys.stdout = cast(TextIO, _Shown(sys.stdout, printable))
    if sys.stderr and not isinstance(sys.stderr, _Shown):
        shown = _Shown(sys.stderr, lambda text: printable(abridged(text)))
        sys.stderr = cast(TextIO, shown)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def standard_error() -> TextIO:
    """Standard error as it is, for bars: they move the cursor."""
    return getattr(sys.stderr, "unchanged", sys.stderr)


def _flush_output() -> None:
    """Write what waits for standard output; if that fails, drop it, or Python tries at its end.

    Raises:
        OSError: If it fails, as on a full disk.
    """
    try:
        if sys.stdout:  # there is none if it was closed
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        with suppress(OSError, ValueError):  # a stream without a file, as in tests
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
