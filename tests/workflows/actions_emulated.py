"""What the actions that the workflows use do, as far as a job can tell: no network, no GitHub."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

TAGS = "+refs/tags/*:refs/tags/*"


class ActionError(Exception):
    """What makes an action's step fail."""


@dataclass(frozen=True)
class Cache:
    key: str
    paths: str  # as the step has them: a cache is found for the same ones only
    ref: str  # found from this one, from its pull requests, and if it is the default branch
    archive: Path


@dataclass
class Store:
    """What outlives a job: caches, and each run's artifacts, by run and name."""

    folder: Path
    caches: list[Cache] = field(default_factory=list)
    artifacts: dict[str, dict[str, Path]] = field(default_factory=dict)


@dataclass
class Machine:
    """The computer of one job."""

    workspace: Path
    home: Path
    temp: Path
    environment: dict[str, str]  # what every process has, and nothing of the tests' own
    origin: Path
    github: dict
    store: Store
    path: list[str] = field(default_factory=list)  # what steps put before the PATH, in turn
    at_the_end: list[Callable[[], None]] = field(default_factory=list)  # if the job succeeds


@dataclass(frozen=True)
class Pattern:
    negated: bool
    root: Path  # what stands before the first wildcard
    matches: re.Pattern  # whole paths


def parse_pattern(line: str, machine: Machine, descend: bool) -> Pattern:
    """One line of paths, which may have `*`, `?`, `[…]`, `**`, `~` and a `!` before it."""
    text = line.lstrip("!")
    negated = (len(line) - len(text)) % 2 == 1
    parts = text.strip().split("/")
    base = Path("/") if not parts[0] else machine.home if parts[0] == "~" else machine.workspace
    parts = [part for part in parts if part not in ("", ".", "~")]
    literal = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    root = Path(os.path.normpath(base.joinpath(*parts[:literal])))
    expression = re.escape(str(root))
    for part in parts[literal:]:
        if part == "**":
            expression += "(?:/[^/]+)*"
            continue
        pieces = re.findall(r"\*|\?|\[[^\]]+\]|.", part)
        wild = {"*": "[^/]*", "?": "[^/]"}
        expression += "/" + "".join(
            wild.get(piece) or (piece.replace("[!", "[^") if len(piece) > 1 else re.escape(piece))
            for piece in pieces
        )
    return Pattern(negated, root, re.compile(expression + ("(?:/.*)?" if descend else ""), re.S))


def walk(path: Path, hidden: bool) -> Iterator[Path]:
    if path.exists() and (hidden or not path.name.startswith(".")):
        yield path
        if path.is_dir():
            for child in sorted(path.iterdir()):
                yield from walk(child, hidden)


def search(
    machine: Machine, lines: str, *, descend: bool = True, hidden: bool = True
) -> tuple[list[Path], list[Path]]:
    """The files and folders that lines of patterns find, and the folders searched for them."""
    patterns = [
        parse_pattern(line.strip(), machine, descend)
        for line in lines.split("\n")
        if line.strip() and not line.strip().startswith("#")
    ]
    roots = list(dict.fromkeys(pattern.root for pattern in patterns if not pattern.negated))
    roots = [root for root in roots if not any(other in root.parents for other in roots)]
    found = []
    for path in (path for root in roots for path in walk(root, hidden)):
        matching = [pattern for pattern in patterns if pattern.matches.fullmatch(str(path))]
        if matching and not matching[-1].negated:
            found.append(path)
    return found, roots


def git(machine: Machine, folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "advice.detachedHead=false", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=machine.environment, capture_output=True, text=True, check=False
    )
    if done.returncode and arguments[0] != "rev-parse":
        raise ActionError(f"git {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


def checkout(machine: Machine, inputs: dict[str, str]) -> dict[str, str]:
    """As the real one: the same refs are fetched, as deeply, and the same one is checked out."""
    if inputs.get("repository", machine.github["repository"]) != machine.github["repository"]:
        raise NotImplementedError(f"a checkout of another repository: {inputs['repository']}")
    folder = machine.workspace / inputs.get("path", "")
    ref, commit = inputs.get("ref", ""), ""
    if not ref:
        ref, commit = machine.github["ref"], machine.github["sha"]
    elif re.fullmatch("[0-9a-f]{40}", ref):
        ref, commit = "", ref
    branch = f"refs/remotes/origin/{ref.removeprefix('refs/heads/')}"
    pull = ref.replace("refs/pull/", "refs/remotes/pull/")
    if not ref:
        wanted = [commit]
    elif ref.startswith("refs/"):
        local = {"refs/heads": branch, "refs/pull/": pull}.get(ref[:10], ref)
        wanted = [f"+{commit or ref}:{local}"]
    else:
        wanted = [f"+refs/heads/{ref}*:{branch}*", f"+refs/tags/{ref}*:refs/tags/{ref}*"]
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    git(machine, folder, "init", "--quiet")
    git(machine, folder, "remote", "add", "origin", machine.origin.resolve().as_uri())
    depth = int(inputs.get("fetch-depth", 1))
    limit = [f"--depth={depth}"] if depth else []
    if not depth:
        git(machine, folder, "fetch", "origin", "+refs/heads/*:refs/remotes/origin/*", TAGS)
    tags = [TAGS] if inputs.get("fetch-tags") == "true" else []
    git(machine, folder, "fetch", "--no-tags", *limit, "origin", *wanted, *tags)
    if ref and git(machine, folder, "rev-parse", "--verify", "--quiet", branch):
        git(machine, folder, "checkout", "--force", "-B", branch.split("origin/", 1)[1], branch)
    elif not ref or ref.startswith("refs/"):
        git(machine, folder, "checkout", "--force", "--detach", pull or commit)
    elif git(machine, folder, "rev-parse", "--verify", "--quiet", f"refs/tags/{ref}"):
        git(machine, folder, "checkout", "--force", "--detach", f"refs/tags/{ref}")
    else:
        raise ActionError(f"A branch or tag with the name '{ref}' could not be found")
    return {"ref": ref, "commit": git(machine, folder, "rev-parse", "HEAD")}


def setup_python(machine: Machine, inputs: dict[str, str]) -> dict[str, str]:
    """The interpreter of the tests, whatever version is asked for."""
    dependencies = inputs.get("cache-dependency-path", "**/requirements.txt\n**/pyproject.toml")
    if inputs.get("cache") and not search(machine, dependencies)[0]:
        raise ActionError(f"No file matched to [{dependencies}]")
    folder = machine.temp / "python"
    folder.mkdir(exist_ok=True)
    interpreter = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    for name in ("python", "python3", interpreter.name):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(interpreter)
    machine.path.append(str(folder))
    version = ".".join(map(str, sys.version_info[:3]))
    return {"python-version": version, "python-path": str(folder / "python")}


def find_cache(machine: Machine, key: str, paths: str, others: list[str]) -> Cache | None:
    """The newest that has the key, or begins with it or with one of the others; by scope."""
    github = machine.github
    default = github["event"]["repository"]["default_branch"]
    for ref in (github["ref"], f"refs/heads/{github['base_ref']}", f"refs/heads/{default}"):
        caches = [c for c in machine.store.caches[::-1] if (c.ref, c.paths) == (ref, paths)]
        for start in (key, *others):
            if found := [cache for cache in caches if cache.key.startswith(start)]:
                return next((cache for cache in found if cache.key == key), found[0])
    return None


def restore_cache(machine: Machine, inputs: dict[str, str]) -> dict[str, str]:
    key, paths = inputs["key"], inputs["path"].strip()
    others = [line.strip() for line in inputs.get("restore-keys", "").split("\n") if line.strip()]
    found = find_cache(machine, key, paths, others)
    if not found:
        if inputs.get("fail-on-cache-miss") == "true":
            raise ActionError(f"Failed to restore cache entry with the key {key}")
        return {"cache-primary-key": key, "cache-hit": ""}
    if inputs.get("lookup-only") != "true":
        subprocess.run(["tar", "-xPf", found.archive, "-C", machine.workspace], check=True)
    hit = "true" if found.key == key else "false"
    return {"cache-primary-key": key, "cache-hit": hit, "cache-matched-key": found.key}


def save_cache(machine: Machine, inputs: dict[str, str]) -> dict[str, str]:
    key, paths, ref = inputs["key"], inputs["path"].strip(), machine.github["ref"]
    found, _ = search(machine, paths, descend=False)
    caches = machine.store.caches
    if found and not any((c.key, c.paths, c.ref) == (key, paths, ref) for c in caches):
        archive = machine.store.folder / f"cache-{len(caches)}.tar"
        archive.parent.mkdir(parents=True, exist_ok=True)
        names = [os.path.relpath(path, machine.workspace) for path in found]
        command = ["tar", "-cPf", archive, "-C", machine.workspace, "--", *names]
        subprocess.run(command, check=True)
        caches.append(Cache(key, paths, ref, archive))
    return {}


def cache(machine: Machine, inputs: dict[str, str]) -> dict[str, str]:
    outputs = restore_cache(machine, inputs)
    if outputs["cache-hit"] != "true" and inputs.get("lookup-only") != "true":
        machine.at_the_end.append(lambda: save_cache(machine, inputs))
    return {"cache-hit": outputs["cache-hit"]}


def upload_artifact(machine: Machine, inputs: dict[str, str]) -> dict[str, str]:
    """Files lie in the artifact below what all paths have in common, and lose their modes."""
    name = inputs.get("name", "artifact")
    if re.search(r'["/\\:<>|*?\r\n]', name):
        raise ActionError(f"The artifact name is not valid: {name}")
    hidden = inputs.get("include-hidden-files") == "true"
    found, roots = search(machine, inputs["path"], hidden=hidden)
    files = [path for path in found if not path.is_dir()]
    if not files:
        if inputs.get("if-no-files-found") == "error":
            raise ActionError(f"No files were found with the provided path: {inputs['path']}")
        return {}
    single_file = len(roots) == 1 and files == roots
    top = roots[0].parent if single_file else Path(os.path.commonpath(roots))
    artifacts = machine.store.artifacts.setdefault(machine.github["run_id"], {})
    if name in artifacts and inputs.get("overwrite") != "true":
        raise ActionError(f"an artifact with this name already exists: {name}")
    artifacts[name] = machine.store.folder / "artifacts" / machine.github["run_id"] / name
    shutil.rmtree(artifacts[name], ignore_errors=True)
    for path in files:
        copy = artifacts[name] / path.relative_to(top)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    number = sum(map(len, machine.store.artifacts.values()))
    url = f"{machine.github['server_url']}/{machine.github['repository']}/actions/runs"
    url += f"/{machine.github['run_id']}/artifacts/{number}"
    return {"artifact-id": str(number), "artifact-url": url}


def download_artifact(machine: Machine, inputs: dict[str, str]) -> dict[str, str]:
    """By name, straight into the path; else all of the run's, each into a folder of its name."""
    run = inputs.get("run-id") or machine.github["run_id"]
    if run != machine.github["run_id"] and not inputs.get("github-token"):
        raise ActionError("run-id has an effect with github-token only")
    artifacts = machine.store.artifacts.get(run, {})
    target = machine.workspace / inputs.get("path", "")
    if name := inputs.get("name"):
        if name not in artifacts:
            raise ActionError(f"Unable to download artifact(s): Artifact not found: {name}")
        shutil.copytree(artifacts[name], target, dirs_exist_ok=True)
    else:
        for name, folder in artifacts.items():
            merged = inputs.get("merge-multiple") == "true"
            shutil.copytree(folder, target if merged else target / name, dirs_exist_ok=True)
    return {"download-path": str(target)}


def attest(machine: Machine, inputs: dict[str, str]) -> dict[str, str]:
    """Nothing but a look whether there are such files."""
    for lines in (inputs["subject-path"], inputs.get("sbom-path"), inputs.get("predicate-path")):
        if lines:
            found, _ = search(machine, lines.replace(",", "\n"))
            if not any(path.is_file() for path in found):
                raise ActionError(f"Could not find subject at path {lines}")
    return {}


RESTORE = "path! key! restore-keys fail-on-cache-miss lookup-only"
ATTEST = "subject-path! sbom-path predicate predicate-type predicate-path show-summary"
ACTIONS: dict[str, tuple[Callable[[Machine, dict[str, str]], dict[str, str]], str]] = {
    # each with the inputs it may be given, and ! after those it must be given
    "actions/checkout": (
        checkout,
        "repository ref token path fetch-depth fetch-tags persist-credentials",
    ),
    "actions/setup-python": (setup_python, "python-version! cache cache-dependency-path"),
    "actions/cache": (cache, RESTORE),
    "actions/cache/restore": (restore_cache, RESTORE),
    "actions/cache/save": (save_cache, "path! key!"),
    "actions/upload-artifact": (
        upload_artifact,
        "path! name if-no-files-found retention-days compression-level overwrite"
        " include-hidden-files",
    ),
    "actions/download-artifact": (
        download_artifact,
        "name path merge-multiple run-id github-token",
    ),
    "actions/attest": (attest, ATTEST),
    "actions/attest-build-provenance": (attest, ATTEST),
}
