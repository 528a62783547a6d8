"""What a workflow's parts mean before anything runs, and what a step's files say after it."""

import itertools
import re
from pathlib import Path
from typing import Any

from actions_emulated import ActionError
from actions_expressions import Known, interpolate, to_text

WORKFLOW_KEYS = {"name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"}
JOB_KEYS = WORKFLOW_KEYS - {"run-name", "on", "jobs"} | {
    *("needs", "if", "runs-on", "environment", "outputs", "steps", "strategy", "timeout-minutes")
}
STEP_KEYS = {"id", "name", "if", "run", "uses", "with", "shell", "working-directory", "env"}
STEP_KEYS |= {"timeout-minutes", "continue-on-error"}


class WorkflowError(ValueError):
    """A workflow that GitHub would refuse, or that uses what this runner does not know."""


def known_keys(mapping: dict, known: set[str], where: str) -> None:
    if unknown := set(mapping) - known:
        raise WorkflowError(f"{where} has {sorted(unknown)}; known are {sorted(known)}")


def as_list(value: Any) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]


def worst(outcomes: set[str]) -> str:
    order = ("failure", "cancelled", "skipped", "success", "not run (os)")
    return next(outcome for outcome in order if outcome in outcomes)


def ancestors(name: str, jobs: dict) -> set[str]:
    """Every job that a job needs, or that one of those needs: its status is all of theirs."""
    needed = set(as_list(jobs[name].get("needs")))
    return needed.union(*(ancestors(other, jobs) for other in needed))


def in_order(jobs: dict, only: list[str] | None) -> list[str]:
    """The jobs, each after those it needs."""
    for name, job in jobs.items():
        known_keys(dict.fromkeys(as_list(job.get("needs"))), set(jobs) - {name}, f"needs of {name}")
    wanted = set(jobs) if only is None else set(only).union(*(ancestors(n, jobs) for n in only))
    return sorted((n for n in jobs if n in wanted), key=lambda n: len(ancestors(n, jobs)))


def combinations(matrix: dict) -> list[dict]:
    """A matrix's combinations; one empty one for none."""
    axes = {key: values for key, values in matrix.items() if key not in ("include", "exclude")}
    made = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    made = [
        one
        for one in made
        if not any(out.items() <= one.items() for out in matrix.get("exclude", []))
    ]
    if matrix and not axes:
        made = []
    originals, added = [dict(one) for one in made], []
    for extra in matrix.get("include", []):
        fits = [
            one
            for one, original in zip(made, originals, strict=True)
            if all(original.get(key, value) == value for key, value in extra.items())
        ]
        for one in fits:
            one.update(extra)
        if not fits:
            added.append(dict(extra))
    return made + added


def is_linux(source: Any, contexts: dict) -> bool:
    """Whether the job runs here; a runner that only the repository's variables name, does."""
    value = interpolate(source, contexts)
    labels = [to_text(label) for label in as_list(value)]
    if any(label.startswith("ubuntu") for label in labels):
        return True
    if any(label.startswith(("windows", "macos")) for label in labels):
        return False
    if "vars." in str(source) or set(labels) & set(contexts["vars"].values()):
        return True
    raise WorkflowError(f"no such runner: {labels}")


def dispatch_inputs(events: dict | list, event: str, given: dict) -> Known:
    """The inputs, checked as GitHub checks them, with the defaults; null for another event."""
    started = events.get("workflow_dispatch") if isinstance(events, dict) else None
    declared = (started or {}).get("inputs") or {}
    if event != "workflow_dispatch":
        known_keys(given, set(), f"the inputs of {event}")
        return Known(dict.fromkeys(declared))
    known_keys(given, set(declared), "the given inputs")
    inputs = Known(dict.fromkeys(declared))
    for name, about in declared.items():
        value = to_text(given.get(name, about.get("default")))
        options = {"boolean": ["true", "false"]}.get(about.get("type"), about.get("options"))
        if about.get("type") == "boolean":
            value = value or "false"
        if about.get("required") and not value:
            raise WorkflowError(f"the input {name} is required")
        if options and value not in map(to_text, options):
            raise WorkflowError(f"the input {name} is one of {options}, not {value!r}")
        inputs[name] = value == "true" if about.get("type") == "boolean" else value
    return inputs


def pairs(file: Path) -> dict[str, str]:
    """What a step wrote: lines of name=value, or name<<END, lines of the value, END."""
    found: dict[str, str] = {}
    lines = file.read_bytes().decode("utf-8", "replace").split("\n")
    while lines:
        line = lines.pop(0)
        if not line:
            continue
        name, sign, value = re.match("(.*?)(=|<<|$)(.*)", line, re.S).groups()
        if not name or not sign or (sign == "<<" and not value):
            raise ActionError(f"Invalid format {line!r} in {file.name}")
        if sign == "<<":
            if value not in lines:
                raise ActionError(f"Matching delimiter not found {value!r} in {file.name}")
            end = lines.index(value)
            value, lines = "\n".join(lines[:end]), lines[end + 1 :]
        found[name] = value
    return found
