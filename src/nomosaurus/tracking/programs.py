"""Runs other programs: git, DVC and `gh`. It needs nothing but Python."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from nomosaurus.errors import PipelineError, in_one_line


def run(
    *command: str,
    folder: Path = Path(),
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
    show: bool = False,
    seconds: float | None = None,
) -> str:
    """Run a command, with this Python's programs before others; returns its standard output.

    Its `environment` adds to this process's, `text` is its standard input. With `show`, its
    lines are seen as they come, and nothing is returned.

    Raises:
        PipelineError: If it cannot be started, fails or takes too long, with its own reason.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    pipe = None if show else subprocess.PIPE
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path, **(environment or {})},
            input=text,
            stdout=pipe,
            stderr=pipe,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise PipelineError(f"{' '.join(command[:4])} took over {seconds:g} seconds") from None
    except FileNotFoundError:
        raise PipelineError(f"{command[0]} is not installed, or {folder} is no folder") from None
    except OSError as error:
        raise PipelineError(f"{command[0]} cannot be started: {error.strerror}") from None
    if result.returncode:
        why = "see above" if show else in_one_line(result.stderr or result.stdout)
        shown = " ".join(command[:4])
        raise PipelineError(f"{shown} failed in {folder.resolve()}: {why}")
    return result.stdout or ""
