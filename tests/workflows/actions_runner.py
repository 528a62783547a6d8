"""GitHub Actions on this machine: a workflow's Linux jobs, their `run:` steps as written.

Each job has its own workspace, home and environment. Actions are stood in for by
`actions_emulated`, and what this does not know is an error. Not simulated: permissions,
concurrency, the filters below `on`, workflow commands (`::name::`) and the masking of secrets in
output, fail-fast, persist-credentials (any job may push to the origin), containers, services,
reusable workflows.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from actions_emulated import ACTIONS, ActionError, Machine, Store, search
from actions_expressions import (
    Known,
    check_names,
    interpolate,
    is_true,
    parse_condition,
    to_text,
)
from actions_workflow import (
    JOB_KEYS,
    STEP_KEYS,
    WORKFLOW_KEYS,
    WorkflowError,
    ancestors,
    as_list,
    combinations,
    dispatch_inputs,
    in_order,
    is_linux,
    known_keys,
    pairs,
    worst,
)
from layered_venv import layered_venv
from ruamel.yaml import YAML

SHELLS = {
    None: ["bash", "-e"],
    "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"],
    "sh": ["sh", "-e"],
    "python": ["python"],
}
# What an expression may name, by the place it stands in:
# https://docs.github.com/en/actions/reference/workflows-and-actions/contexts
FOR_WORKFLOW = {"github", "inputs", "vars", "secrets"}
FOR_JOB = {"github", "needs", "vars", "inputs"}
FOR_COMBINATION = FOR_JOB | {"strategy", "matrix"}
FOR_STEP = FOR_COMBINATION | {"job", "runner", "env", "secrets", "steps"}
PLACES = {"if", "steps", "outputs", "env", "defaults", "strategy"}  # of a job, with their own
SUMMARY_LIMIT = 1024 * 1024


@dataclass
class Step:
    id: str
    name: str
    outcome: str = "skipped"  # success, failure, cancelled or skipped
    conclusion: str = "skipped"  # the same after continue-on-error
    exit_code: int | None = None
    output: str = ""
    script: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    id: str
    definition: dict
    matrix: dict
    outcome: str = "skipped"  # success, failure, cancelled, skipped or not run (os)
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    workspace: Path | None = None

    def step(self, name: str) -> Step:
        """The step of this id or name."""
        return next(step for step in self.steps if name in (step.id, step.name))


@dataclass
class Run:
    id: str
    workflow: dict
    jobs: dict[str, Job] = field(default_factory=dict)  # "test", or "test (ubuntu-24.04, 3.12)"
    artifacts: dict[str, Path] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        outcomes = {job.outcome for job in self.jobs.values()}
        order = ("failure", "cancelled", "success", "not run (os)")
        return next((outcome for outcome in order if outcome in outcomes), "skipped")


class Runner:
    """Runs workflows; caches and artifacts last as long as it.

    Args:
        origin: The bare repository that checkouts come from, and that jobs push to.
        home: The folder for everything the jobs write.
        environment: The `bin` of a virtual environment, of which each checkout gets a copy in
            `.venv`, as `make` would make it.
        tools: Folders for the start of every step's PATH, such as that of a stub.
        extra_env: What every step's environment has besides what GitHub sets.
        timeout: Seconds after which a step fails, whatever its own limit is.
    """

    def __init__(
        self,
        origin: Path,
        home: Path,
        environment: Path | None = None,
        tools: tuple[Path, ...] = (),
        extra_env: dict[str, str] | None = None,
        repository: str = "someone/nomosaurus",
        default_branch: str = "main",
        timeout: float = 900,
    ):
        self.origin, self.home, self.environment = origin, home, environment
        self.tools, self.extra_env, self.timeout = tools, extra_env or {}, timeout
        self.repository, self.default_branch = repository, default_branch
        self.store = Store(home / "store")
        self.runs: list[Run] = []

    def run(
        self,
        workflow: Path | str,
        *,
        event: str,
        ref: str = "refs/heads/main",
        sha: str | None = None,
        inputs: dict[str, Any] | None = None,
        vars: dict[str, str] | None = None,
        secrets: dict[str, str] | None = None,
        event_payload: dict | None = None,
        only: list[str] | None = None,
    ) -> Run:
        """Run a workflow, or of its jobs `only` some and those they need, in the order of needs.

        Args:
            workflow: The file, or its text.
            event: Must be one of those below `on`.
            ref: For a pull request, its refs/pull/<number>/merge, which the origin must have.
            sha: By default, the commit that ref is at in the origin.
            inputs: Of a workflow_dispatch, as a person gives them; defaults are added.
            event_payload: Merged into `github.event`.
        """
        source = workflow.read_text("utf-8") if isinstance(workflow, Path) else workflow
        content = YAML(typ="safe", pure=True).load(source)
        known_keys(content, WORKFLOW_KEYS, "the workflow")
        events = content["on"] if isinstance(content["on"], (dict, list)) else [content["on"]]
        if event not in events:
            raise WorkflowError(f"the workflow is not started by {event}, but by {list(events)}")
        given = dispatch_inputs(events, event, inputs or {})
        number = str(1000 + len(self.runs))
        run = Run(number, content, artifacts=self.store.artifacts.setdefault(number, {}))
        self.runs.append(run)
        secrets = {"GITHUB_TOKEN": "a-token-of-the-run"} | (secrets or {})
        github = self._github(run, event, ref, sha, event_payload or {}, given)
        github["token"] = secrets["GITHUB_TOKEN"]
        contexts = {"github": github, "inputs": given, "vars": vars or {}, "secrets": secrets}
        heads = {key: content.get(key) for key in ("run-name", "concurrency")}
        interpolate(heads, among(contexts, FOR_WORKFLOW - {"secrets"}))
        results: dict[str, str] = {}
        for name in in_order(content["jobs"], only):
            self._run_job(run, name, contexts, results)
        return run

    def _github(
        self, run: Run, event: str, ref: str, sha: str | None, payload: dict, inputs: dict
    ) -> Known:
        if not sha:
            command = ["git", "-C", self.origin, "rev-parse", "--verify", f"{ref}^{{commit}}"]
            clean = {"PATH": os.environ["PATH"]}  # no GIT_DIR
            done = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
            sha = done.stdout.strip()
        owner, name = self.repository.split("/")
        described = {"full_name": self.repository, "name": name, "owner": {"login": owner}}
        described["default_branch"] = self.default_branch
        repository = {"repository": described | payload.get("repository", {})}
        payload = {"sender": {"login": "someone"}} | payload | repository
        if event == "workflow_dispatch":
            payload |= {"inputs": {key: to_text(value) for key, value in inputs.items()}}
        pull = payload.get("pull_request", {})
        return Known(
            event_name=event,
            event=payload,
            ref=ref,
            ref_name=re.sub("^refs/[a-z]+/", "", ref),
            ref_type="tag" if ref.startswith("refs/tags/") else "branch",
            sha=sha,
            head_ref=pull.get("head", {}).get("ref", ""),
            base_ref=pull.get("base", {}).get("ref", ""),
            repository=self.repository,
            repository_owner=owner,
            run_id=run.id,
            run_number=str(len(self.runs)),
            run_attempt="1",
            actor="someone",
            triggering_actor="someone",
            workflow=to_text(run.workflow.get("name")),
            server_url="https://github.com",
            api_url="https://api.github.com",
            token="",
            job="",
            workspace="",
            event_path="",
        )

    def _run_job(self, run: Run, name: str, contexts: dict, results: dict[str, str]) -> None:
        """Run every combination of a job's matrix, and note its result for those that need it."""
        definition, jobs = run.workflow["jobs"][name], run.workflow["jobs"]
        known_keys(definition, JOB_KEYS, f"the job {name}")
        needs = Known()
        for other in as_list(definition.get("needs")):
            outputs = Known(dict.fromkeys(jobs[other].get("outputs", {})))
            for job in run.jobs.values():
                outputs |= job.outputs if job.id == other else {}
            needs[other] = Known(result=results[other], outputs=outputs)
        contexts = contexts | {"needs": needs}
        status = worst({results[other] for other in ancestors(name, jobs)} or {"success"})
        before = among(contexts, FOR_JOB)
        wanted = parse_condition(definition.get("if"), before, status_functions(status))()
        strategy = definition.get("strategy", {})
        check_names(strategy, before, {})
        matrices = [{}]  # of a job that is left out, none is made
        if is_true(wanted):
            matrices = combinations(interpolate(strategy, before).get("matrix", {}))
        for index, matrix in enumerate(matrices):
            key = f"{name} ({', '.join(map(to_text, matrix.values()))})" if matrix else name
            run.jobs[key] = Job(name, definition, matrix)
            place = Known({"job-index": index, "job-total": len(matrices)})
            own = contexts | {"matrix": matrix, "strategy": place}
            JobRun(self, run, run.jobs[key], key, own).execute(is_true(wanted))
        outcomes = {job.outcome for job in run.jobs.values() if job.id == name}
        results[name] = worst(outcomes).replace("not run (os)", "success")


class JobRun:
    """One job on its machine."""

    def __init__(self, runner: Runner, run: Run, job: Job, key: str, contexts: dict):
        folder = runner.home / f"run-{run.id}" / re.sub(r"[^\w.-]+", "-", key)
        name = runner.repository.split("/")[1]
        job.workspace = folder / "work" / name / name
        github = Known(contexts["github"] | {"job": job.id, "workspace": str(job.workspace)})
        github["event_path"] = str(folder / "temp/_github_workflow/event.json")
        self.runner, self.run, self.job, self.folder = runner, run, job, folder
        self.machine = Machine(
            workspace=job.workspace,
            home=folder / "home",
            temp=folder / "temp",
            environment={
                "PATH": path_without_environment(),
                "HOME": str(folder / "home"),
                "LANG": "C.UTF-8",
                "GIT_CONFIG_NOSYSTEM": "1",
            },
            origin=runner.origin,
            github=github,
            store=runner.store,
        )
        ids = [step["id"] for step in job.definition["steps"] if "id" in step]
        if len(set(ids)) < len(ids):
            raise WorkflowError(f"the job {job.id} has two steps with one id: {ids}")
        nothing = Known(outputs={}, outcome=None, conclusion=None)
        self.contexts = contexts | {
            "github": github,
            "runner": Known(
                os="Linux",
                arch="X64",
                name="here",
                environment="github-hosted",
                temp=str(self.machine.temp),
                tool_cache=str(folder / "tools"),
            ),
            "job": Known(status="success"),
            "steps": Known(dict.fromkeys(ids, nothing)),
            "env": {},
        }
        self.groups: list[int] = []  # process groups with something still running
        self.deadline = time.monotonic()

    @property
    def status(self) -> str:
        return self.contexts["job"]["status"]

    @property
    def functions(self) -> dict[str, Callable]:
        return status_functions(self.status) | {"hashFiles": self._hash_files}

    def execute(self, wanted: bool) -> None:
        definition, workflow = self.job.definition, self.run.workflow
        for_job = among(self.contexts, FOR_COMBINATION)
        with_secrets = among(self.contexts, FOR_COMBINATION | {"secrets"})
        checked = {key: value for key, value in definition.items() if key not in PLACES}
        check_names(checked, for_job, {})
        check_names(definition["steps"], among(self.contexts, FOR_STEP), self.functions)
        check_names(definition.get("outputs"), among(self.contexts, FOR_STEP), {})
        check_names(definition.get("env"), with_secrets, {})
        if not wanted:
            return
        if not is_linux(definition["runs-on"], for_job):
            self.job.outcome = "not run (os)"
            return
        for folder in (self.job.workspace, self.machine.home, self.machine.temp):
            folder.mkdir(parents=True)
        (self.machine.home / ".gitconfig").write_text(self._git_config())
        event = Path(self.contexts["github"]["event_path"])
        event.parent.mkdir()
        event.write_text(json.dumps(self.contexts["github"]["event"]), "utf-8")
        self.contexts["env"] = texts(workflow.get("env"), among(self.contexts, FOR_WORKFLOW))
        self.contexts["env"] |= texts(definition.get("env"), with_secrets)
        minutes = interpolate(definition.get("timeout-minutes", 360), for_job)
        self.deadline = time.monotonic() + 60 * float(minutes)
        try:
            for number, step in enumerate(definition["steps"]):
                self.job.steps.append(self._step(number, step))
        finally:
            for group in self.groups:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
        self.job.outcome = self.status
        while self.machine.at_the_end and self.status == "success":
            self.machine.at_the_end.pop()()
        outputs = texts(definition.get("outputs"), among(self.contexts, FOR_STEP))
        secrets = [secret for secret in self.contexts["secrets"].values() if secret]
        for name, value in outputs.items():  # GitHub leaves out what may be a secret
            self.job.outputs[name] = "" if any(secret in value for secret in secrets) else value

    def _git_config(self) -> str:
        """No guessing who commits, as on GitHub's machines; GitHub's addresses are the origin's."""
        github = self.contexts["github"]
        lines = ["[user]", "useConfigOnly = true"]
        lines.append(f'[url "{self.runner.origin.resolve().as_uri()}"]')
        for login in ("", f"x-access-token:{github['token']}@"):
            for end in (".git", ""):
                lines.append(f'insteadOf = "https://{login}github.com/{github["repository"]}{end}"')
        return "\n".join(lines) + "\n"

    def _step(self, number: int, definition: dict) -> Step:
        known_keys(definition, STEP_KEYS, f"step {number + 1} of the job {self.job.id}")
        if ("run" in definition) == ("uses" in definition):
            raise WorkflowError(f"a step has one of run and uses: {definition}")
        contexts = among(self.contexts, FOR_STEP)
        contexts["env"] = contexts["env"] | texts(definition.get("env"), contexts, self.functions)
        evaluate = partial(interpolate, contexts=contexts, functions=self.functions)
        title = definition.get("name") or "Run " + definition.get("uses", definition.get("run"))
        step = Step(definition.get("id", ""), title.strip().split("\n")[0])
        without = among(contexts, FOR_STEP - {"secrets"})
        if is_true(parse_condition(definition.get("if"), without, self.functions)()):
            step.name = to_text(evaluate(title)).strip().split("\n")[0]
            minutes = evaluate(definition.get("timeout-minutes", 360))
            limit = min(60 * float(minutes), self.runner.timeout)
            try:
                if "uses" in definition:
                    self._act(step, definition, evaluate)
                else:
                    self._script(step, number, definition, evaluate, contexts["env"], limit)
            except ActionError as error:
                step.outcome = "failure"
                step.output += f"Error: {error}\n"
            step.conclusion = step.outcome
            if step.outcome == "failure" and is_true(evaluate(definition.get("continue-on-error"))):
                step.conclusion = "success"
            if step.conclusion != "success" and self.status == "success":
                self.contexts["job"]["status"] = step.conclusion
        if step.id:
            self.contexts["steps"][step.id] = Known(
                outputs=step.outputs, outcome=step.outcome, conclusion=step.conclusion
            )
        return step

    def _act(self, step: Step, definition: dict, evaluate: Callable) -> None:
        name = definition["uses"].partition("@")[0]
        if name not in ACTIONS:
            raise WorkflowError(f"an action this runner does not know: {definition['uses']}")
        action, names = ACTIONS[name]
        inputs = {key: to_text(evaluate(v)) for key, v in definition.get("with", {}).items()}
        known_keys(inputs, {word.rstrip("!") for word in names.split()}, name)
        for needed in re.findall(r"(\S+)!", names):
            if needed not in inputs:
                raise WorkflowError(f"{name} is not given {needed}")
            if not inputs[needed].strip():
                raise ActionError(f"Input required and not supplied: {needed}")
        step.outputs = action(self.machine, inputs)
        step.outcome = "success"
        if name == "actions/checkout" and self.runner.environment and not inputs.get("path"):
            layered_venv(self.job.workspace, self.runner.environment / "python")

    def _script(
        self,
        step: Step,
        number: int,
        definition: dict,
        evaluate: Callable,
        environment: dict[str, str],
        limit: float,
    ) -> None:
        defaults: dict = {}
        for owner in (self.run.workflow, self.job.definition):
            defaults |= evaluate(owner.get("defaults", {}).get("run", {}))
        settings = defaults | {key: evaluate(value) for key, value in definition.items()}
        if settings.get("shell") not in SHELLS:
            raise WorkflowError(f"a shell this runner does not know: {settings['shell']}")
        step.script = to_text(settings["run"])
        script = self.machine.temp / f"step-{number}"
        script.write_text(step.script, "utf-8", newline="")
        files = {}
        for name in ("OUTPUT", "ENV", "PATH", "STEP_SUMMARY"):
            files[name] = self.machine.temp / f"_runner_file_commands/{name.lower()}-{number}"
            files[name].parent.mkdir(exist_ok=True)
            files[name].touch()
        command = [*SHELLS[settings.get("shell")], str(script)]
        folder = self.job.workspace / to_text(settings.get("working-directory"))
        if not folder.is_dir():
            raise ActionError(f"the working directory {folder} does not exist")
        variables = self._variables(environment, files)
        self._process(step, command, folder, variables, limit)
        try:
            step.outputs = pairs(files["OUTPUT"])
            self.contexts["env"] = self.contexts["env"] | pairs(files["ENV"])
            added = files["PATH"].read_text("utf-8").split("\n")
            self.machine.path += [line for line in added if line]
        finally:
            summary = files["STEP_SUMMARY"].read_text("utf-8", "replace")
            if len(summary.encode()) > SUMMARY_LIMIT:
                step.output += "Error: the summary is larger than a step's may be: left out\n"
            else:
                self.job.summary += summary

    def _variables(self, environment: dict[str, str], files: dict[str, Path]) -> dict[str, str]:
        """A process's environment: GitHub's own variables win over the workflow's, CI does not."""
        variables = self.machine.environment | {"CI": "true"}
        variables |= self.runner.extra_env | environment
        first = [*map(str, self.runner.tools), *reversed(self.machine.path)]
        variables["PATH"] = os.pathsep.join([*first, variables["PATH"]])
        github = self.contexts["github"]
        names = set(github) - {"event", "token"}
        variables |= {f"GITHUB_{name.upper()}": to_text(github[name]) for name in names}
        variables |= {f"GITHUB_{name}": str(path) for name, path in files.items()}
        host = self.contexts["runner"]
        variables |= {f"RUNNER_{name.upper()}": value for name, value in host.items()}
        return variables | {"GITHUB_ACTIONS": "true"}

    def _process(
        self, step: Step, command: list[str], folder: Path, variables: dict[str, str], limit: float
    ) -> None:
        log = Path(f"{command[-1]}.log")
        remaining = max(0, self.deadline - time.monotonic())
        note = ""
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                step.exit_code = process.wait(min(limit, remaining))
                step.outcome = "failure" if step.exit_code else "success"
                with suppress(ProcessLookupError):  # raised if nothing runs on in the background
                    os.killpg(process.pid, 0)
                    self.groups.append(process.pid)
            except subprocess.TimeoutExpired:
                step.outcome = "failure" if limit < remaining else "cancelled"
                note = f"Error: ended after {min(limit, remaining):.0f} seconds\n"
            finally:
                if step.exit_code is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    step.exit_code = process.wait()
        if step.outcome == "cancelled":
            self.deadline = time.monotonic() + 300  # for the steps that always run
        step.output += log.read_text("utf-8", "replace") + note

    def _hash_files(self, *patterns: str) -> str:
        """The hash of the files' hashes; of no files, an empty string."""
        found, _ = search(self.machine, "\n".join(patterns))
        found = [path for path in found if path.is_file()]
        hashes = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in found)
        return hashlib.sha256(hashes).hexdigest() if found else ""


def among(contexts: dict, names: set[str]) -> dict:
    return {name: contexts[name] for name in names if name in contexts}


def texts(mapping: dict | None, contexts: dict, functions: dict | None = None) -> dict[str, str]:
    values = interpolate(mapping or {}, contexts, functions or {})
    return {name: to_text(value) for name, value in values.items()}


def status_functions(status: str) -> dict[str, Callable[[], bool]]:
    return {
        "success": lambda: status == "success",
        "failure": lambda: status == "failure",
        "cancelled": lambda: status == "cancelled",
        "always": lambda: True,
    }


def path_without_environment() -> str:
    """The PATH without the environment of the tests: a job has what its steps put there."""
    own = {Path(sys.prefix) / "bin"} if sys.prefix != sys.base_prefix else set()
    return os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if Path(p) not in own)
