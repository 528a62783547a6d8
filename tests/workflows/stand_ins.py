"""GitHub's actions, as far as the workflows here use them; a step of `acted` calls this."""

import json
import os
import shutil
import sys
from pathlib import Path

action, store = sys.argv[1], Path(sys.argv[2])
inputs = json.loads(os.environ["INPUTS"])
workspace = Path(os.environ["GITHUB_WORKSPACE"])
artifacts, caches = store / "artifacts", store / "caches"
paths = [workspace / line.strip() for line in inputs["path"].splitlines() if line.strip()]
run_id = inputs["run-id"] or os.environ["GITHUB_RUN_ID"]


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


if action == "actions/setup-python":
    sys.path.insert(0, str(Path(__file__).parent))
    from layered_venv import layered_venv

    made = layered_venv(workspace, Path(os.environ["NOMOSAURUS_ENVIRONMENT"]))
    tools = workspace / ".tools/bin"  # which make would install
    tools.mkdir(parents=True)
    stub = tools / "cyclonedx-py"
    stub.write_text('#!/bin/sh\necho "$@" > sbom.cdx.json\n')
    stub.chmod(0o755)
    (workspace / ".tools/.ready").touch()
    with Path(os.environ["GITHUB_PATH"]).open("a") as file:
        file.write(f"{made / 'bin'}\n")
elif action == "actions/upload-artifact":
    found = [path for path in paths if path.exists()]
    if not found and inputs["if-no-files-found"] == "error":
        sys.exit(f"no files were found at {inputs['path']!r}")
    for path in found:
        place = "" if paths == [path] and path.is_dir() else path.relative_to(workspace)
        copy(path, artifacts / run_id / inputs["name"] / place)
elif action == "actions/download-artifact":
    source = artifacts / run_id / inputs["name"]
    if not source.is_dir():
        sys.exit(f"no artifact {inputs['name']!r} in run {run_id}")
    copy(source, paths[0])
elif action == "actions/cache/save" and paths[0].exists() and not (caches / inputs["key"]).exists():
    copy(paths[0], caches / inputs["key"])
elif action == "actions/cache/restore":
    kept = sorted(caches.glob("*"), key=lambda path: path.stat().st_mtime)
    starts = tuple(inputs["restore-keys"].split())
    exact = [path for path in kept if path.name == inputs["key"]]
    alike = [path for path in kept if path.name.startswith(starts)]
    if exact or alike:
        copy((exact or alike)[-1], paths[0])
elif action == "actions/attest":
    for line in inputs["subject-path"].split():
        if not any(path.is_file() for path in workspace.glob(line)):
            sys.exit(f"{line} is not there to attest")
elif action not in ("actions/checkout", "actions/cache/save"):
    sys.exit(f"there is no stand-in for {action}")
