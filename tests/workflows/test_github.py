import json
import re
import sys

import pytest
from conftest import git
from gh_stub import read_gh_calls, write_gh_stub
from test_change import change

from nomosaurus.workflows.github import MARK, MOST_CHARACTERS, GitHubError, comment, cut, propose

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for gh is a script")

COMMIT = "c" * 40


@pytest.fixture
def gh(tmp_path, monkeypatch):
    """A stand-in for `gh`: answers what it is told to, and keeps what it was asked."""
    folder = write_gh_stub(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("GH_TOKEN", "a token")

    class Stub:
        def answers(self, *answers):
            content = [
                {"match": re.escape(words), "stdout": answer, "exit": code}
                for words, answer, code in answers
            ]
            (folder / "gh-answers.json").write_text(json.dumps(content))

        def calls(self):
            return [(call["argv"], call["stdin"]) for call in read_gh_calls(folder)]

    return Stub()


@pytest.fixture
def report(tmp_path):
    folder = tmp_path / "change"
    folder.mkdir()
    (folder / "pull_request").write_text("7\n")
    (folder / "change.json").write_text(change().as_json())
    return folder


def pull_request(commit: str = COMMIT):
    return "repos/o/r/pulls/7", json.dumps({"head": {"sha": commit}}), 0


def comments(*found):
    page = [{"id": i, "user": {"login": who}, "body": body} for i, who, body in found]
    return "issues/7/comments --paginate", json.dumps([page]), 0


def test_the_first_report_is_a_new_comment(gh, report):
    gh.answers(pull_request(), comments((1, "someone", MARK + " copied")))
    assert "comment written" in comment(report, "o/r", COMMIT, "https://example.invalid/run")
    arguments, said = gh.calls()[-1]
    assert arguments[:4] == ["api", "repos/o/r/issues/7/comments", "--method", "POST"]
    body = json.loads(said)["body"]
    assert body.startswith(MARK)
    assert change().as_markdown() in body


def test_the_next_is_written_over_it(gh, report):
    gh.answers(
        pull_request(),
        comments((1, "someone", "hello"), (2, "github-actions[bot]", MARK + "\nold")),
    )
    comment(report, "o/r", COMMIT, "https://example.invalid/run")
    arguments, _ = gh.calls()[-1]
    assert arguments[:4] == ["api", "repos/o/r/issues/comments/2", "--method", "PATCH"]


def test_a_report_on_another_commit_is_not_written(gh, report):
    # A pull request's own code wrote the number, so it may name any pull request.
    gh.answers(pull_request("d" * 40), comments())
    assert "no comment" in comment(report, "o/r", COMMIT, "https://example.invalid/run")
    assert len(gh.calls()) == 1


@pytest.mark.parametrize(
    "number", ["", "0", "-1", "7/../8", "7\n8", "7; echo", "../../user", "9" * 11, "\ud7ff٣"]
)
def test_a_number_that_is_none_reaches_no_address(gh, report, number):
    (report / "pull_request").write_text(number, "utf-8")
    with pytest.raises(GitHubError, match="must hold a number"):
        comment(report, "o/r", COMMIT, "https://example.invalid/run")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"before": "<b>"}'])
def test_a_report_that_is_none_is_one_line(gh, report, content):
    (report / "change.json").write_bytes(content)
    with pytest.raises(GitHubError, match=r"change"):
        comment(report, "o/r", COMMIT, "https://example.invalid/run")


def test_what_github_would_refuse_for_its_length_is_cut_at_a_line():
    body = "line\n" * 20_000
    assert len(cut(body)) <= 65_536
    assert cut(body).startswith("line\nline\n")
    assert cut(body).endswith("Cut here; the artifact has it all.\n")
    assert cut("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS


@pytest.fixture
def proposal(tmp_path, monkeypatch):
    """A checkout, its origin, and a folder as a retraining leaves it."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin")
    git(tmp_path, "clone", "-q", "origin", "checkout")
    checkout = tmp_path / "checkout"
    git(checkout, "switch", "-q", "-c", "main")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "first")
    git(checkout, "push", "-q", "origin", "main")
    folder = tmp_path / "retraining"
    folder.mkdir()
    branch = "retrain-0123456789ab"
    git(checkout, "switch", "-q", "-c", branch)
    git(checkout, "commit", "-q", "--allow-empty", "-m", "second")
    git(checkout, "bundle", "create", "-q", str(folder / "commits.bundle"), f"main..{branch}")
    git(checkout, "switch", "-q", "main")
    git(checkout, "branch", "-q", "-D", branch)
    wanted = {"branch": branch, "title": "Retrained: `$(touch pwned)`"}
    (folder / "pull_request.json").write_text(json.dumps(wanted))
    (folder / "summary.md").write_text("it is *better*\n")
    monkeypatch.chdir(checkout)
    return folder


def test_a_proposal_is_a_branch_with_the_commits_and_a_pull_request(gh, proposal, tmp_path):
    gh.answers(["pr create", "https://example.invalid/pull/1", 0])
    assert propose(proposal, "o/r", "main") == "Proposed: https://example.invalid/pull/1\n"
    assert git(tmp_path / "origin", "log", "-1", "--format=%s", "retrain-0123456789ab") == "second"
    (arguments, said), _ = gh.calls()[-2:]  # the last looks for older proposals
    assert arguments[arguments.index("--title") + 1] == "Retrained: `$(touch pwned)`"
    assert arguments[arguments.index("--base") + 1] == "main"
    assert said == "it is *better*\n"


def test_older_proposals_are_closed_and_nobody_elses(gh, proposal):
    opened = [
        (1, "retrain-0123456789ab", False),  # this one
        (2, "retrain-aaaaaaaaaaaa", False),
        (3, "retrain-bbbbbbbbbbbb", True),  # a stranger's branch of such a name
        (4, "a-new-cell", False),
        (5, "retrain-cccccccccccc", False),
    ]
    keys = ("number", "headRefName", "isCrossRepository")
    gh.answers(
        ["--state open", json.dumps([dict(zip(keys, one, strict=True)) for one in opened]), 0],
        ["pr create", "https://example.invalid/pull/1", 0],
        ["pr close 5", "locked", 1],
    )
    said = propose(proposal, "o/r", "main")
    assert said.startswith(
        "Proposed: https://example.invalid/pull/1\nClosed in its favour: #2\n#5 is"
    )
    closed = [call[0] for call in gh.calls() if call[0][:2] == ["pr", "close"]]
    assert [call[2] for call in closed] == ["2", "5"]
    assert closed[0][-1] == "A newer retraining takes its place: https://example.invalid/pull/1"


def test_the_same_model_is_proposed_once_even_if_it_was_turned_down(gh, proposal):
    propose(proposal, "o/r", "main")
    gh.answers(["pr list", json.dumps([{"url": "https://example.invalid/pull/1"}]), 0])
    calls = len(gh.calls())
    assert "proposed before" in propose(proposal, "o/r", "main")
    assert [call[0][:2] for call in gh.calls()[calls:]] == [["pr", "list"]]


def test_where_workflows_may_not_open_pull_requests_the_branch_is_there_with_a_link(gh, proposal):
    gh.answers(["pr create", "GitHub Actions is not permitted to create pull requests", 1])
    said = propose(proposal, "o/r", "main")
    assert "/o/r/compare/main...retrain-0123456789ab?expand=1" in said


@pytest.mark.parametrize("branch", ["main", "--force", "retrain-x", "retrain-0123456789ab:main", 7])
def test_no_other_branch_is_ever_pushed(gh, proposal, branch, tmp_path):
    (proposal / "pull_request.json").write_text(json.dumps({"branch": branch, "title": "t"}))
    with pytest.raises(GitHubError, match="branch must match"):
        propose(proposal, "o/r", "main")
    assert git(tmp_path / "origin", "branch", "--format=%(refname:short)") == "main"


def test_a_retraining_without_a_proposal_is_one_line(gh, tmp_path):
    with pytest.raises(GitHubError, match="holds no pull request"):
        propose(tmp_path, "o/r", "main")
