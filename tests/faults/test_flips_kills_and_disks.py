"""Wrong bits in files that are trusted; a stage that is killed, or lacks space or rights."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import make_model
from harness import STAGE, Came, Case, check, rows

from nomosaurus.errors import ModelFileError
from nomosaurus.model.base import Base, load_base, save_base
from nomosaurus.model.file import load_model, save_model
from nomosaurus.names.corpus import learnt_hashes

resource = pytest.importorskip("resource", reason="needs limits on the size of files")

FLIPS = 200
SCRIPT = [sys.executable, str(Path(__file__).parents[2] / "pipeline/prepare.py"), *STAGE]


def save_small_base(path: Path, model) -> None:
    networks, letters = model.mixture.networks, model.vocabulary.characters
    save_base(path, Base(model.recipe.model, letters, networks, learnt_hashes(["ana"])), {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("save", "load"),
    [(save_model, load_model), (save_small_base, load_base)],
    ids=["model", "base"],
)
def test_a_flipped_bit_is_noticed(tmp_path, record_property, save, load):
    path = tmp_path / "file"
    save(path, make_model(hidden_size=3, members=1))
    whole, draw = path.read_bytes(), random.Random(1)
    load(path)
    for _ in range(FLIPS):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(ModelFileError) as caught:
            load(path)
        assert len(str(caught.value).splitlines()) == 1
        record_property("fault", "refused")


def run(folder: Path, most_bytes: int = -1) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.run(SCRIPT, capture_output=True, text=True, preexec_fn=limit, timeout=60)


def killed_then_again(share: float, folder: Path) -> Came:
    """What the second run came to, where the first was killed after this share of its time."""
    started = time.monotonic()
    run(folder)
    seconds = time.monotonic() - started
    with subprocess.Popen(SCRIPT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        time.sleep(share * seconds)
        first.send_signal(signal.SIGKILL)
    done = run(folder)
    return Came(done.returncode, done.stdout, done.stderr)


def on_a_full_disk(most_bytes: int, folder: Path) -> Came:
    done = run(folder, most_bytes)
    return Came(done.returncode, done.stdout, done.stderr)


def without_rights(folder: Path) -> Came:
    """Where this process is root, whom no right stops, the stage runs without that power."""
    ordinary = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("needs setpriv, since root may read and write everything")
    command = [*ordinary, *SCRIPT] if os.geteuid() == 0 else SCRIPT
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    for path in folder.rglob("*"):
        path.chmod(0o700)
    return Came(done.returncode, done.stdout, done.stderr)


def forbid(path: str, mode: int, folder: Path) -> None:
    (folder / path).chmod(mode)


CASES = [
    *(
        Case(f"killed after {share:.0%} of the run", lambda folder: None, "", {"names_kept": 75},
             partial(killed_then_again, share))
        for share in (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
    ),
    *(
        Case(f"no file of more than {size} bytes", lambda folder: None, "File too large", {},
             partial(on_a_full_disk, size))
        for size in (0, 1, 100, 130, 200, 400)
    ),
    *(
        Case(f"no right to {path}", partial(forbid, path, mode), "denied; get the right", {},
             without_rights)
        for path, mode in {"list.csv": 0, "data": 0o500}.items()
    ),
]  # fmt: skip


@pytest.mark.slowest
@pytest.mark.parametrize("case", rows(CASES))
def test_nothing_is_lost_and_the_next_run_goes_through(case, tmp_path, record_property):
    check(case, tmp_path, record_property)
