"""The errors that a person is meant to read: one line, then a non-zero exit."""

import reprlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class NomosaurusError(Exception):
    """Base of every error shown as one line instead of a traceback.

    The message names the thing, the rule it broke, the value that was found
    and, where there is one, what to do next.
    """


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


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Show our own errors as one line on stderr and exit with 1; for entry points.

    Anything else is a defect and keeps its traceback. Ctrl-C exits with 130, as shells do, and
    so does a request to end (SIGTERM), which is treated alike.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except NomosaurusError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped before the end", file=sys.stderr)
        raise SystemExit(130) from None
