import json
import shutil
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from conftest import FROZEN, REPOSITORY, make_model
from servers import free_port, process, wait_for

from nomosaurus.errors import SamplingError
from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.request import Request
from nomosaurus.model.file import save_model
from nomosaurus.model.trained import TrainedModel
from nomosaurus.names.casing import Casing
from nomosaurus.params import SampleSettings
from nomosaurus.serving.registry import CHAMPION, Registry
from nomosaurus.tracking.logged_model import NOT_SERVED
from nomosaurus.tracking.run import training_run

pytestmark = [
    pytest.mark.slow,
    # MLflow, SQLAlchemy and what they need warn of each other's ways.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """`make serve` on a champion, in a checkout of its own."""
    root = tmp_path_factory.mktemp("a checkout")
    for path in (REPOSITORY / "Makefile", FROZEN / "params.yaml"):
        shutil.copyfile(path, root / path.name)
    (root / ".venv").symlink_to(sys.prefix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(root)
        path = Path("model.safetensors")
        model = in_capitals()
        save_model(path, model)
        with training_run([model.recipe], "f1") as run:
            run.log_model(path)
        version = Registry("nomosaurus").register(path, "a test list").version
        import mlflow

        mlflow.MlflowClient().set_registered_model_alias(
            "nomosaurus", CHAMPION, str(version.number)
        )
        port = free_port()
        log = root / "serve.log"
        command = ["make", "serve", "READY=", f"PORT={port}"]
        # The artifact brings its own code: what is installed or on the path is not asked.
        with process(command, log, {"PYTHONPATH": ""}) as server:
            wait_for(f"http://127.0.0.1:{port}/ping", server, log)
            yield f"http://127.0.0.1:{port}/invocations"


def in_capitals() -> TrainedModel:
    """A model of a list that is written in capitals."""
    return replace(make_model(), casing=Casing.learn(["ANA", "BELA"]))


def post(address: str, body: object, kind: str = "application/json") -> tuple[int, dict]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def ask(address: str, names: list[str], **params: object) -> list[dict]:
    status, answer = post(address, {"inputs": names, "params": params})
    assert status == 200, answer
    return answer["predictions"]


def test_generated_names_are_those_of_the_library(address):
    settings = {"seed": 3, "temperature": 0.8, "prefix": "a", "new": True, "unique": True}
    names = NameGenerator(in_capitals()).generate(20, Request(**settings))
    assert ask(address, [], n=20, **settings) == [asdict(name) for name in names]


def test_names_begin_with_any_of_several_prefixes(address):
    names = NameGenerator(in_capitals()).generate(20, Request(prefix=["na", "b", "le"]))
    expected = [asdict(name) for name in names]
    assert ask(address, [], n=20, prefixes=["le", "b", "na"]) == expected
    assert ask(address, [], n=20, prefixes=["le", "b"], prefix="na") == expected


def test_scores_are_those_of_the_library(address):
    names = ["ana", "Anna", "xyz", "be la"]
    assert ask(address, names) == [asdict(name) for name in in_capitals().score(names)]


def test_every_setting_reaches_the_model(address):
    settings = {"n": 400, "new": False, "unique": False}
    plain = ask(address, [], **settings)
    changed = {
        "seed": 1,
        "temperature": 2.0,
        "top_k": 2,
        "top_p": 0.5,
        "prefix": "b",
        "min_length": 6,
        "max_length": 3,
        "min_distance": 4,
        "max_bits": 2.5,
        "clean": True,
        "new": True,
        "unique": True,
        "raw": True,
        "prefixes": ["b", "an"],
    }
    own = {*NOT_SERVED, "given"}
    assert set(changed) == set(SampleSettings.model_fields) - own | {"prefixes"}
    for name, value in changed.items():
        assert ask(address, [], **settings | {name: value}) != plain, name


def test_many_at_once_get_what_one_alone_gets(address):
    def one(i: int) -> list[dict]:
        if i % 3 == 0:
            return ask(address, ["ana", "bela"] * (i + 1))
        return ask(address, [], n=30 + i, seed=i, unique=True, temperature=1 + i / 10)

    alone = [one(i) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(one, [*range(24), *reversed(range(24))]))
    assert together == [*alone, *reversed(alone)]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"inputs": [], "params": {"n": 1001}}, "n must be from 1 to 1,000, got 1,001"),
        ({"inputs": [], "params": {"n": -1}}, "n must be from 1 to 1,000, got -1"),
        ({"inputs": [], "params": {"n": "many"}}, "for value `many`"),
        (
            {"inputs": [], "params": {"n": 5, "temperature": 0}},
            "temperature must be greater than or equal to 0.01, got 0",
        ),
        ({"inputs": [], "params": {"n": 5, "new": "yes"}}, "for value `yes`"),
        (
            {"inputs": [], "params": {"n": 5, "seed": -1}},
            "seed must be greater than or equal to 0, got -1",
        ),
        ({"inputs": [], "params": {"n": 5, "prefix": "q"}}, "which no training name has"),
        ({"inputs": [], "params": {"n": 5, "prefixes": "ab"}}, "must be a 1D array"),
        ({"inputs": [], "params": {"n": 5, "prefixes": ["a", "q"]}}, "the character 'q'"),
        ({"inputs": [], "params": {"n": 5, "prefixes": [None]}}, "prefix must be text"),
        ({"inputs": [], "params": {"n": 5, "min_length": 99}}, "min_length must be at most 12"),
        ({"inputs": ["ana"], "params": {"n": 5}}, "not both"),
        ({"inputs": [], "params": {"n": 5, "min_distance": 50}}, "found 0 of the 5 names"),
        (
            {"inputs": [], "params": {"n": 1000, "min_length": 12, "min_distance": 9}},
            "in more than 50,000 draws",
        ),
        ({"inputs": []}, "give from 1 to 1,000 names to score"),
        ({"inputs": ["a"] * 1001}, "got 1,001"),
        ({"inputs": ["a" * 1001]}, "from 1 to 1,000 characters, and number 1 has 1,001"),
        ({"inputs": ["ana", "  "]}, "number 2 has 0"),
        ({"dataframe_records": [{"name": None}]}, "number 1 is None"),
        ({"dataframe_records": [{"name": 7}]}, "number 1 is 7"),
        ({"dataframe_records": [{"nome": "ana"}]}, "in the column 'name'"),
        ({"names": ["ana"]}, "exactly one of the input fields"),
        ({"inputs": [], "instances": []}, "exactly one of the input fields"),
        ({"messages": ["ana"]}, "exactly one of the input fields"),
        (["ana"], "must be a JSON object, got ['ana']"),
        ({"inputs": ["ana"], "params": 5}, "params must be a JSON object, got 5"),
        ({"dataframe_split": {"columns": ["name"], "data": ["ana"]}}, "rows as long as columns"),
        ({"dataframe_split": {"columns": ["name"], "data": [[]]}}, "rows as long as columns"),
        ({"dataframe_split": {"data": [["ana"]]}}, "rows as long as columns"),
        ({"dataframe_split": 5}, "rows as long as columns"),
        (b"{", "valid JSON"),
        (b"\xff", "valid JSON"),
        ({"inputs": ["\ud800"]}, "valid JSON: 'utf-8' codec can't encode"),
        (b'{"inputs": [' + b"9" * 5000 + b"]}", "valid JSON: Exceeds the limit"),
        (b'{"inputs": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deep"),
        (b'{"inputs": [' + b"[" * 900 + b"]" * 900 + b"]}", "number 1 is [[["),
        ({"inputs": ["a" * 1000] * 101}, "at most 100,000 letters together, got 101,000"),
        ({"inputs": ["a\u0315\u0300" * 2000]}, "number 1 has 6,000"),
    ],
)
def test_a_bad_request_is_a_400_with_a_line_that_says_why(address, body, line):
    status, answer = post(address, body)
    assert status == 400
    assert line in answer["message"]
    assert "\n" not in answer["message"]
    assert "stack_trace" not in answer


@pytest.mark.parametrize("wrong", [None, 5, 5.5, True, [], ["ana"], {}, {"a": 1}, float("nan"), ""])
def test_what_is_no_text_is_no_name_in_whatever_shape_it_comes(address, wrong):
    for names in ([wrong], ["ana", wrong]):
        rows, records = [[name] for name in names], [{"name": name} for name in names]
        columns = {"columns": ["name"], "data": rows}
        for body in (
            {"inputs": names},
            {"inputs": {"name": names}},
            {"inputs": records},
            {"instances": names},
            {"instances": {"name": names}},
            {"instances": records},
            {"dataframe_records": records},
            {"dataframe_split": columns},
            {"dataframe_split": columns | {"index": [*range(7, 7 + len(names))]}},
        ):
            status, answer = post(address, body)
            assert status == 400, body
            if not isinstance(wrong, dict):  # which may be a record without a name
                assert "a name must" in answer["message"]
                assert f"number {len(names)} " in answer["message"]


def test_a_name_is_the_same_in_every_shape_and_other_columns_do_not_count(address):
    scored = ask(address, ["ana"])
    for body in (
        {"inputs": "ana"},
        {"inputs": {"name": ["ana"]}},
        {"inputs": [{"name": "ana", "id": 5}]},
        {"instances": ["ana"]},
        {"instances": [{"name": "ana", "id": 5}]},
        {"dataframe_records": [{"id": None, "name": "ana"}]},
        {"dataframe_split": {"columns": ["id", "name"], "data": [[5, "ana"]]}},
    ):
        assert post(address, body) == (200, {"predictions": scored}), body


def test_a_column_of_pandas_holds_text_or_is_refused(address):
    import mlflow
    import pandas as pd

    served = mlflow.pyfunc.load_model("models:/nomosaurus@champion")
    assert len(served.predict(pd.DataFrame({"name": ["ana", "bela"]}))) == 2
    for wrong in (None, float("nan"), pd.NA, pd.NaT, 5, True, b"ana"):
        for column in ([wrong], ["ana", wrong]):
            with pytest.raises(mlflow.MlflowException, match=r"^(a name must|Incompatible input)"):
                served.predict(pd.DataFrame({"name": pd.Series(column, dtype=object)}))
    with pytest.raises(mlflow.MlflowException, match="Can not safely convert int64"):
        served.predict(pd.DataFrame({"name": [1, 2]}))


def test_a_body_that_no_request_needs_is_a_413(address):
    for size in (1_000_001, 20_000_000):
        status, answer = post(address, b'{"inputs": ["' + b"a" * (size - 16) + b'"]}')
        assert status == 413
        assert answer["message"] == (
            f"a request has at most 1,000,000 bytes, got {size:,}; send fewer names"
        )


def test_a_table_cannot_be_blown_up(address):
    """Each would be a table of gigabytes, were it made as it is asked for."""
    for body in (
        {"inputs": ["a" * 400_000] + ["b"] * 100_000},
        {"inputs": {"other": ["a" * 400_000] + ["b"] * 100_000}},
        {"dataframe_records": [{f"c{i}": 1} for i in range(60_000)]},
        {"dataframe_split": {"columns": ["name"], "data": [[1] * 200_000] + [[]] * 50_000}},
    ):
        assert post(address, body)[0] == 400


def test_only_json_is_read(address):
    for kind in ("text/csv", "application/vnd.apache.parquet", ""):
        status, answer = post(address, b"name\nana\n", kind)
        assert status == 415
        assert "must have the Content-Type application/json" in answer["message"]


def test_names_that_take_too_long_are_given_up():
    with pytest.raises(SamplingError, match=r"of the 1,000,000 names asked for in 0\.2 seconds"):
        list(NameGenerator(make_model()).stream(10**6, Request(unique=False), most_seconds=0.2))


def test_the_most_that_is_allowed_is_answered(address):
    assert len(ask(address, [], n=1000)) == 1000
    assert len(ask(address, ["a" * 100] * 1000)) == 1000
    assert len(ask(address, ["a" * 1000] * 100)) == 100
