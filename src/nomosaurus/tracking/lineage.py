"""Where a run comes from, as git has it: the commit, what was changed since, the experiment.

Outside of a git checkout there is nothing to say, and nothing fails.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nomosaurus.errors import PipelineError, TrackingError
from nomosaurus.tracking.programs import run

NOT_OUTPUTS = [  # what the pipeline rewrites, and the log of promotions, make no checkout dirty
    f":(exclude){path}"
    for path in ("dvc.lock", "*/dvc.lock", "metrics", "plots", "samples", "promotions.jsonl")
]
MOST_PATCH = 1_000_000  # characters
GIT_SECONDS = 30


@dataclass(frozen=True)
class Origin:
    """The state of a checkout.

    Attributes:
        commit: 40 hexadecimal digits; empty where there is no git.
        patch: From the commit to what is checked out, without the pipeline's outputs.
        untracked: The files that git neither has nor ignores.
        experiment: The DVC experiment that runs; empty if none does.
        milliseconds: When it was so, in milliseconds of the epoch; None for now.
    """

    commit: str
    patch: str = ""
    untracked: tuple[str, ...] = ()
    experiment: str = ""
    milliseconds: int | None = None

    @classmethod
    def of_checkout(cls) -> "Origin":
        """Of the checkout that this process stands in."""
        listing = git("ls-files", "-z", "--others", "--exclude-standard", "--", ".", *NOT_OUTPUTS)
        untracked = tuple(name for name in listing.split("\0") if name)
        return cls(head(), changes(), untracked, os.environ.get("DVC_EXP_NAME", ""))

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the patch goes into a file of its own."""
        return {
            "commit": self.commit,
            "dirty": bool(self.patch),
            "untracked": self.untracked,
            "experiment": self.experiment,
        }


def git(*arguments: str) -> str:
    """What a git command says; nothing where it fails, as outside of a checkout."""
    try:
        return run("git", *arguments, seconds=GIT_SECONDS).rstrip("\n")
    except PipelineError:
        return ""


def place_in_git() -> str:
    """The current folder as seen from the root of git's checkout, as in "names/"; empty there."""
    return git("rev-parse", "--show-prefix")


def head() -> str:
    """The commit that is checked out, 40 hexadecimal digits."""
    return git("rev-parse", "HEAD")


def full_commit(name: str) -> str:
    """The 40 digits of a commit, given as git takes it: a hash's beginning, a branch, a tag.

    Raises:
        TrackingError: If this checkout has no such commit.
    """
    commit = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not commit:
        raise TrackingError(f"git knows no commit {name!r} here; give a hash, a branch or a tag")
    return commit


def changes() -> str:
    """The patch from the commit to what is checked out, without the pipeline's outputs."""
    patch = git("diff", "HEAD", "--binary", "--", ".", *NOT_OUTPUTS)
    if len(patch) > MOST_PATCH:
        return git("diff", "HEAD", "--stat", "--", ".", *NOT_OUTPUTS)
    return patch


def experiments() -> dict[str, str]:
    """The commit of each DVC experiment in this checkout, by its name."""
    listing = git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
    ref = r"^refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(\S+) ([0-9a-f]{40})$"
    return dict(re.findall(ref, listing, re.MULTILINE))


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_md5(path: Path) -> str:
    """The hash by which DVC knows a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
