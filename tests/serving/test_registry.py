import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import (
    FROZEN,
    NAMES,
    REPOSITORY,
    as_project,
    git,
    make_model,
    params_with,
    with_fixed_logits,
)
from ruamel.yaml import YAML
from servers import mlflow_server, postgresql
from typer.testing import CliRunner

from nomosaurus.commands.app import app
from nomosaurus.errors import RegistryError, TrackingError
from nomosaurus.evaluation.comparison import names_sha256
from nomosaurus.model.file import save_model
from nomosaurus.names.dataset import EncodedNames, Split, save_prepared
from nomosaurus.params import load_params
from nomosaurus.serving import registry
from nomosaurus.serving.registry import Event, Registry, promote, roll_back, write_log
from nomosaurus.tracking.lineage import file_sha256
from nomosaurus.tracking.run import training_run
from nomosaurus.tracking.store import MODEL_TAG, NOTE_TAG, find_run_of_model

# MLflow, SQLAlchemy and what they need warn of each other's ways.
pytestmark = pytest.mark.filterwarnings("ignore")

STORES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slowest)]

TEST = ["nana", "alla", "aena", "lana", "nela", "abana", "balna", "anala", "enala", "alana"]
FIGURES = {"gain_nats": 0.1, "novelty": 0.9, "validity": 0.99, "uniqueness_at_10k": 0.9}
GRADES = {"worse": -1.0, "plain": 0.0, "better": 0.7, "best": 1.4}
GRADES |= {"dirty": 1.1, "losing": 1.2, "copying": 1.3}
"""How much each model prefers the a, which TEST is full of."""


def graded(grade: str):
    return with_fixed_logits(make_model(), [0.5, GRADES[grade], 0.0, -1.0, 0.0, 0.0, 0.0])


def prepare(folder: Path, test: list[str]) -> None:
    model = make_model()
    sides = (EncodedNames.from_names(names, model.vocabulary) for names in (NAMES, TEST, test, []))
    split = Split(model.vocabulary, *sides)
    save_prepared(folder, split, model.known_hashes, model.casing, model.recipe.data)


def log_run(grade: str, figures: dict[str, float] = FIGURES) -> None:
    """A model file with its run, as the stages train and track leave it."""
    model = graded(grade)
    path = Path(f"{grade}.safetensors")
    save_model(path, model)
    with training_run([model.recipe], grade) as run:
        run.log_model(path)
        run.log_metrics(figures)


@pytest.fixture(scope="module", params=STORES)
def checkout(request, tmp_path_factory, empty_store):
    """A checkout with prepared data and models of several qualities, all with their runs."""
    root = as_project(tmp_path_factory.mktemp("a checkout"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(root)
        git(root, "init", "-q")
        git(root, "commit", "-q", "--allow-empty", "-m", "All there is")
        if request.param == "postgresql":
            patch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("server"))
        else:
            shutil.copy(empty_store, root)
        import mlflow

        mlflow.set_tracking_uri(None)
        prepare(Path("data/prepared"), TEST)
        for grade in ("worse", "plain", "better", "best"):
            log_run(grade)
        yield root


@pytest.fixture(scope="module")
def database():
    pytest.importorskip("psycopg2", reason="needs psycopg2-binary")
    with postgresql() as found:
        yield found


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    """A team's server: MLflow in front of PostgreSQL, the password from the environment."""
    uri, password = database
    with mlflow_server(uri, tmp_path_factory.mktemp("server"), PGPASSWORD=password) as address:
        yield address


@pytest.fixture
def run(checkout, request, monkeypatch):
    """Run `nomosaurus` on a registered model of the test's own; gives exit code and output."""
    content = YAML(typ="safe", pure=True).load(FROZEN / "params.yaml")
    content["promote"]["registered_model"] = request.node.originalname
    with Path("params.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(content, file)
    Path("promotions.jsonl").unlink(missing_ok=True)

    def invoke(*arguments):
        result = CliRunner().invoke(app, ["promote", *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke


@pytest.fixture
def client(run, request):
    import mlflow

    name = request.node.originalname

    class Client:
        def aliases(self):
            aliases = mlflow.MlflowClient().get_registered_model(name).aliases
            return {alias: int(version) for alias, version in aliases.items()}

        def versions(self):
            return mlflow.MlflowClient().search_model_versions(f"name = '{name}'")

        def page(self, number):
            """A version's verdict and its description."""
            version = mlflow.MlflowClient().get_model_version(name, str(number))
            return version.tags["verdict"], version.description

        def descriptions(self):
            """That of the registered model, and that of the experiment."""
            client = mlflow.MlflowClient()
            experiment = client.get_experiment_by_name("nomosaurus")
            return client.get_registered_model(name).description, experiment.tags[NOTE_TAG]

    return Client()


def log_lines() -> list[dict]:
    return [json.loads(line) for line in Path("promotions.jsonl").read_text().splitlines()]


def promote_file(run, name: str):
    return run("--model", f"{name}.safetensors")


def test_a_model_is_found_by_its_address_in_mlflow(run, request):
    def info(model: str) -> str:
        result = CliRunner().invoke(app, ["info", "--model", model])
        assert result.exit_code == 0, result.output
        return re.search("[0-9a-f]{64}", result.stdout).group()

    promote_file(run, "plain")
    address = f"models:/{request.node.originalname}"
    assert info(f"{address}@champion") == info(f"{address}/1") == info("plain.safetensors")
    result = CliRunner().invoke(app, ["info", "--model", f"{address}@nobody"])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_the_first_is_promoted_and_a_better_one_takes_its_place(run, client):
    code, out, _ = promote_file(run, "plain")
    assert code == 0, out
    assert client.aliases() == {"champion": 1}
    code, out, _ = promote_file(run, "better")
    assert code == 0, out
    assert "version 2 is the champion: against version 1 it saves" in out
    assert client.aliases() == {"champion": 2}
    assert [(line["action"], line["version"], line["former"]) for line in log_lines()] == [
        ("promote", 1, None),
        ("promote", 2, 1),
    ]
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    for version in client.versions():
        file = Path({1: "plain", 2: "better"}[int(version.version)] + ".safetensors")
        assert version.tags[MODEL_TAG] == file_sha256(file)
        assert version.tags["test_sha256"] == names_sha256(TEST)
        assert version.tags["git.commit"] == head.strip()
        assert version.run_id


def test_a_worse_or_an_equal_one_stays_challenger_with_a_code_of_its_own(run, client, tmp_path):
    promote_file(run, "better")
    verdict = tmp_path / "verdict.md"
    code, out, _ = run("--model", "worse.safetensors", "--json", "--markdown", str(verdict))
    assert code == 3
    found = json.loads(out)
    assert found["promoted"] is False
    gain = found["comparison"]["gain"]
    assert gain["low"] <= gain["value"] <= gain["high"] < 0
    assert "Not promoted" in verdict.read_text("utf-8")
    assert client.aliases() == {"champion": 1, "challenger": 2}
    code, out, _ = promote_file(run, "better")
    assert code == 3
    assert "is the champion already" in out
    assert len(client.versions()) == 2  # the same model is no new version
    assert len(log_lines()) == 1


def test_the_gain_is_that_of_the_two_files(run):
    promote_file(run, "plain")
    _, out, _ = run("--model", "best.safetensors", "--json")
    comparison = json.loads(out)["comparison"]
    test = EncodedNames.from_names(TEST, make_model().vocabulary)
    chars = sum(len(name) + 1 for name in TEST)
    plain, best = (graded(grade).nats(test).sum() / chars for grade in ("plain", "best"))
    assert comparison["gain"]["value"] == pytest.approx(plain - best)
    assert comparison["names"] == len(TEST)


def run_page(name: str) -> tuple[str, str]:
    """The verdict and the description of a model's run."""
    tags = find_run_of_model(file_sha256(Path(f"{name}.safetensors"))).data.tags
    return tags["verdict"], tags[NOTE_TAG]


def test_the_ui_says_who_is_champion_and_why_and_why_another_is_not(run, client, request):
    name = request.node.originalname
    for grade in ("plain", "better", "worse"):
        promote_file(run, grade)
    assert client.page(1)[0] == run_page("plain")[0] == "replaced by version 2"
    assert client.page(1)[1].startswith("Replaced by version 2 (20")
    assert "Champion (" not in client.page(1)[1]
    assert "it is the first, and above the floors" in client.page(1)[1]
    assert client.page(2)[0] == run_page("better")[0] == "champion"
    assert "Judged beside version 1 at 20" in client.page(2)[1]
    assert "| a gain above 0 nats per character | passed | against version 1" in client.page(2)[1]
    label, page = client.page(3)
    assert label == "not promoted: lacks a gain above 0 nats per character"
    assert "Judged beside version 2 at 20" in page
    assert "| a gain above 0 nats per character | **failed** | against version 2" in page
    assert run_page("worse")[0] == label
    for description in client.descriptions():
        assert f"## Champion of {name}\n\n[Version 2](#/models/{name}/versions/2)" in description
        assert "version 2 is the champion: against version 1 it saves" in description
        assert "`make serve`" in description
        assert "`nomosaurus promote --rollback`" in description


@pytest.mark.slow
def test_a_rollback_is_said_where_the_promotion_was(run, client):
    for grade in ("plain", "better"):
        promote_file(run, grade)
    run("--rollback")
    assert client.page(1)[0] == run_page("plain")[0] == "champion"
    assert client.page(2)[0] == run_page("better")[0] == "rolled back to version 1"
    assert "Rolled back to version 1 (20" in client.page(2)[1]
    assert "### Promoted" in client.page(2)[1]
    for description in client.descriptions():
        assert "version 1 is the champion again, in place of version 2" in description
    assert "against version 1 it saves" not in client.descriptions()[0]


def test_a_champion_that_is_judged_again_is_champion_still(run, client):
    promote_file(run, "plain")
    before = client.page(1)
    assert promote_file(run, "plain")[0] == 3
    assert client.page(1) == before


@pytest.mark.slow
def test_without_a_champion_the_ui_says_so(run, client):
    log_run("copying", FIGURES | {"novelty": 0.05})
    promote_file(run, "copying")
    assert client.page(1)[0] == "not promoted: lacks novelty at least 0.3"
    assert all("There is none yet" in description for description in client.descriptions())


@pytest.mark.slow
def test_what_others_wrote_stays(run, client, request):
    import mlflow

    promote_file(run, "plain")
    name = request.node.originalname
    found = find_run_of_model(file_sha256(Path("plain.safetensors")))
    note = "Mine\n\n" + found.data.tags[NOTE_TAG]
    mlflow.MlflowClient().set_tag(found.info.run_id, NOTE_TAG, note)
    mlflow.MlflowClient().update_registered_model(name, "Ours\n")
    mlflow.MlflowClient().update_model_version(name, "1", "Theirs\n")
    promote_file(run, "better")
    assert run_page("plain")[1].startswith("Mine\n")
    assert client.descriptions()[0].startswith("Ours\n")
    assert client.page(1)[1].endswith("Theirs\n")
    assert "Each run is one trained model" in client.descriptions()[1]


@pytest.mark.slow
def test_a_champion_whose_run_was_deleted_can_be_replaced(run, client):
    import mlflow

    promote_file(run, "plain")
    deleted = find_run_of_model(file_sha256(Path("plain.safetensors"))).info.run_id
    mlflow.MlflowClient().delete_run(deleted)
    try:
        assert promote_file(run, "better")[0] == 0
        assert run("--rollback")[0] == 0
    finally:
        mlflow.MlflowClient().restore_run(deleted)
    assert client.page(1)[0] == "champion"
    assert "[Version 1]" in client.descriptions()[0]


def test_rollback_goes_back_one_champion_at_a_time(run, client):
    for name in ("worse", "plain", "better"):
        assert promote_file(run, name)[0] == 0
    code, out, _ = run("--rollback")
    assert code == 0
    assert "version 2 is the champion again, in place of version 3" in out
    assert client.aliases()["champion"] == 2
    assert promote_file(run, "best")[0] == 0
    for champion in (2, 1):
        assert run("--rollback", "--json")[0] == 0
        assert client.aliases()["champion"] == champion
    code, _, err = run("--rollback")
    assert code == 1
    assert "no former champion" in err
    actions = [line["action"] for line in log_lines()]
    assert actions == ["promote"] * 3 + ["rollback", "promote", "rollback", "rollback"]


@pytest.mark.slow
def test_rollback_finds_its_way_when_someone_moved_the_alias_by_hand(run, client, request):
    import mlflow

    for name in ("worse", "plain"):
        promote_file(run, name)
    promote_file(run, "worse")
    mlflow.MlflowClient().set_registered_model_alias(request.node.originalname, "champion", "1")
    assert run("--rollback")[0] == 0
    assert client.aliases()["champion"] == 2


@pytest.mark.slow
def test_other_test_names_are_refused_unless_allowed(run, client):
    promote_file(run, "plain")
    prepare(Path("data/prepared"), [*TEST, "lanana"])
    try:
        code, out, _ = promote_file(run, "better")
        assert code == 3
        assert "was judged on test list" in out
        code, out, _ = run("--model", "better.safetensors", "--other-test")
        assert code == 0, out
    finally:
        prepare(Path("data/prepared"), TEST)
    assert client.aliases()["champion"] == 2


def test_a_dirty_run_is_refused(run, client):
    Path("tracked").write_text("1")
    git(Path.cwd(), "add", "tracked")
    try:
        log_run("dirty")
    finally:
        git(Path.cwd(), "rm", "-q", "--cached", "tracked")
    code, out, _ = promote_file(run, "dirty")
    assert code == 3
    assert "not committed" in out
    assert "champion" not in client.aliases()


@pytest.mark.parametrize(
    ("grade", "figure", "value", "reason"),
    [
        ("copying", "novelty", 0.05, "novelty is 0.0500, below promote.min_novelty"),
        ("losing", "gain_nats", -0.177, "gain_nats is -0.1770, below promote.min_gain_nats, 0"),
    ],
)
def test_figures_below_a_floor_are_refused(run, grade, figure, value, reason):
    log_run(grade, FIGURES | {figure: value})
    code, out, _ = promote_file(run, grade)
    assert code == 3
    assert reason in out


def test_a_model_without_a_run_is_an_error(run):
    save_model(Path("unknown.safetensors"), with_fixed_logits(make_model(), [1.0] * 7))
    code, out, err = promote_file(run, "unknown")
    assert (code, out) == (1, "")
    assert "has no run in this MLflow store" in err


def test_prepared_data_of_another_list_are_an_error(run):
    save_model(Path("other.safetensors"), make_model(["zoe", "zora"]))
    code, _, err = promote_file(run, "other")
    assert code == 1
    assert "data/prepared is not what the model learnt from" in err.replace("\\", "/")


def test_a_champion_whose_file_is_not_what_was_registered_is_an_error(run, request):
    promote_file(run, "plain")
    registry = Registry(request.node.originalname)
    champion = registry.champion()
    registry.load(champion)
    with pytest.raises(RegistryError, match="do not hold the model"):
        registry.load(replace(champion, model_sha256="0" * 64))


def test_a_champion_that_came_meanwhile_is_not_overthrown_unseen(run, request):
    registry = Registry(request.node.originalname)
    promote_file(run, "plain")
    params = load_params(Path("params.yaml"))
    stale = promote(Path("better.safetensors"), Path("data/prepared"), params, Path("log.jsonl"))
    assert stale.promoted
    assert promote_file(run, "best")[0] == 0
    with pytest.raises(RegistryError, match="another champion"):
        registry.crown(stale)


def test_a_promotion_holds_though_the_pages_of_the_ui_cannot_be_written(run, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("the store is full")

    monkeypatch.setattr(Registry, "_show_version", fail)
    params = load_params(Path("params.yaml"))
    verdict = promote(Path("plain.safetensors"), Path("data/prepared"), params, Path("log.jsonl"))
    assert verdict.promoted
    assert "do not say so yet: MLflow failed (the store is full)" in capsys.readouterr().err
    assert Path("log.jsonl").read_text().count("\n") >= 1


class Killed(BaseException):
    """Nothing handles it, as nothing handles a kill."""


WRITES = (
    *("create_registered_model", "create_model_version", "update_model_version"),
    *("set_model_version_tag", "set_registered_model_alias", "delete_registered_model_alias"),
    *("set_registered_model_tag", "delete_registered_model_tag", "update_registered_model"),
    *("set_tag", "log_batch", "set_experiment_tag"),
)


def kill_before(patch, write: int) -> None:
    """Kill this process, as it were, before it writes for the so-manieth time, counted from 0."""
    from mlflow import MlflowClient

    count = itertools.count()

    def dying(function):
        def wrapped(*arguments, **named):
            if next(count) == write:
                raise Killed
            return function(*arguments, **named)

        return wrapped

    for name in WRITES:
        patch.setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))
    patch.setattr(registry, "write_log", dying(registry.write_log))


@pytest.mark.longest
@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_what_a_kill_cuts_off_the_same_command_finishes(run, command, tmp_path, monkeypatch):
    """Killed before any of its writes and run again, it leaves what it leaves in one go."""
    import mlflow

    client = mlflow.MlflowClient()
    params = params_with(evaluate={"bootstrap_samples": 100})

    def left_by(write: int) -> tuple[list, bool]:
        name, log = f"killed-{command}", tmp_path / f"{write}.jsonl"
        rules = params.promote.model_copy(update={"registered_model": name})

        def promoted(grade: str) -> str:
            its = params.model_copy(update={"promote": rules})
            return str(promote(Path(f"{grade}.safetensors"), Path("data/prepared"), its, log))

        def do() -> str:
            return promoted("better") if command == "promote" else roll_back(name, log).why

        promoted("plain")
        if command == "rollback":
            promoted("better")
        with monkeypatch.context() as patch:
            kill_before(patch, write)
            try:
                said, died = do(), False
            except Killed:
                died = True
        said = do() if died else said
        model = client.get_registered_model(name)
        events = [replace(event, time="") for event in Registry(name).events()]
        lines = log.read_text().splitlines()
        assert lines == [event.as_json() for event in Registry(name).events()]
        pages = [client.get_model_version(name, number).tags["verdict"] for number in "12"]
        tags = [key for key in model.tags if not key.startswith("champion.")]
        found = [said.splitlines()[0], dict(model.aliases), events, pages, model.description, tags]
        client.delete_registered_model(name)
        return found, died

    whole, died = left_by(-1)
    assert not died
    write = 0
    while True:
        left, died = left_by(write)
        assert left == whole, f"killed before write {write}"
        if not died:
            break
        write += 1
    assert write > 8


def die(*_: object) -> None:
    raise Killed


@pytest.mark.slow
def test_a_promotion_that_was_cut_off_is_finished_before_it_is_rolled_back(
    run, client, monkeypatch
):
    promote_file(run, "plain")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Registry, "tell", die)  # the champion has changed, and nobody is told
        promote_file(run, "better")
    assert client.aliases() == {"champion": 2}
    code, out, err = run("--rollback")
    assert code == 0, err
    assert "promote of version 2 was cut off" in err
    assert "version 1 is the champion again, in place of version 2" in out
    assert [line["action"] for line in log_lines()] == ["promote", "promote", "rollback"]


@pytest.mark.slow
def test_another_model_is_judged_beside_the_champion_whose_promotion_was_cut_off(
    run, client, monkeypatch
):
    promote_file(run, "plain")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Registry, "_carry_out", die)  # what is to be done is written, and no more
        promote_file(run, "better")
    code, out, _ = promote_file(run, "worse")
    assert code == 3
    assert "against version 2" in out
    assert client.aliases() == {"champion": 2, "challenger": 3}
    assert [line["version"] for line in log_lines()] == [1, 2]


@pytest.mark.slow
def test_what_was_cut_off_gives_way_to_what_someone_did_by_hand_since(
    run, client, request, monkeypatch
):
    import mlflow

    for grade in ("worse", "plain"):
        promote_file(run, grade)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Registry, "_carry_out", die)
        promote_file(run, "better")
    mlflow.MlflowClient().set_registered_model_alias(request.node.originalname, "champion", "1")
    assert promote_file(run, "best")[0] == 0
    assert [(line["version"], line["former"]) for line in log_lines()] == [
        (1, None),
        (2, 1),
        (4, 1),
    ]


@pytest.mark.slow
def test_promotions_at_the_same_time_leave_one_history(run, client, request):
    names = ("plain", "better", "best")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        "from nomosaurus.commands.app import app; app()",
    ]
    started = [
        subprocess.Popen(
            [*command, "promote", "--model", f"{name}.safetensors"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    outputs = [process.communicate() for process in started]
    codes = [process.returncode for process in started]
    assert set(codes) <= {0, 3}, outputs
    lines = log_lines()
    # Each promotion follows the one before it, and the best is champion in the end.
    assert [line["former"] for line in lines] == [None, *(line["version"] for line in lines[:-1])]
    assert len(lines) == codes.count(0)
    champion = client.aliases()["champion"]
    assert lines[-1]["version"] == champion
    assert lines[-1]["model_sha256"] == file_sha256(Path("best.safetensors"))
    assert [event.version for event in Registry(request.node.originalname).events()] == [
        line["version"] for line in lines
    ]


@pytest.mark.slowest
def test_a_teams_server_keeps_what_was_registered_in_postgresql(server, database, tmp_path):
    import psycopg2

    uri, password = database
    with psycopg2.connect(uri.replace("+psycopg2", ""), password=password) as connection:
        cursor = connection.cursor()
        name = "of the server"
        cursor.execute("select count(*) from registered_models where name = %s", (name,))
        assert cursor.fetchone() == (0,)
        import mlflow

        mlflow.MlflowClient(server, server).create_registered_model(name)
        connection.rollback()  # a new look at the tables
        cursor.execute("select count(*) from registered_models where name = %s", (name,))
        assert cursor.fetchone() == (1,)
    connection.close()


def test_the_log_keeps_what_an_earlier_store_had(tmp_path):
    path = tmp_path / "promotions.jsonl"
    first, second = (Event(str(i), "promote", i, None, "sha", "commit", "why") for i in (1, 2))
    path.write_text('{"from": "a lost store"}\n')
    write_log(path, [first])
    write_log(path, [first, second])
    assert path.read_text().splitlines() == [
        '{"from": "a lost store"}',
        first.as_json(),
        second.as_json(),
    ]


def test_a_store_that_is_down_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    import mlflow

    mlflow.set_tracking_uri("http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"^MLflow failed \(.+\)$"):
        Registry("nomosaurus")
