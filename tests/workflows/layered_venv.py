"""A virtual environment for a clone, made in a second from the one that runs the tests."""

import re
import subprocess
from pathlib import Path

SHEBANG = re.compile(rb"#!(?:/bin/sh\n'''exec' [^\n]*\n' '''|[^\n]*python[^\n]*)\n")
LAYERS = (
    "import sys, os; print(*[p for p in sys.path if os.path.basename(p) in {names}], sep='\\n')"
)


def layered_venv(folder: Path, outer_python: Path) -> Path:
    """Make folder/.venv as `make` would, with the packages and commands of another environment.

    Packages are found in the outer environment, nomosaurus itself in the folder's src: files with
    the ending .pth, such as an editable install's, work in an interpreter's own site-packages only.
    """
    inner = folder / ".venv"
    subprocess.run([outer_python, "-m", "venv", "--without-pip", "--symlinks", inner], check=True)
    program = LAYERS.format(names=("site-packages", "dist-packages"))
    layers = subprocess.run(
        [outer_python, "-c", program], capture_output=True, text=True, check=True, env={}
    ).stdout
    (site_packages,) = inner.glob("lib/python*/site-packages")
    (site_packages / "layers.pth").write_text(f"{folder / 'src'}\n{layers}")
    python = str(inner / "bin/python").encode()
    for command in Path(outer_python).parent.iterdir():
        copy = inner / "bin" / command.name
        if copy.exists() or not command.is_file():
            continue
        with command.open("rb") as file:
            header = SHEBANG.match(file.read(4096))
        if header:
            start = b"#!/bin/sh\n'''exec' \"" + python + b'" "$0" "$@"\n\' \'\'\'\n'
            copy.write_bytes(start + command.read_bytes()[header.end() :])
            copy.chmod(0o755)
        else:
            copy.symlink_to(command)
    (inner / ".ready").touch()  # last: newer than what it is made from
    return inner
