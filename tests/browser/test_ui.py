"""What a person who trained four models finds in the MLflow UI, as a browser shows it.

Screenshots lie in the folder that NOMOSAURUS_SCREENSHOTS names, for people to look at.
"""

import json
import os
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clones import clone, command, set_params, succeed
from conftest import CHROMIUM_FLAGS, FROZEN
from servers import mlflow_server

from nomosaurus.tracking.views import ADDRESS

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

pytestmark = [
    pytest.mark.slowest,
    # MLflow, SQLAlchemy and what they need warn of each other's ways.
    pytest.mark.filterwarnings("ignore"),
]

LISTS = ("dinosaurs", "towns")
NETWORKS = [("rnn", 8, 6), ("lstm", 48, 30), ("gru", 24, 20)]  # cell, units, epochs
NAMES = [f"{cell}-{units}-dinosaurs" for cell, units, _ in NETWORKS] + ["gru-24-towns"]
SIZE = {"width": 1700, "height": 1000}
SECONDS = 90  # to wait for what a page shows, on a busy machine


def towns() -> list[str]:
    draw = random.Random(1)
    parts = ["ba", "el", "ro", "win", "mar", "ash", "ol", "ken", "du", "st", "al", "pe"]
    ends = ["ford", "bridge", "ton", "ham", "by", "wick", "mouth", "stead"]
    names = {
        "".join(draw.choices(parts, k=draw.choice([1, 2, 2, 3]))) + draw.choice(ends)
        for _ in range(500)
    }
    return sorted(names)


def train(folder: Path, server: str) -> None:
    """A checkout's list, learnt by one network after the other; dinosaurs go to the registry."""
    for cell, units, epochs in NETWORKS if folder.name == "dinosaurs" else NETWORKS[2:]:
        set_params(folder, model__cell=cell, model__hidden_size=units, train__max_epochs=epochs)
        succeed(folder, "dvc", "repro", MLFLOW_TRACKING_URI=server)
        succeed(folder, "git", "add", "-A")
        succeed(folder, "git", "commit", "-qm", f"{cell} of {units} units")
        if folder.name == "dinosaurs":
            promote(folder, server, promoted=cell != "gru")


def promote(folder: Path, server: str, *, promoted: bool) -> None:
    result = command(folder, "nomosaurus", "promote", MLFLOW_TRACKING_URI=server)
    assert result.returncode == (0 if promoted else 3), result.stdout + result.stderr


@pytest.fixture(scope="module")
def server(chromium, tmp_path_factory) -> str:
    """An MLflow server with four models of two lists. One of dinosaurs was promoted, another
    took its place, and two were refused: a smaller one, and one that learnt towns."""
    root = tmp_path_factory.mktemp("four models")
    with mlflow_server(f"sqlite:///{root}/mlflow.db", root) as address:
        folders = []
        for name in LISTS:
            (root / name).mkdir()
            folders.append(clone(root / name))
        shutil.copyfile(FROZEN / "dinosaurs.csv", folders[0] / "data/dinosaurs.csv")
        (folders[1] / "data/towns.txt").write_text("\n".join(towns()) + "\n", "utf-8")
        for folder, path in zip(folders, ("data/dinosaurs.csv", "data/towns.txt"), strict=True):
            set_params(folder, data__path=path, model__members=1)
        with ThreadPoolExecutor() as pool:
            list(pool.map(train, folders, [address] * len(folders)))
        promote(folders[1], address, promoted=False)
        yield address


@pytest.fixture(scope="module")
def page(chromium, server):
    """A page that loads nothing from elsewhere; other hosts are refused."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        context = browser.new_context(viewport=SIZE)
        context.set_default_timeout(SECONDS * 1000)
        context.route(
            re.compile(rf"^(?!{re.escape(server)}/|data:|blob:)"), lambda route: route.abort()
        )
        context.add_init_script(
            # Greetings of MLflow's to those who come for the first time.
            """localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
            localStorage.setItem("_mlflow_user_setting_dismiss_next_model_registry_ui", "false");"""
        )
        yield context.new_page()
        browser.close()


@pytest.fixture(scope="module")
def runs(server) -> dict[str, str]:
    """The id of each run by its name without the tail."""
    import mlflow

    client = mlflow.MlflowClient(server, server)
    (experiment,) = client.search_experiments(filter_string="name = 'nomosaurus'")
    found = client.search_runs([experiment.experiment_id])
    return {run.info.run_name.rpartition("-")[0]: run.info.run_id for run in found}


@pytest.fixture
def photograph(page, request, tmp_path):
    """Take a picture of the page, under a name, else the test's."""
    folder = Path(os.environ.get("NOMOSAURUS_SCREENSHOTS") or tmp_path).absolute()
    folder.mkdir(parents=True, exist_ok=True)

    def photograph(name: str = "") -> None:
        name = name or request.node.originalname.removeprefix("test_")
        page.screenshot(path=folder / f"{name}.png")

    return photograph


@pytest.fixture
def visit(page, server, photograph):
    """Open a page, wait until it shows the given texts, and photograph it; gives its text."""

    def visit(address: str, *texts: str, name: str = "") -> str:
        page.goto("about:blank")
        page.goto(f"{server}/#/{address}")
        for text in texts:
            page.get_by_text(text).first.wait_for(state="attached")
        page.wait_for_timeout(1000)  # pictures and charts are drawn after their captions
        photograph(name)
        return page.inner_text("body")

    return visit


VIEW = f"experiments/1/runs?{ADDRESS}"


def in_order(text: str, *parts: str) -> bool:
    places = [text.index(part) for part in parts]
    return places == sorted(places)


def width(image) -> int:
    """Of a picture in pixels; 0 if the browser could not draw it."""
    image.wait_for()
    return image.evaluate("image => image.decode().then(() => image.naturalWidth, () => 0)")


def test_the_way_from_the_first_page_leads_to_the_comparison(page, visit):
    visit("", "nomosaurus", name="first_page")
    page.get_by_role("link", name="nomosaurus", exact=True).first.click()
    page.get_by_role("button", name="Got it").click()  # one more greeting
    page.wait_for_timeout(1000)
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Compare models").click()
    for name in NAMES:
        opened.value.get_by_text(name).first.wait_for()
    opened.value.close()


def test_the_run_list_says_what_differs_and_who_is_champion(page, visit, photograph):
    said = visit(VIEW, *NAMES, "verdict")
    columns = ("perplexity", "gain_nats", "verdict", "data.path", "model.cell", "model.hidden_size")
    headers = [
        page.get_by_role("columnheader").filter(has_text=re.compile(f"^{column}$")).last
        for column in columns
    ]
    places = [header.bounding_box()["x"] for header in headers]
    assert places == sorted(places)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.wait_for_timeout(500)
    for header in headers[:4]:  # all of it on a small screen too
        box = header.bounding_box()
        assert box["x"] + box["width"] <= 1280
    photograph("run_list_1280")
    page.set_viewport_size(SIZE)
    best_first = ("lstm-48-dinosaurs", "gru-24-dinosaurs", "rnn-8-dinosaurs")
    places = [page.get_by_text(name).first.bounding_box()["y"] for name in best_first]
    assert places == sorted(places)
    verdicts = re.findall(r"^(?:champion|replaced .*|not promoted: .*)$", said, re.MULTILINE)
    assert sorted(verdicts) == [
        "champion",
        "not promoted: lacks a gain above 0 nats per character",
        "not promoted: lacks the champion's test names",
        "replaced by version 2",
    ]


def test_runs_side_by_side_show_params_as_in_params_yaml(page, visit, runs):
    ids = json.dumps([runs[name] for name in NAMES[:3]])
    page.set_viewport_size({"width": 1700, "height": 2600})
    said = visit(f'compare-runs?runs={ids}&experiments=["1"]', "Comparing 3 Runs", *NAMES[:3])
    sections = ("data.path", "evaluate.", "model.cell", "sample.count", "seed", "train.max_epochs")
    assert in_order(said.partition("Show diff only")[2], *sections)
    page.get_by_text("novelty", exact=True).last.scroll_into_view_if_needed()
    page.get_by_text("perplexity", exact=True).last.wait_for()
    page.set_viewport_size(SIZE)


def test_pictures_of_several_models_stand_side_by_side(page, visit, runs, photograph):
    ids = json.dumps([runs[name] for name in NAMES[:3]])
    visit(f'compare-runs?runs={ids}&experiments=["1"]', "unrolled.svg")
    page.get_by_text("unrolled.svg").dispatch_event("click")
    pictures = page.get_by_role("img", name="unrolled.svg")
    for number in range(3):
        assert width(pictures.nth(number)) > 100
    pictures.first.scroll_into_view_if_needed()
    photograph()


def test_learning_curves_lie_over_each_other(page, visit):
    said = visit(f"{VIEW}&compareRunsMode=CHART", "curve/validation_nats", *NAMES)
    assert re.search(r"curve\s+\(2\)", said)
    for name in NAMES:
        assert page.get_by_text(re.compile(rf"{name}-.*\(curve/validation_nats\)")).count() == 1
    card = page.locator(".js-plotly-plot").nth(1)
    assert card.locator(".scatterlayer path.js-line").count() >= len(NAMES)


def test_names_of_several_models_stand_side_by_side(visit, runs):
    said = visit(f"{VIEW}&compareRunsMode=ARTIFACT", "Compare:", *NAMES)
    assert re.search(r"Table:\s*samples/names.json", said)
    assert re.search(r"Group by:\s*number", said)
    assert re.search(r"Compare:\s*name", said)


def test_a_run_tells_its_figures_ten_names_and_where_it_comes_from(
    page, visit, runs, server, photograph
):
    import mlflow

    visit(f"experiments/1/runs/{runs[NAMES[1]]}", "On names it never saw", "model.cell")
    page.get_by_text("Show more").first.click()
    photograph()
    said = page.inner_text("body")
    logged = mlflow.MlflowClient(server, server).get_run(runs[NAMES[1]]).data.metrics
    wanted = f"{logged['baseline_perplexity']:.3f}"
    assert re.search(rf"Perplexity of the n-gram alone\s+{re.escape(wanted)}", said)
    assert len(re.search(r"\n(.+ · .+)\n", said)[1].split(" · ")) == 10
    assert "nomosaurus version 2: Champion (20" in said
    assert "data/dinosaurs.csv (" in said
    assert re.search(r"verdict\s*: champion", said)
    assert int(re.search(r"Metrics \((\d+)\)", said)[1]) <= 26


def test_a_runs_pictures_and_tables_are_shown(page, visit, runs):
    artifacts = f"experiments/1/runs/{runs[NAMES[1]]}/artifacts"
    for picture in ("unrolled", "activations", "compact"):
        visit(f"{artifacts}/{picture}.svg", f"{picture}.svg", name=picture)
        assert width(page.get_by_role("img", name=f"{picture}.svg").first) > 100
    said = visit(f"{artifacts}/samples/names.csv", "bits_per_char", name="samples")
    assert in_order(said, "name", "log_prob", "bits_per_char", "nearest")


def test_the_registered_model_says_who_is_champion_why_and_how_to_serve_it(visit):
    said = visit("models/nomosaurus", "make serve", "Version 4")
    assert re.search(
        r"Version 2, run lstm-48-dinosaurs-\w{4}, from data/dinosaurs.csv \(MD5 \w{8}\), "
        r"trained at commit \w{7}",
        said,
    )
    assert "version 2 is the champion: against version 1 it saves 0.0" in said
    assert "nomosaurus promote --rollback" in said
    assert re.search(r"Version 2\n[^@]*@\s*champion", said)
    beginnings = ("Not promoted: lacks the", "Not promoted: lacks a gain", "Champion", "Replaced")
    assert in_order(said.partition("Versions")[2], *beginnings)


@pytest.mark.parametrize(
    ("version", "texts"),
    [
        (1, ["Replaced by version 2 (20", "it is the first, and above the floors"]),
        (2, ["Champion (20", "Judged beside version 1 at 20", "against version 1 it saves 0.0"]),
        (3, ["Not promoted: lacks a gain", "against version 2 it saves -0.0", "failed"]),
        (4, ["Not promoted: lacks the", "the champion was judged on test list", "failed"]),
    ],
)
def test_a_version_says_what_became_of_it_and_why(visit, version, texts):
    said = visit(f"models/nomosaurus/versions/{version}", *texts, name=f"version_{version}")
    assert all(text in said for text in texts)
