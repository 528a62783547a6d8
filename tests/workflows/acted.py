"""The workflows in .github/, run on this machine by act (https://github.com/nektos/act).

act reads a workflow and runs its steps as they are written. Of our own is only what it lacks here:
GitHub's actions, which would come over the network (`stand_ins`), what stays of a job (its summary,
the files in its workspace), and artifacts and caches that last from one workflow to the next.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

ACT = shutil.which("act", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
REPOSITORY_NAME = "someone/nomosaurus"
ADDRESS = f"https://github.com/{REPOSITORY_NAME}"

STAND_IN = """name: a stand-in
inputs: {inputs}
runs:
  using: composite
  steps:
    - shell: bash
      env:
        INPUTS: ${{{{ toJSON(inputs) }}}}
      run: |
        {python} {script} {action} {store}
"""
INPUTS = (
    *("fetch-depth", "if-no-files-found", "include-hidden-files", "key", "name", "path"),
    *("persist-credentials", "python-version", "restore-keys", "run-id", "github-token"),
    "subject-path",
)
SHELL = """#!/bin/sh
# bash, and afterwards what a test asks of the job.
/bin/bash "$@"
code=$?
if [ -n "$GITHUB_JOB" ]; then
    kept={store}/jobs/$GITHUB_RUN_ID/$GITHUB_JOB
    mkdir -p "$kept"
    cat "$GITHUB_STEP_SUMMARY" >> "$kept/summary"
    cd "$GITHUB_WORKSPACE" &&
        find . -name .git -prune -o -name .venv -prune -o -type f -print > "$kept/files"
fi
exit $code
"""


@dataclass
class Step:
    outcome: str = "skipped"
    output: str = ""


@dataclass
class Job:
    """What became of a job; `files` are those in its workspace after its last script."""

    steps: dict[str, Step]
    outcome: str = "skipped"
    summary: str = ""
    files: set[str] = field(default_factory=set)


@dataclass
class Run:
    id: str
    jobs: dict[str, Job]
    artifacts: dict[str, Path]
    log: str  # what its steps said

    @property
    def outcome(self) -> str:
        outcomes = {job.outcome for job in self.jobs.values()}
        return next((word for word in ("failure", "success") if word in outcomes), "skipped")


class Runner:
    """Runs workflows; caches and artifacts last as long as it.

    Args:
        origin: The bare repository that jobs check out and push to.
        home: The folder for everything the jobs write.
        tools: Comes first on each step's PATH.
    """

    def __init__(self, origin: Path, home: Path, tools: Path):
        self.origin, self.store, self.tools = origin, home / "store", tools
        self._count = 0
        (self.store / "home").mkdir(parents=True)
        shell = tools / "bash"
        shell.write_text(SHELL.replace("{store}", shlex.quote(str(self.store))))
        shell.chmod(0o755)

    def run(
        self,
        workflow: Path,
        event: str,
        *,
        ref: str = "refs/heads/main",
        job: str = "",
        matrix: dict[str, str] | None = None,
        payload: dict | None = None,
        variables: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
        secrets: dict[str, str] | None = None,
    ) -> Run:
        """Run a workflow, or one `job` of it, on what the origin has at `ref`."""
        self._count += 1
        run_id = str(1000 + self._count)
        folder = self.store / f"run-{run_id}"
        checkout = folder / "checkout"
        git = ["git", "-C", str(checkout)]
        subprocess.run(["git", "init", "-q", str(checkout)], check=True)
        for settings in (
            ["remote.origin.url", ADDRESS],
            [f"url.{self.origin}.insteadOf", ADDRESS],
            ["remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"],
        ):
            subprocess.run([*git, "config", *settings], check=True)
        subprocess.run([*git, "fetch", "-q", "origin", f"+{ref}:refs/act"], check=True)
        branch = ref.removeprefix("refs/heads/").replace("/", "-")
        subprocess.run([*git, "checkout", "-q", "-B", branch, "refs/act"], check=True)
        subprocess.run([*git, "fetch", "-q", "origin"], check=True)
        (folder / "event.json").write_text(json.dumps({"ref": ref, **(payload or {})}))
        known = folder / workflow.name  # all of it but the one key that act does not know yet
        known.write_text(workflow.read_text("utf-8").replace("\n  queue: max\n", "\n"), "utf-8")
        command = [ACT, event, "-W", str(known), "-e", str(folder / "event.json"), "--json"]
        command += ["-P", "ubuntu-latest=-self-hosted", "--pull=false", "--no-cache-server"]
        command += ["--action-cache-path", str(folder / "act")]
        for name, value in {"GITHUB_TOKEN": "a-token", **(secrets or {})}.items():
            command += ["-s", f"{name}={value}"]
        command += ["-j", job] if job else []
        command += [f"--matrix={name}:{value}" for name, value in (matrix or {}).items()]
        command += [f"--var={name}={value}" for name, value in (variables or {}).items()]
        extra = {
            "GITHUB_RUN_ID": run_id,
            "GITHUB_REPOSITORY": REPOSITORY_NAME,
            "HOME": str(self.store / "home"),
            "NOMOSAURUS_ENVIRONMENT": sys.executable,
        }
        extra |= environment or {}
        command += [f"--env={name}={value}" for name, value in extra.items()]
        command += self._stand_ins(workflow)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DVC_", "MLFLOW_", "GIT_", "GITHUB_", "PYTEST_", "COV_"))
        }
        system = [part for part in kept["PATH"].split(os.pathsep) if ".venv" not in part]
        kept |= {
            "PATH": os.pathsep.join([str(self.tools), *system]),
            "HOME": str(self.store / "home"),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        result = subprocess.run(
            command, cwd=checkout, env=kept, capture_output=True, text=True, check=False
        )
        return self._read(run_id, workflow, result.stdout + result.stderr)

    def _stand_ins(self, workflow: Path) -> list[str]:
        """Flags that put a stand-in in the place of each action that the workflow uses."""
        flags = []
        for action, ref in re.findall(r"uses: ([\w./-]+)@(\w+)", workflow.read_text("utf-8")):
            repository = "/".join(action.split("/")[:2])
            folder = self.store / "actions" / action
            folder.mkdir(parents=True, exist_ok=True)
            words = (sys.executable, Path(__file__).with_name("stand_ins.py"), action, self.store)
            python, script, name, store = (shlex.quote(str(word)) for word in words)
            inputs = "{" + ", ".join(f'{name}: {{default: ""}}' for name in INPUTS) + "}"
            (folder / "action.yml").write_text(
                STAND_IN.format(
                    inputs=inputs, python=python, script=script, action=name, store=store
                )
            )
            local = f"{repository}@{ref}={self.store / 'actions' / repository}"
            flags += ["--local-repository", f"https://github.com/{local}"]
        return flags

    def _read(self, run_id: str, workflow: Path, log: str) -> Run:
        jobs = {
            name: Job({step.get("name", step.get("uses")): Step() for step in job["steps"]})
            for name, job in YAML(typ="safe", pure=True).load(workflow)["jobs"].items()
        }
        for line in log.splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            if "jobID" not in entry:
                continue
            job = jobs[entry["jobID"]]
            if "jobResult" in entry:
                job.outcome = entry["jobResult"]
            if entry.get("stage") != "Main":
                continue
            step = job.steps[entry["step"]]
            if entry.get("raw_output"):
                step.output += entry["msg"]
            step.outcome = entry.get("stepResult", step.outcome)
        for name, job in jobs.items():
            kept = self.store / "jobs" / run_id / name
            if kept.is_dir():
                job.summary = (kept / "summary").read_text("utf-8")
                found = (kept / "files").read_text().splitlines()
                job.files = {path.removeprefix("./") for path in found}
        artifacts = self.store / "artifacts" / run_id
        uploaded = {path.name: path for path in artifacts.glob("*")}
        said = [step.output for job in jobs.values() for step in job.steps.values()]
        return Run(run_id, jobs, uploaded, "".join(said) or log)
