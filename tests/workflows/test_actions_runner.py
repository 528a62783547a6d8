"""The interpreter of workflows that other tests rely on."""

import json
import subprocess
import sys
import textwrap
import time
from datetime import date
from pathlib import Path

import pytest
from actions_expressions import Expression, ExpressionError, Known, interpolate, to_text
from actions_runner import Run, Runner
from actions_workflow import WorkflowError
from conftest import git
from gh_stub import read_gh_calls, write_gh_stub
from layered_venv import layered_venv

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="it runs the Linux jobs, in bash and in process groups"
)

HOSTILE = "\"; touch pwned; $(touch pwned2) `touch pwned3`\n' ${{ github.sha }}\r\\ %s é \n"


def commit(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", name)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A bare repository: three commits on main, one on side, a tag, a pull request's merge."""
    folder = tmp_path_factory.mktemp("source")
    git(folder, "init", "-q", "-b", "main")
    (folder / "src/nomosaurus").mkdir(parents=True)
    (folder / "src/nomosaurus/__init__.py").write_text("WHERE = __file__\n")
    commit(folder, "first.txt", "1")
    git(folder, "tag", "v1")
    commit(folder, "second.txt", "2")
    git(folder, "checkout", "-qb", "side")
    commit(folder, "side.txt", "s")
    git(folder, "checkout", "-q", "main")
    commit(folder, "third.txt", "3")
    bare = tmp_path_factory.mktemp("origin") / "origin.git"
    git(folder, "clone", "-q", "--bare", str(folder), str(bare))
    git(bare, "update-ref", "refs/pull/7/merge", "refs/heads/side")
    return bare


@pytest.fixture
def runner(origin, tmp_path) -> Runner:
    return Runner(origin, tmp_path / "runs")


def workflow(steps: str, job: str = "", top: str = "on: push") -> str:
    """A workflow of the job `a` with these steps."""
    head = f"{textwrap.dedent(top).strip()}\njobs:\n  a:\n    runs-on: ubuntu-24.04\n"
    job = textwrap.indent(textwrap.dedent(job).strip(), "    ")
    steps = textwrap.indent(textwrap.dedent(steps).strip(), "      ")
    return f"{head}{job}\n    steps:\n{steps}\n"


def push(runner: Runner, steps: str, job: str = "", top: str = "on: push", **arguments) -> Run:
    return runner.run(workflow(steps, job, top), event="push", **arguments)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'It''s'", "It's"),
        ("-2.5e1", -25),
        ("0xff", 255),
        ("null", None),
        ("true && 'yes' || 'no'", "yes"),
        ("'' && 'yes' || 'no'", "no"),
        ("false || 0", 0),
        ("!'' == true", True),
        ("'Main' == 'mAIN'", True),
        ("'1' == 1", True),
        ("'' == 0", True),
        ("null == 0", True),
        ("null == ''", True),
        ("true == 'true'", False),
        ("'a' == 0", False),
        ("1 < 2 == true", True),
        ("(1 > 2) || (2 >= 2)", True),
        ("'a' < 'B'", True),
        ("contains('Hello', 'hell')", True),
        ("contains(fromJSON('[\"push\", 1]'), 'PUSH')", True),
        ("startsWith('refs/tags/v1', 'refs/tags/')", True),
        ("endsWith('a.PNG', '.png')", True),
        ("format('{1} {{{0}}}', 'a', 2)", "2 {a}"),
        ("join(fromJSON('[1, true, null]'), '-')", "1-true-"),
        ("toJSON(x.flags)", '{\n  "a": true\n}'),
        ("x.flags.a", True),
        ("x['flags']['a']", True),
        ("x.list[1]", "two"),
        ("x.list[9]", None),
        ("x.none.of.these", None),
        ("x.labels.*.name", ["one", "two"]),
        ("contains(x.labels.*.name, 'two')", True),
        ('fromJSON(\'{"deep": [{"n": 3}]}\').deep[0].n', 3),
        ("x.list == x.list", True),
        ("false && fromJSON('no JSON')", False),
    ],
)
def test_an_expression_has_the_value_that_github_gives_it(expression, value):
    labels = [{"name": "one"}, {"name": "two"}, {}]
    x = {"flags": {"a": True}, "list": [1, "two"], "labels": labels}
    found = Expression(expression, {"x": x})()
    assert found == value
    assert type(found) in (type(value), float) or isinstance(found, list)


@pytest.mark.parametrize(
    "expression",
    [
        "gihub.ref",
        "github.reff",
        "github['reff']",
        "false && github.reff",
        "containz('a', 'b')",
        '"double"',
        "1 +",
        "(1",
        "'open",
        "1 2",
        "github.",
        "",
        "format('{1}', 'a')",
    ],
)
def test_a_typing_error_in_an_expression_is_an_error(expression):
    with pytest.raises(ExpressionError):
        Expression(expression, {"github": Known(ref="refs/heads/main")})()


def test_a_lone_expression_keeps_its_type_and_others_become_text():
    contexts = {"x": {"yes": True, "n": 3.0, "text": "}} ${{ x.n }}"}}
    assert interpolate("${{ x.yes }}", contexts) is True
    assert interpolate("${{ x.yes }}-${{ x.n }}${{ x.none }}", contexts) == "true-3"
    assert interpolate("<${{ format('}}{0}', x.text) }}>", contexts) == "<}}} ${{ x.n }}>"
    assert interpolate({"a": ["${{ x.n }}", 1]}, contexts) == {"a": [3, 1]}
    assert [to_text(x) for x in (None, False, 0.1, [1], {})] == [
        "",
        "false",
        "0.1",
        "Array",
        "Object",
    ]
    with pytest.raises(ExpressionError, match="not closed"):
        interpolate("${{ x.yes }", contexts)
    with pytest.raises(ExpressionError, match="in quotes"):
        to_text(date(2026, 1, 2))  # as YAML reads 2026-01-02


def test_a_failing_step_ends_the_job_but_for_steps_that_ask_for_it(runner):
    result = push(
        runner,
        """
        - {id: good, run: echo good}
        - {id: bad, run: echo before; exit 3; echo after}
        - {id: later, run: echo later}
        - {id: on-failure, if: failure(), run: echo mended}
        - {id: on-success, if: "success() || github.ref == ''", run: "true"}
        - {id: always, if: "${{ always() && steps.bad.outcome == 'failure' }}", run: "true"}
        - {id: implied, if: "steps.bad.outcome == 'failure'", run: "true"}
        """,
    )
    job = result.jobs["a"]
    assert result.outcome == job.outcome == "failure"
    assert {step.id: step.outcome for step in job.steps} == {
        "good": "success",
        "bad": "failure",
        "later": "skipped",
        "on-failure": "success",
        "on-success": "skipped",
        "always": "success",
        "implied": "skipped",
    }
    assert job.step("bad").exit_code == 3
    assert job.step("bad").output == "before\n"
    assert job.step("bad").script == "echo before; exit 3; echo after"


def test_continue_on_error_changes_the_conclusion_and_not_the_outcome(runner):
    result = push(
        runner,
        """
        - {id: bad, run: "false", continue-on-error: true}
        - run: echo ${{ steps.bad.outcome }} ${{ steps.bad.conclusion }} ${{ job.status }}
        """,
    )
    assert result.outcome == "success"
    assert result.jobs["a"].steps[1].output == "failure success success\n"


@pytest.mark.parametrize(
    "part",
    [
        "- {run: 'echo ${{ steps.two.outputs.x }}', id: one}",  # no such step
        "- {run: 'echo ${{ steps.one.output.x }}', id: one}",
        "- {run: 'echo ${{ needs.b.result }}'}",
        "- {run: 'echo ${{ inputs.names }}'}",
        "- {run: 'echo', if: 'false && unknown'}",
        "- {run: 'exit 1'}\n- {run: 'echo ${{ skipped.too }}'}",
        "- {run: 'echo', if: 'secrets.TOKEN != null'}",  # as on GitHub
        "- {run: 'echo', if: \"${{ github.ref }} == 'x'\"}",  # always true on GitHub
        "- {run: 'echo', iff: 'true'}",
        "- {run: 'echo', shell: fish}",
        "- {uses: 'someone/unknown@v1'}",
        "- {uses: 'actions/checkout@v4', with: {fetchdepth: 0}}",
        "- {uses: 'actions/cache@v4', with: {path: x}}",
        "- {uses: 'actions/checkout@v4', run: 'echo'}",
    ],
)
def test_a_typing_error_in_a_workflow_is_an_error_even_in_a_step_that_is_skipped(runner, part):
    with pytest.raises((WorkflowError, ExpressionError)):
        push(runner, part)


def test_job_level_typing_errors_are_errors(runner):
    for job in (
        "tiemout-minutes: 3",
        "env: {A: '${{ env.B }}'}",
        "needs: b",
        "if: steps.x.outcome",
    ):
        with pytest.raises((WorkflowError, ExpressionError)):
            push(runner, "- run: echo", job)
    with pytest.raises(WorkflowError, match="no such runner"):
        runner.run(workflow("- run: echo").replace("ubuntu", "ubunut"), event="push")
    with pytest.raises(WorkflowError, match="not started by"):
        runner.run(workflow("- run: echo"), event="pull_request")


def test_a_hostile_input_arrives_byte_for_byte_by_way_of_the_environment(runner):
    top = "on: {workflow_dispatch: {inputs: {note: {type: string}}}}"
    steps = """
    - shell: bash
      env: {NOTE: "${{ inputs.note }}"}
      run: |
        printf %s "$NOTE" > note
        { echo 'note<<END-8215'; printf '%s\\n' "$NOTE"; echo END-8215; } >> "$GITHUB_OUTPUT"
      id: write
    - run: printf %s "$NOTE" > again
      env: {NOTE: "${{ steps.write.outputs.note }}"}
    """
    result = runner.run(
        workflow(steps, top=top), event="workflow_dispatch", inputs={"note": HOSTILE}
    )
    folder = result.jobs["a"].workspace
    assert result.outcome == "success"
    assert (folder / "note").read_bytes() == (folder / "again").read_bytes() == HOSTILE.encode()
    assert sorted(path.name for path in folder.iterdir()) == ["again", "note"]


def test_a_hostile_input_pasted_into_a_script_is_executed_as_it_would_be(runner):
    top = "on: {workflow_dispatch: {inputs: {note: {}}}}"
    result = runner.run(
        workflow('- run: echo "${{ inputs.note }}"', top=top),
        event="workflow_dispatch",
        inputs={"note": 'x"; touch pwned; echo "$(touch pwned2)\ntouch pwned3'},
    )
    folder = result.jobs["a"].workspace
    assert {path.name for path in folder.iterdir()} >= {"pwned", "pwned2"}


def test_dispatch_inputs_are_checked_and_have_their_defaults(runner):
    top = """
    on:
      push:
      workflow_dispatch:
        inputs:
          force: {type: boolean, default: false}
          size: {type: choice, options: [small, large], default: small}
          why: {required: true}
          epochs: {type: number, default: 3}
    """
    text = workflow(
        """
        - run: echo "${{ inputs.force }} $SIZE ${{ inputs.epochs }} ${{ github.event.inputs.why }}"
          env: {SIZE: "${{ inputs.size }}"}
        - {id: forced, if: inputs.force, run: "true"}
        - {id: pasted, if: github.event.inputs.force, run: "true"}
        - {run: cat "$GITHUB_EVENT_PATH"}
        """,
        top=top,
    )
    result = runner.run(text, event="workflow_dispatch", inputs={"why": "so"})
    steps = result.jobs["a"].steps
    assert steps[0].output == "false small 3 so\n"
    assert [step.outcome for step in steps[1:3]] == ["skipped", "success"]  # 'false' is true
    event = json.loads(steps[3].output)
    assert event["inputs"] == {"force": "false", "size": "small", "why": "so", "epochs": "3"}
    assert runner.run(text, event="push").jobs["a"].steps[0].output == "   \n"
    for wrong in ({}, {"why": "so", "size": "medium"}, {"why": "so", "forced": "true"}):
        with pytest.raises(WorkflowError):
            runner.run(text, event="workflow_dispatch", inputs=wrong)


def test_the_shell_is_the_runners(runner):
    result = push(
        runner,
        """
        - {uses: actions/setup-python@v5, with: {python-version: "3.12"}}
        - {id: plain, run: "false | true; echo on"}
        - {id: python, shell: python, run: print(1 + 1)}
        - {id: bash, shell: bash, run: "shopt -po pipefail; false | true; echo on"}
        """,
    )
    outputs = {step.id: step.output for step in result.jobs["a"].steps if step.id}
    assert outputs == {"plain": "on\n", "python": "2\n", "bash": "set -o pipefail\n"}
    assert result.outcome == "failure"
    everywhere = "defaults: {run: {shell: bash}}"
    for job, top in ((everywhere, "on: push"), ("", f"on: push\n{everywhere}")):
        assert push(runner, "- run: false | true", job, top).outcome == "failure"


def test_steps_run_in_the_working_directory(runner):
    result = push(
        runner,
        """
        - run: mkdir 'a b' && pwd
          working-directory: .
        - run: pwd
        - run: pwd
          working-directory: none
        """,
        "defaults: {run: {working-directory: a b}}",
    )
    job = result.jobs["a"]
    assert [step.output for step in job.steps[:2]] == [
        f"{job.workspace}\n",
        f"{job.workspace}/a b\n",
    ]
    assert job.steps[2].outcome == "failure"
    assert "does not exist" in job.steps[2].output


def test_environments_are_merged_and_every_value_is_text(runner):
    result = push(
        runner,
        """
        - run: |
            echo "$A $B $C $D $E $F"
            echo C=file >> "$GITHUB_ENV"
            echo D=file >> "$GITHUB_ENV"
          env: {C: step, E: "${{ env.A }}", F: 1.50}
        - run: echo "$A $B $C $D [$E] ${{ env.C }}"
          env: {D: step}
        - run: "true"
          if: env.OWN == 'yes'
          env: {OWN: "yes"}
        """,
        'env: {B: job, C: job, D: "${{ null }}"}',
        "on: push\nenv: {A: top, B: top}",
    )
    outputs = [step.output for step in result.jobs["a"].steps]
    assert outputs[:2] == ["top job step  top 1.5\n", "top job file step [] file\n"]
    assert result.jobs["a"].steps[2].outcome == "success"


def test_a_step_has_githubs_variables_and_none_of_the_tests_own(runner, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "GIT_DIR", "PYTEST_X", "PYTHONPATH", "OTHER"):
        monkeypatch.setenv(name, "outside")
    runner.extra_env = {"GIVEN": "1"}
    result = push(runner, "- run: env -0", ref="refs/tags/v1", secrets={"TOKEN": "t"})
    lines = result.jobs["a"].steps[0].output.split("\0")
    found = dict(line.split("=", 1) for line in lines if line)
    job = result.jobs["a"]
    expected = {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(job.workspace),
        "GITHUB_REPOSITORY": "someone/nomosaurus",
        "GITHUB_REF": "refs/tags/v1",
        "GITHUB_REF_NAME": "v1",
        "GITHUB_REF_TYPE": "tag",
        "GITHUB_SHA": git(runner.origin, "rev-parse", "v1"),
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_RUN_ID": result.id,
        "GITHUB_SERVER_URL": "https://github.com",
        "RUNNER_OS": "Linux",
        "LANG": "C.UTF-8",
        "GIVEN": "1",
    }
    assert expected.items() <= found.items()
    assert "outside" not in found.values()
    others = {
        name
        for name in found.keys() - expected.keys()
        if not name.startswith(("GITHUB_", "RUNNER_"))
    }
    assert others <= {"PATH", "HOME", "PWD", "SHLVL", "_", "GIT_CONFIG_NOSYSTEM"}
    assert not {"GITHUB_TOKEN", "GITHUB_EVENT"} & found.keys()


def test_what_steps_write_for_the_runner_is_read_after_each(runner):
    result = push(
        runner,
        r"""
        - id: one
          run: |
            echo "a=1=<<2" >> "$GITHUB_OUTPUT"
            printf 'b<<END\nx\n\n y=z \nEND\nempty=\n' >> "$GITHUB_OUTPUT"
            echo '# One' >> "$GITHUB_STEP_SUMMARY"
            mkdir bin && printf '#!/bin/sh\necho tool' > bin/tool && chmod +x bin/tool
            echo "$PWD/bin" >> "$GITHUB_PATH"
        - run: tool; wc -c < "$GITHUB_OUTPUT"; echo two >> "$GITHUB_STEP_SUMMARY"
        """,
        "outputs: {a: '${{ steps.one.outputs.a }}', token: '${{ secrets.TOKEN }}!'}",
        secrets={"TOKEN": "secret"},
    )
    job = result.jobs["a"]
    assert job.step("one").outputs == {"a": "1=<<2", "b": "x\n\n y=z ", "empty": ""}
    assert job.steps[1].output == "tool\n0\n"
    assert job.summary == "# One\ntwo\n"
    assert job.outputs == {"a": "1=<<2", "token": ""}  # GitHub passes no secret on


def test_a_summary_over_githubs_limit_is_left_out(runner):
    steps = """
    - run: head -c 1048577 /dev/zero | tr '\\0' x > "$GITHUB_STEP_SUMMARY"
    - run: echo small > "$GITHUB_STEP_SUMMARY"
    """
    job = push(runner, steps).jobs["a"]
    assert job.outcome == "success"
    assert job.summary == "small\n"
    assert "left out" in job.steps[0].output


@pytest.mark.parametrize("line", ["no sign", "=value", "a<<", "a<<END\\nx"])
def test_a_malformed_line_for_the_runner_fails_the_step(runner, line):
    result = push(runner, f'- run: printf "{line}\\n" >> "$GITHUB_OUTPUT"')
    assert result.outcome == "failure"
    assert "Error: " in result.jobs["a"].steps[0].output


def test_a_step_over_its_time_is_ended_with_its_children(runner):
    runner.timeout = 0.3
    result = push(runner, "- run: echo start; sleep 60 & sleep 60\n- run: 'true'")
    steps = result.jobs["a"].steps
    assert [step.outcome for step in steps] == ["failure", "skipped"]
    assert steps[0].output.startswith("start\nError: ended after")


def test_a_job_over_its_time_is_cancelled_and_still_runs_what_always_runs(runner):
    result = push(
        runner,
        """
        - run: sleep 60
        - {if: failure(), run: "true"}
        - {if: always(), run: "true"}
        - {if: cancelled(), run: "true"}
        """,
        "timeout-minutes: 0.005",
    )
    assert result.outcome == "cancelled"
    outcomes = [step.outcome for step in result.jobs["a"].steps]
    assert outcomes == ["cancelled", "skipped", "success", "success"]


def test_a_process_left_in_the_background_lasts_until_the_job_ends(runner):
    result = push(
        runner,
        """
        - run: sleep 60 & echo pid=$! >> "$GITHUB_ENV"
        - run: kill -0 "$pid" && echo "$pid" > pid
        """,
    )
    job = result.jobs["a"]
    assert job.outcome == "success"
    state = Path(f"/proc/{(job.workspace / 'pid').read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().split(")")[1].split()[0] not in "ZX":
        assert time.monotonic() < deadline
        time.sleep(0.01)


JOBS = """
on: push
jobs:
  last:
    needs: [middle]
    runs-on: ubuntu-24.04
    steps: [{run: "true"}]
  middle:
    needs: first
    if: ${{ !cancelled() }}
    runs-on: ubuntu-24.04
    steps: [{run: "echo '${{ needs.first.result }} [${{ needs.first.outputs.x }}]'"}]
  first:
    if: github.event.first
    runs-on: ubuntu-24.04
    outputs: {x: "${{ steps.x.outputs.x }}"}
    steps: [{id: x, run: "echo x=7 >> $GITHUB_OUTPUT; exit ${{ github.event.code || 0 }}"}]
  mend:
    needs: [last, first]
    if: failure()
    runs-on: ubuntu-24.04
    steps: [{run: "true"}]
"""


@pytest.mark.parametrize(
    ("payload", "outcomes", "seen"),
    [
        ({"first": True}, ["success", "success", "success", "skipped"], "success [7]"),
        ({"first": True, "code": 1}, ["failure", "success", "skipped", "success"], "failure [7]"),
        ({}, ["skipped", "success", "skipped", "skipped"], "skipped []"),
    ],
)
def test_jobs_run_in_the_order_of_their_needs_and_look_at_all_before_them(
    runner, payload, outcomes, seen
):
    result = runner.run(JOBS, event="push", event_payload=payload)
    names = ["first", "middle", "last", "mend"]
    assert [result.jobs[name].outcome for name in names] == outcomes
    assert result.jobs["middle"].steps[0].output == seen + "\n"
    assert list(result.jobs).index("middle") < list(result.jobs).index("last")


def test_what_is_skipped_is_not_evaluated(runner):
    text = """
on: push
jobs:
  a:
    runs-on: ubuntu-24.04
    outputs: {list: "${{ steps.list.outputs.list }}"}
    steps:
      - {id: list, run: "echo list=$LIST >> $GITHUB_OUTPUT", env: {LIST: "${{ vars.LIST }}"}}
      - run: echo ${{ fromJSON(steps.list.outputs.list)[0] }}
        if: steps.list.outputs.list != ''
  b:
    needs: a
    if: needs.a.outputs.list
    strategy: {matrix: {x: "${{ fromJSON(needs.a.outputs.list) }}"}}
    env: {FIRST: "${{ fromJSON(needs.a.outputs.list)[0] }}"}
    runs-on: ubuntu-24.04
    steps: [{run: "echo $FIRST ${{ matrix.x }}"}]
"""
    without = runner.run(text, event="push").jobs
    assert {name: job.outcome for name, job in without.items()} == {"a": "success", "b": "skipped"}
    jobs = runner.run(text, event="push", vars={"LIST": "[1,2]"}).jobs
    assert [job.steps[-1].output for job in jobs.values()] == ["1\n", "1 1\n", "1 2\n"]


def test_only_some_jobs_and_those_they_need_may_be_run(runner):
    result = runner.run(JOBS, event="push", only=["middle"])
    assert set(result.jobs) == {"first", "middle"}


def test_a_matrix_runs_every_combination_on_linux(runner):
    job = """
    strategy:
      matrix:
        os: [ubuntu-24.04, macos-14, "${{ vars.RUNNER || 'ubuntu-22.04' }}"]
        python: ["3.11", "3.12"]
        exclude: [{os: macos-14, python: "3.11"}]
        include: [{python: "3.12", extra: 1}, {os: windows-2025, python: "3.13"}]
    """
    text = workflow(
        "- run: echo ${{ matrix.os }} ${{ matrix.python }} ${{ matrix.extra }}", job
    ).replace("runs-on: ubuntu-24.04", "runs-on: ${{ matrix.os }}")
    result = runner.run(text, event="push", vars={"RUNNER": "our-gpu"})
    assert {name: job.outcome for name, job in result.jobs.items()} == {
        "a (ubuntu-24.04, 3.11)": "success",
        "a (ubuntu-24.04, 3.12, 1)": "success",
        "a (macos-14, 3.12, 1)": "not run (os)",
        "a (our-gpu, 3.11)": "success",
        "a (our-gpu, 3.12, 1)": "success",
        "a (windows-2025, 3.13)": "not run (os)",
    }
    assert result.jobs["a (our-gpu, 3.12, 1)"].steps[0].output == "our-gpu 3.12 1\n"
    assert result.outcome == "success"


@pytest.mark.parametrize(
    ("event", "ref", "given", "branch", "files"),
    [
        ("push", "refs/heads/main", {}, "main", "first second third"),
        ("push", "refs/tags/v1", {}, "", "first"),
        ("push", "refs/heads/main", {"ref": "side"}, "side", "first second side"),
        ("push", "refs/heads/main", {"ref": "v1"}, "", "first"),
        ("push", "refs/heads/main", {"ref": "${{ github.event.sha }}"}, "", "first second"),
        ("pull_request", "refs/pull/7/merge", {}, "", "first second side"),
        ("push", "refs/heads/main", {"fetch-depth": 0}, "main", "first second third"),
        ("push", "refs/heads/main", {"path": "sub"}, "main", "first second third"),
    ],
)
def test_a_checkout_is_as_deep_and_on_the_branch_that_it_would_be(
    runner, event, ref, given, branch, files
):
    steps = f"""
    - run: touch left-over
    - uses: actions/checkout@{"0" * 40} # v5
      with: {json.dumps(given)}
    - run: ls *.txt; echo "$(git branch --show-current)"; git log --oneline | wc -l; git tag
      working-directory: {given.get("path", ".")}
    """
    second = git(runner.origin, "rev-parse", "main~1")
    result = runner.run(
        workflow(steps, top="on: [push, pull_request]"),
        event=event,
        ref=ref,
        event_payload={"sha": second},
    )
    assert result.outcome == "success", result.jobs["a"].steps[1].output
    depth = 3 if given.get("fetch-depth") == 0 else 1
    tags = ["v1"] if "v1" in (ref[-2:], given.get("ref")) or depth == 3 else []
    names = [f"{name}.txt" for name in files.split()]
    expected = [*names, branch, str(depth), *tags]
    assert result.jobs["a"].steps[2].output.splitlines() == expected
    remote = (result.jobs["a"].workspace / given.get("path", "") / ".git/config").read_text()
    assert f"url = {runner.origin.as_uri()}" in remote


def test_a_checkout_of_what_is_not_there_fails_and_of_another_repository_is_refused(runner):
    missing = push(runner, "- {uses: actions/checkout@v5, with: {ref: no-such-branch}}")
    assert missing.outcome == "failure"
    with pytest.raises(NotImplementedError):
        push(runner, "- {uses: actions/checkout@v5, with: {repository: other/one}}")


def test_a_job_commits_under_a_name_it_sets_and_pushes_to_the_origin(origin, tmp_path):
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(origin), str(bare))
    result = push(
        Runner(bare, tmp_path / "runs"),
        """
        - uses: actions/checkout@v5
        - {id: nameless, run: git commit --allow-empty -m x, continue-on-error: true}
        - run: |
            git config user.name robot
            git config user.email robot@example.invalid
            git commit --allow-empty -m pushed
            git push origin HEAD:refs/heads/new
        - run: git push "https://x-access-token:$TOKEN@github.com/$GITHUB_REPOSITORY" HEAD:other
          env: {TOKEN: "${{ secrets.GITHUB_TOKEN }}"}
        """,
    )
    job = result.jobs["a"]
    assert job.outcome == "success", job.steps[-1].output
    assert job.step("nameless").outcome == "failure"
    assert git(bare, "log", "-1", "--format=%an %s", "new") == "robot pushed"
    assert git(bare, "rev-parse", "other") == git(bare, "rev-parse", "new")


CACHING = """
- uses: actions/cache@v4
  id: cache
  with:
    path: |
      kept
      ~/.tool
    key: ${{ github.event.key }}
    restore-keys: |
      k-
- run: mkdir -p kept ~/.tool; touch ~/.tool/x; ls kept; echo > kept/${{ github.event.key }}
- run: exit ${{ github.event.code || 0 }}
- run: echo "[$HIT]"
  if: always()
  env: {HIT: "${{ steps.cache.outputs.cache-hit }}"}
"""


def test_a_cache_is_saved_once_by_a_job_that_succeeds_and_found_by_key_or_its_start(runner):
    seen = []
    for key, code in (("j-1", 0), ("k-1", 1), ("k-2", 0), ("k-3", 0), ("k-4", 0), ("k-2", 0)):
        result = push(runner, CACHING, event_payload={"key": key, "code": code})
        steps = result.jobs["a"].steps
        seen.append((steps[1].output.split(), steps[3].output.strip()))
    assert seen == [
        ([], "[]"),
        ([], "[]"),
        ([], "[]"),  # the failed job left nothing
        (["k-2"], "[false]"),
        (["k-2", "k-3"], "[false]"),  # the newest
        (["k-2"], "[true]"),
    ]
    assert [cache.key for cache in runner.store.caches] == ["j-1", "k-2", "k-3", "k-4"]


def test_a_branch_finds_its_own_caches_and_the_default_branches_only(runner):
    for ref, expected in (("side", ""), ("main", ""), ("side", "true"), ("main", "true")):
        result = push(runner, CACHING, event_payload={"key": "j"}, ref=f"refs/heads/{ref}")
        assert result.jobs["a"].steps[3].output == f"[{expected}]\n"
    pull = "on: [push, pull_request]"
    for target, expected in (("main", "true"), ("side", "true")):
        payload = {"key": "j", "pull_request": {"base": {"ref": target}, "head": {"ref": "x"}}}
        result = runner.run(
            workflow(CACHING, top=pull),
            event="pull_request",
            ref="refs/pull/7/merge",
            event_payload=payload,
        )
        assert result.jobs["a"].steps[3].output == f"[{expected}]\n"


def test_a_cache_may_be_restored_and_saved_in_steps_of_their_own(runner):
    steps = """
    - id: cache
      uses: actions/cache/restore@v4
      with: {path: f, key: "k${{ hashFiles('*.txt') }}"}
    - run: echo "${{ steps.cache.outputs.cache-matched-key }}" >> f
    - {uses: actions/cache/save@v4, with: {path: f, key: "${{ github.event.key }}"}}
    - run: exit 1
    """
    for _ in range(2):
        push(runner, steps, event_payload={"key": "same"})
    (cache,) = runner.store.caches
    assert cache.key == "same"
    wanting = "with: {path: f, key: none, fail-on-cache-miss: true}"
    assert push(runner, f"- uses: actions/cache/restore@v4\n  {wanting}").outcome == "failure"


def test_the_hash_of_files_tells_their_content_and_none_is_empty(runner):
    steps = """
    - run: mkdir -p a/b && echo 1 > a/b/x.lock && echo 2 > y.lock
    - run: echo "${{ hashFiles('**/*.lock') }}"
    - run: echo 3 > a/b/x.lock
    - run: echo "${{ hashFiles('**/*.lock') }} ${{ hashFiles('a/**', '!**/x.lock') }}"
    - run: echo "${{ hashFiles('y.lock') == hashFiles('*.lock') }}"
    """
    outputs = [step.output for step in push(runner, steps).jobs["a"].steps]
    assert len(outputs[1]) == 65
    assert len(outputs[3]) == 66
    assert outputs[1][:64] != outputs[3][:64]
    assert outputs[4] == "true\n"


TREE = "mkdir -p d/e/.h && touch d/1.txt d/e/2.txt d/e/3.log d/e/.hidden d/e/.h/4.txt top.txt"


@pytest.mark.parametrize(
    ("path", "more", "stored"),
    [
        ("d/e/2.txt", "", ["2.txt"]),
        ("d", "", ["1.txt", "e/2.txt", "e/3.log"]),
        ("d/e/", "include-hidden-files: true", [".h/4.txt", ".hidden", "2.txt", "3.log"]),
        ("d/**/*.txt", "", ["1.txt", "e/2.txt"]),
        ("d/*/2.txt", "", ["e/2.txt"]),
        ("d/e/?.*\n!**/*.log", "", ["2.txt"]),
        ("d/1.txt\nd/e/2.txt", "", ["1.txt", "e/2.txt"]),
        ("top.txt\nd/e/*.log", "", ["d/e/3.log", "top.txt"]),
        ("d/e/2.txt\nd/e/none.txt", "", ["2.txt"]),
        ("d/e/[12].txt", "", ["2.txt"]),
        ("none", "", None),
    ],
)  # fmt: skip
def test_an_artifact_holds_what_the_paths_have_below_what_they_share(runner, path, more, stored):
    steps = f"""
- run: {TREE}
- uses: actions/upload-artifact@v4
  with:
    name: n
    {more}
    path: |
{textwrap.indent(path, "      ")}
"""
    result = push(runner, steps)
    assert result.outcome == "success"
    folder = result.artifacts.get("n")
    found = folder and sorted(
        str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()
    )
    assert found == stored


def test_an_artifact_that_must_have_files_or_a_new_name_fails_without(runner):
    upload = "- {uses: actions/upload-artifact@v4, with: {name: n, path: f%s}}\n"
    assert push(runner, upload % ", if-no-files-found: error").outcome == "failure"
    assert push(runner, "- run: touch f\n" + upload % "" + upload % "").outcome == "failure"
    again = upload % ", overwrite: true"
    assert push(runner, "- run: touch f\n" + upload % "" + again).outcome == "success"


def test_artifacts_reach_later_jobs_and_later_runs(runner):
    text = """
on: [push, workflow_run]
jobs:
  make:
    if: github.event_name == 'push'
    runs-on: ubuntu-24.04
    steps:
      - run: echo 1 > one; echo 2 > two; chmod +x two
      - {uses: actions/upload-artifact@v4, with: {name: first, path: one}}
      - {uses: actions/upload-artifact@v4, with: {name: second, path: two}}
  take:
    needs: make
    if: ${{ !failure() }}
    runs-on: ubuntu-24.04
    env:
      RUN: ${{ github.event.workflow_run.id || github.run_id }}
    steps:
      - uses: actions/download-artifact@v4
        with:
          name: second
          path: in
          run-id: ${{ env.RUN }}
          github-token: ${{ github.token }}
      - uses: actions/download-artifact@v4
        with: {run-id: "${{ env.RUN }}", github-token: "${{ github.token }}"}
      - run: find * -type f | sort; test ! -x in/two
      - uses: actions/download-artifact@v4
        with: {name: third}
        continue-on-error: true
      - uses: actions/attest@v2
        with: {subject-path: "in/*"}
      - uses: actions/attest@v2
        with: {subject-path: "out/*"}
"""
    first = runner.run(text, event="push")
    payload = {"workflow_run": {"id": int(first.id)}}
    for result in (first, runner.run(text, event="workflow_run", event_payload=payload)):
        steps = result.jobs["take"].steps
        assert steps[2].output == "first/one\nin/two\nsecond/two\n"
        assert [step.outcome for step in steps[3:]] == ["failure", "success", "failure"]


def test_the_stub_of_gh_notes_what_it_is_given_and_answers_as_told(runner, tmp_path):
    stub = write_gh_stub(
        tmp_path / "a stub",
        [
            {"match": ["pr", "list"], "stdout": "12\n"},
            {"match": r"^api .*/labels", "exit": 1, "stderr": "no\n"},
        ],
    )
    runner.tools = (stub,)
    result = push(
        runner,
        r"""
        - run: |
            printf '%s' "$TITLE" > body.md
            test "$(gh pr list --head x)" = 12
            gh pr create --title "$TITLE" --body-file body.md
            gh pr comment 12 --body-file=- < body.md
            printf '{}' | gh api repos/x/issues --input -
            gh api repos/x/y -F body=@body.md -F n=1 || exit 9
            gh api repos/x/labels && exit 9 || true
          env: {TITLE: "${{ github.event.title }}", GH_TOKEN: "${{ github.token }}"}
        - run: gh pr list
        """,
        event_payload={"title": HOSTILE},
    )
    assert result.jobs["a"].steps[0].outcome == "success", result.jobs["a"].steps[0].output
    assert result.jobs["a"].steps[1].exit_code == 4  # no token
    calls = read_gh_calls(stub)
    assert calls[1]["argv"] == ["pr", "create", "--title", HOSTILE, "--body-file", "body.md"]
    assert calls[1]["files"] == calls[4]["files"] == {"body.md": HOSTILE}
    assert calls[2]["stdin"] == HOSTILE
    assert calls[3]["stdin"] == "{}"
    assert [call["token"] for call in calls] == [True] * 6 + [False]


def test_a_clone_has_the_commands_of_the_tests_environment_and_its_own_code(origin, tmp_path):
    def run(*command: str | Path) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, env={}).stdout

    clone = tmp_path / "a clone"
    git(tmp_path, "clone", "-q", str(origin), str(clone))
    (clone / "pyproject.toml").touch()
    layered_venv(clone, Path(sys.executable))
    layered_venv(tmp_path, clone / ".venv/bin/python")  # from one that is layered itself
    program = "import nomosaurus, torch, importlib.metadata as m; print(m.version('dvc')); "
    program += "print(nomosaurus.__file__)"
    version, where = run(clone / ".venv/bin/python", "-c", program).splitlines()
    assert where == str(clone / "src/nomosaurus/__init__.py")
    for folder in (clone, tmp_path):
        assert run(folder / ".venv/bin/dvc", "--version").strip() == version
        assert run(folder / ".venv/bin/ruff", "--version")
        assert run(folder / ".venv/bin/python", "-m", "pip", "--version")
        assert str(folder / ".venv/bin/python") in (folder / ".venv/bin/mlflow").read_text()
    ready = (clone / ".venv/.ready").stat().st_mtime_ns
    assert ready >= (clone / "pyproject.toml").stat().st_mtime_ns


def test_a_checkout_is_followed_by_the_clones_environment(origin, tmp_path):
    runner = Runner(origin, tmp_path / "runs", environment=Path(sys.executable).parent)
    result = push(
        runner,
        """
        - uses: actions/checkout@v5
        - run: .venv/bin/python -c 'import nomosaurus; print(nomosaurus.WHERE)'
        - {run: command -v dvc, continue-on-error: true}
        """,
    )
    job = result.jobs["a"]
    assert job.steps[1].output == f"{job.workspace}/src/nomosaurus/__init__.py\n"
    assert str(Path(sys.executable).parent) not in job.steps[2].output
