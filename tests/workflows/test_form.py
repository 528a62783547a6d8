"""What every workflow in .github/ must keep to, besides what zizmor finds in `make lint`."""

import re
from collections.abc import Callable, Iterator, Mapping

import pytest
from conftest import REPOSITORY
from ruamel.yaml import YAML

WORKFLOWS = {
    path.name: path.read_text("utf-8")
    for path in sorted((REPOSITORY / ".github/workflows").glob("*.y*ml"))
}
PINNED = re.compile(r"^\s*(?:- )?uses: ([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$", re.M)


def parsed(text: str) -> dict:
    return YAML(typ="safe", pure=True).load(text)  # YAML 1.2, in which `on` is a word


def steps(text: str) -> Iterator[dict]:
    for job in parsed(text)["jobs"].values():
        yield from job.get("steps", [])


def unpinned(text: str) -> list[str]:
    """Actions that are not named by a full commit with its version beside it."""
    pinned = {f"{action}@{commit}" for action, commit, _ in PINNED.findall(text)}
    jobs = parsed(text)["jobs"].values()
    used = [part["uses"] for part in (*jobs, *steps(text)) if "uses" in part]
    loose = [uses for uses in used if uses not in pinned and not uses.startswith("./")]
    written = len(re.findall(r"\buses:", text)) - sum(uses.startswith("./") for uses in used)
    return loose or ["a version is missing"] * (written != len(PINNED.findall(text)))


def with_two_commits(text: str, others: Mapping[str, str] = WORKFLOWS) -> list[str]:
    """Actions of which there are two commits, or two versions, in this workflow and all others."""
    found: dict[str, set] = {}
    for content in (text, *others.values()):
        for action, commit, version in PINNED.findall(content):
            found.setdefault(action, set()).add((commit, version))
    return [action for action, commits in found.items() if len(commits) > 1]


def too_many_rights(text: str) -> list[str]:
    """Rights beyond reading, unless a job names them one by one."""
    workflow = parsed(text)
    found = [] if workflow.get("permissions") == {"contents": "read"} else ["the workflow"]
    for name, job in workflow["jobs"].items():
        if not isinstance(job.get("permissions", {}), dict):
            found.append(name)
    return found


def endless(text: str) -> list[str]:
    """Jobs without a time limit."""
    jobs = parsed(text)["jobs"]
    return [
        name for name, job in jobs.items() if "uses" not in job and "timeout-minutes" not in job
    ]


def keeping_credentials(text: str) -> list[str]:
    """Checkouts that leave a token on the disk."""
    return [
        step["uses"]
        for step in steps(text)
        if step.get("uses", "").startswith("actions/checkout@")
        and step.get("with", {}).get("persist-credentials") is not False
    ]


def unbounded(text: str) -> list[str]:
    """A workflow whose runs do not wait for each other."""
    concurrency = parsed(text).get("concurrency")
    is_bounded = isinstance(concurrency, dict) and {"group", "cancel-in-progress"} <= set(
        concurrency
    )
    return [] if is_bounded else ["the workflow"]


RULES = (
    unpinned,
    with_two_commits,
    too_many_rights,
    endless,
    keeping_credentials,
    unbounded,
)

A, B = "a" * 40, "b" * 40
EXAMPLE = f"""
on:
  push:
permissions:
  contents: read
concurrency:
  group: g
  cancel-in-progress: false
jobs:
  one:
    runs-on: ubuntu-latest
    timeout-minutes: 5
    permissions:
      contents: write
    steps:
      - uses: actions/checkout@{A} # v1.2.3
        with:
          persist-credentials: false
      - name: Another
        uses: actions/other/part@{B} # v1.0.0
      - name: Say it
        env:
          NAME: ${{{{ github.ref_name }}}}
        run: |
          echo "$NAME"
"""


def test_what_may_comment_runs_the_default_branchs_code():
    (checkout,) = (
        step for step in steps(WORKFLOWS["comment.yml"]) if "checkout" in step.get("uses", "")
    )
    assert set(checkout["with"]) == {"persist-credentials"}  # no ref, no repository


def test_what_workflows_make_is_a_target():
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M)
    scripts = [step.get("run", "") for text in WORKFLOWS.values() for step in steps(text)]
    made = re.findall(r"\bmake ([a-z-]+)", "\n".join(scripts))
    assert {"lint", "test-all", "repro"} <= set(made) <= set(targets)


def test_there_are_workflows():
    assert "release.yml" in WORKFLOWS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_workflow_is(rule, name):
    assert rule(WORKFLOWS[name]) == []


@pytest.mark.parametrize(
    "rule, part, instead",
    [
        (unpinned, f"checkout@{A} # v1.2.3", "checkout@v1"),
        (unpinned, f"checkout@{A} # v1.2.3", f"checkout@{A}"),
        (unpinned, f"checkout@{A} # v1.2.3", f"checkout@{A} # v1"),
        (unpinned, f"checkout@{A} # v1.2.3", f"checkout@{A[:12]} # v1.2.3"),
        (unpinned, f"checkout@{A} # v1.2.3", f"other/part@{B}"),
        (unpinned, "- name: Another\n        uses", "- {uses: actions/x@v1}\n      - uses"),
        (with_two_commits, f"other/part@{B}", f"checkout@{B}"),
        (with_two_commits, f"other/part@{B}", f"checkout@{A}"),  # v1.0.0 of the commit of v1.2.3
        (too_many_rights, "\npermissions:\n  contents: read", ""),
        (too_many_rights, "\n  contents: read", "\n  contents: read\n  issues: write"),
        (too_many_rights, "\n  contents: read", "\n  contents: write"),
        (too_many_rights, "permissions:\n      contents: write", "permissions: write-all"),
        (endless, "    timeout-minutes: 5\n", ""),
        (keeping_credentials, "persist-credentials: false", "persist-credentials: true"),
        (keeping_credentials, "persist-credentials: false", "fetch-depth: 1"),
        (unbounded, "concurrency:\n  group: g\n  cancel-in-progress: false\n", ""),
        (unbounded, "  cancel-in-progress: false\n", ""),
    ],
)
def test_a_rule_finds_what_breaks_it_and_nothing_else(
    rule: Callable[..., list[str]], part: str, instead: str
):
    def found(text: str) -> list[str]:
        return rule(text, {}) if rule is with_two_commits else rule(text)

    assert found(EXAMPLE) == []
    assert EXAMPLE.count(part) == 1
    assert len(found(EXAMPLE.replace(part, instead))) == 1
