"""A clone of this checkout in which DVC runs the real stages on a small list."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[1]
FROZEN = Path(__file__).parent / "frozen"
"""The default params.yaml, and every fourth dinosaur: what tests build on, whatever params.yaml
says and whichever list it names."""


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a command as a person in the activated environment would."""
    binaries = str(Path(sys.executable).parent)
    settings = {
        "PATH": binaries + os.pathsep + os.environ["PATH"],
        "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    for role in ("AUTHOR", "COMMITTER"):
        settings |= {f"GIT_{role}_NAME": "test", f"GIT_{role}_EMAIL": "test@example.invalid"}
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DVC_", "MLFLOW_", "GIT_"))
    }
    return subprocess.run(
        arguments,
        cwd=folder,
        env=clean | settings | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def succeed(folder: Path, *arguments: str, **environment: str) -> str:
    result = command(folder, *arguments, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def set_params(folder: Path, **values) -> None:
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    for key, value in values.items():
        section, _, name = key.partition("__")
        if name:
            params[section][name] = value
        else:
            params[section] = value
    yaml.dump(params, folder / "params.yaml")


def clone(folder: Path) -> Path:
    """This checkout as it stands, committed or not, without what git ignores."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout
    for name in listing.decode().split("\0"):
        if name and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    shutil.copyfile(FROZEN / "params.yaml", folder / "params.yaml")
    names = pd.read_csv(FROZEN / "dinosaurs.csv")["name"]
    (folder / "small.txt").write_text("\n".join(names) + "\n", "utf-8")
    set_params(
        folder,
        data__path="small.txt",
        model__hidden_size=16,
        model__members=2,
        train__max_epochs=2,
        train__device="cpu",
        crossvalidate__folds=3,
        evaluate__bootstrap_samples=100,
        sample__count=15,
    )
    (folder / "dvc.lock").unlink(missing_ok=True)
    lock = YAML().load(folder / "experiments/dvc.lock")
    lock["stages"] = {"base": lock["stages"]["base"]}  # which no test trains
    YAML().dump(lock, folder / "experiments/dvc.lock")
    succeed(folder, "git", "init", "-q")
    succeed(folder, "git", "add", "-A")
    succeed(folder, "git", "commit", "-qm", "small list")
    return folder


def finish(folder: Path) -> None:
    """Run the pipeline in a clone, and commit what it gives."""
    clone(folder)
    succeed(folder, "dvc", "repro")
    succeed(folder, "git", "add", "-A")
    succeed(folder, "git", "commit", "-qm", "run")
