"""The errors that a person is meant to read: one line, then a non-zero exit.

Names, paths and files from strangers may hold anything. So whatever a command or a stage writes
to standard output and standard error goes through `printable`, and messages through `shortened`.
"""

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


def shortened(text: str) -> str:
    """Text whose words of over 200 characters, and lines of over 1,000, lack their middle."""
    text = re.sub(r"(\S{120})\S{21,}(\S{60})", r"\1…\2", text)
    return re.sub(r"(.{600}).{101,}(.{300})", r"\1…\2", text)


class NomosaurusError(Exception):
    """Base of every error shown as one line instead of a traceback.

    The message names the thing, the rule it broke, the value that was found
    and, where there is one, what to do next. A long value is shortened.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(" ".join(message.splitlines())))


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


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Show our own errors as one line on stderr and exit with 1; for entry points.

    Anything else is a defect and keeps its traceback. Ctrl-C exits with 130, as shells do, and
    so does a request to end (SIGTERM), which is treated alike.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with shown_safely():
        try:
            yield
        except NomosaurusError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt as stop:
            print(str(stop) or "stopped before the end", file=sys.stderr)
            raise SystemExit(130) from None


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
    """Write what is `printable` to standard output and error, the latter `shortened` too."""
    before = sys.stdout, sys.stderr
    if not isinstance(sys.stdout, _Shown):
        sys.stdout = cast(TextIO, _Shown(sys.stdout, printable))
    if not isinstance(sys.stderr, _Shown):
        shown = _Shown(sys.stderr, lambda text: printable(shortened(text)))
        sys.stderr = cast(TextIO, shown)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def standard_error() -> TextIO:
    """Standard error as it is, for bars: they move the cursor."""
    return getattr(sys.stderr, "unchanged", sys.stderr)
