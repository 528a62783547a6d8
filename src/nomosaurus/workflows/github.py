"""What is written to GitHub: a pull request's sticky comment, and a pull request.

The jobs that may write install nothing, so this needs only Python, git and `gh`, which takes the
token from GH_TOKEN. Run it as `python -m nomosaurus.workflows.github comment FOLDER` or
`... propose FOLDER`.
"""

import argparse
import json
import os
import re
from pathlib import Path

from nomosaurus.errors import NomosaurusError, PipelineError, one_line_errors
from nomosaurus.tracking.programs import run
from nomosaurus.workflows.change import ChangeError, from_json

MARK = "<!-- nomosaurus: what the change did -->"
"""How the comment begins that is written anew instead of adding another."""
MOST_CHARACTERS = 65_000  # GitHub takes 65,536 in a comment or a pull request's body
BRANCH = re.compile(r"retrain-[0-9a-f]{12}")


class GitHubError(NomosaurusError):
    """What is to be written to GitHub is not what it must be."""


def comment(folder: Path, repository: str, commit: str, run_url: str) -> str:
    """Write what a change did into the pull request's comment; returns where.

    The folder comes from a job that ran the pull request's own code. Of it only numbers, keys and
    names are used, and only for a pull request whose last commit is the one that the job ran on.

    Args:
        folder: Has `pull_request`, a number, and `change.json`, as `change.from_json` takes it.
        repository: OWNER/REPO.
        commit: What GitHub says that the job ran on, 40 hexadecimal digits.
        run_url: The job's page.

    Raises:
        GitHubError: If the folder does not hold that.
        PipelineError: If GitHub refuses.
    """
    try:
        number = (folder / "pull_request").read_text("utf-8").strip()
        change = from_json((folder / "change.json").read_text("utf-8"))
    except ChangeError as error:
        raise GitHubError(f"{folder / 'change.json'} {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GitHubError(f"{folder} holds no report on a pull request: {error}") from None
    if not re.fullmatch(r"[1-9][0-9]{0,9}", number):
        raise GitHubError(f"{folder / 'pull_request'} must hold a number, got {number[:40]!r}")
    pull_request = json.loads(run("gh", "api", f"repos/{repository}/pulls/{number}"))
    if pull_request["head"]["sha"] != commit:
        return f"pull request {number} has moved on, or is not the one of {commit[:7]}: no comment"
    body = f"{MARK}\n### What this change does to the names\n\n{change.as_markdown()}"
    body += f"\n[The job]({run_url}) has the pages, and the models, as artifacts.\n"
    where, method = f"repos/{repository}/issues/{number}/comments", "POST"
    pages = run("gh", "api", where, "--paginate", "--slurp")
    mine = [
        found["id"]
        for page in json.loads(pages)
        for found in page
        if found["user"]["login"] == "github-actions[bot]" and found["body"].startswith(MARK)
    ]
    if mine:
        where, method = f"repos/{repository}/issues/comments/{mine[0]}", "PATCH"
    content = json.dumps({"body": cut(body)})
    run("gh", "api", where, "--method", method, "--input", "-", text=content)
    return f"pull request {number}: comment {'written anew' if mine else 'written'}"


def propose(folder: Path, repository: str, base: str) -> str:
    """Push the commits that `retraining.retrain` left as a branch, and open a pull request.

    Proposals of earlier retrainings that are still open are closed. Returns Markdown on the
    outcome. The repository is OWNER/REPO, `base` the branch to merge into.

    Raises:
        GitHubError: If there is nothing to propose.
        PipelineError: If git or GitHub refuses.
    """
    try:
        wanted = json.loads((folder / "pull_request.json").read_text("utf-8"))
        branch, title = wanted["branch"], wanted["title"]
        body = (folder / "summary.md").read_text("utf-8")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GitHubError(f"{folder} holds no pull request: {error}") from None
    if not isinstance(branch, str) or not BRANCH.fullmatch(branch):
        raise GitHubError(f"{folder}: the branch must match {BRANCH.pattern}, got {branch!r}")
    if not run("git", "ls-remote", "--heads", "origin", f"refs/heads/{branch}").strip():
        run("git", "fetch", str((folder / "commits.bundle").resolve()), f"{branch}:{branch}")
        run("git", "push", "origin", f"refs/heads/{branch}:refs/heads/{branch}")
    filters = ("--head", branch, "--base", base, "--state", "all", "--json", "url")
    known = json.loads(run("gh", "pr", "list", "--repo", repository, *filters) or "[]")
    if known:
        return f"This model was proposed before: {known[0]['url']}\n"
    where = ("--repo", repository, "--base", base, "--head", branch)
    what = ("--title", str(title), "--body-file", "-")
    try:
        url = run("gh", "pr", "create", *where, *what, text=cut(body))
    except PipelineError as error:
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
        return (
            f"The branch `{branch}` is pushed, but opening the pull request was refused ({error}). "
            "In the settings, under Actions, General, a box lets workflows open them. Or open it "
            f"here: {server}/{repository}/compare/{base}...{branch}?expand=1\n"
        )
    return f"Proposed: {url.strip()}\n{_close_older(repository, base, branch, url.strip())}"


def _close_older(repository: str, base: str, branch: str, url: str) -> str:
    """Close what earlier retrainings proposed and nobody merged; their branches stay."""
    where = ("--repo", repository)
    filters = ("--base", base, "--state", "open", "--json", "number,headRefName,isCrossRepository")
    said = ""
    for found in json.loads(run("gh", "pr", "list", *where, *filters) or "[]"):
        name, number = found["headRefName"], str(found["number"])
        if name == branch or found["isCrossRepository"] or not BRANCH.fullmatch(name):
            continue
        why = f"A newer retraining takes its place: {url}"
        try:
            run("gh", "pr", "close", number, *where, "--comment", why)
            said += f"Closed in its favour: #{number}\n"
        except PipelineError as error:
            said += f"#{number} is older, but closing it was refused ({error}).\n"
    return said


def cut(body: str) -> str:
    """A text that GitHub takes, cut at the end of a line if it is too long."""
    if len(body) <= MOST_CHARACTERS:
        return body
    return body[:MOST_CHARACTERS].rpartition("\n")[0] + "\n\nCut here; the artifact has it all.\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m nomosaurus.workflows.github")
    commands = parser.add_subparsers(dest="command", required=True)
    on_comment = commands.add_parser("comment", help="write a pull request's sticky comment")
    on_comment.add_argument("folder", type=Path)
    on_comment.add_argument("--commit", required=True, help="that the report must be of")
    on_comment.add_argument("--run-url", required=True)
    on_propose = commands.add_parser("propose", help="open a pull request for a retraining")
    on_propose.add_argument("folder", type=Path)
    on_propose.add_argument("--base", required=True, help="the branch to merge into")
    for command in (on_comment, on_propose):
        command.add_argument("--repository", required=True, help="owner/name")
    options = parser.parse_args()
    with one_line_errors():
        if options.command == "comment":
            print(comment(options.folder, options.repository, options.commit, options.run_url))
        else:
            print(propose(options.folder, options.repository, options.base), end="")


if __name__ == "__main__":
    main()
