"""The page to play with: what is packed into it, and that it computes what the program does."""

import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import CATEGORIES, CHROMIUM_FLAGS, NAMES, make_model, params_with

from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.request import Request
from nomosaurus.names.casing import Casing
from nomosaurus.names.corpus import name_hash
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.params import CELLS
from nomosaurus.report import play
from nomosaurus.report.play import ArticleNetwork, build_play_page, pack, rounded_network
from nomosaurus.training.lesson import teach

SECONDS = 60


def build(model, monkeypatch, validation=None) -> str:
    monkeypatch.setattr("nomosaurus.training.lesson.MOST_EPOCHS", 3)
    taught = teach(model, model.train, params_with())
    return build_play_page(model, validation or model.train, ArticleNetwork(*taught))


class Scripts(HTMLParser):
    """The scripts of a page, and every address that it names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action")]

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data


@pytest.mark.parametrize("bits", play.BITS)
def test_what_is_packed_is_the_rounded_network_and_the_names(bits):
    model = make_model(cell="lstm")
    network = model.mixture.networks[0]
    matrices = [w.numpy().reshape(len(w), -1) for w in network.state_dict().values()]
    content = zlib.decompress(pack(matrices, model.train, bits))
    rows, cells = sum(map(len, matrices)), sum(m.size for m in matrices)
    scales = np.frombuffer(content, "<f4", rows)
    low = np.frombuffer(content, np.uint8, cells, 4 * rows)
    whole = low.astype(np.int8).astype(float)
    end = 4 * rows + cells
    if bits > 8:
        whole = np.frombuffer(content, np.int8, cells, end) * 256.0 + low
        end += cells
    widths = np.concatenate([np.full(len(m), m.shape[1]) for m in matrices])
    unpacked = whole * np.repeat(scales, widths)
    packed = rounded_network(network, bits).state_dict().values()
    assert unpacked == pytest.approx(np.concatenate([w.numpy().ravel() for w in packed]))
    # No weight is off by more than half a step of its row.
    exact = np.concatenate([matrix.ravel() for matrix in matrices])
    assert (np.abs(unpacked - exact) <= 0.5001 * np.repeat(scales, widths)).all()
    names = [[0, *model.train[i]] for i in range(len(model.train))]
    assert np.frombuffer(content[end:], "<u2").tolist() == [i for name in names for i in name]


def test_a_page_is_small_loads_nothing_and_is_the_same_twice(monkeypatch):
    model = make_model()
    page = build(model, monkeypatch)
    assert page == build(model, monkeypatch)
    assert len(page.encode()) < play.LARGEST_PAGE
    assert all(address.startswith("#") for address in Scripts(page).addresses)
    assert "default-src 'none'" in page


def test_a_model_that_would_make_a_large_page_has_fewer_bits(monkeypatch):
    model = make_model(hidden_size=64)
    large = len(build(model, monkeypatch).encode())
    monkeypatch.setattr(play, "LARGEST_PAGE", large - 1)
    page = build(model, monkeypatch)
    assert len(page.encode()) < large
    assert '"bits": 8' in page


def test_what_a_list_says_ends_no_script(monkeypatch):
    names = ["</script><b>", "<!--", *NAMES]
    model = make_model(names)
    recipe = model.recipe
    data = recipe.data.model_copy(update={"path": "data/<b>&.txt"})
    hostile = replace(model, recipe=recipe.model_copy(update={"data": data}))
    page = build(hostile, monkeypatch)
    assert "<b>" not in page.split('<script id="engine">')[0]
    content = json.loads(Scripts(page).scripts[0])
    assert content["file"] == "data/<b>&.txt"
    assert "<" in content["characters"]


def test_held_out_names_are_in_the_page_as_hashes_alone(monkeypatch):
    model = make_model()
    secret = "zyxwvut"
    key = model.recipe.data.split_key
    hashes = np.sort(np.append(model.known_hashes, np.uint64(name_hash(secret, key))))
    page = build(replace(model, known_hashes=hashes), monkeypatch)
    assert secret not in page
    (content, *_) = Scripts(page).scripts
    assert json.loads(content)["held_out"] == [f"{name_hash(secret, key):016x}"]


def test_both_languages_say_the_same_things():
    words = (play.PARTS / "words.js").read_text("utf-8")
    english, spanish = words.split("\n  en: {")[1].split("\n  es: {")
    keys = [
        re.findall(r'^ +"?([\w:]+)"?: [\["{]', part, re.MULTILINE) for part in (english, spanish)
    ]
    assert keys[0] == keys[1] and len(keys[1]) > 80
    values = [re.findall(r"\{(\w+)\}", part) for part in (english, spanish)]
    assert sorted(values[0]) == sorted(values[1])
    used = (play.PARTS / "play.html").read_text() + (play.PARTS / "play.js").read_text()
    for key in re.findall(r'data-w="(\w+)"', used) + re.findall(r'say\("([\w:]+)"', used):
        assert key in keys[1], key


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser(chromium):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield started
        started.close()


class Opened:
    """A page in a browser; what goes wrong in it is in `problems`."""

    def __init__(self, browser, path: Path, html: str, **context) -> None:
        path.write_text(html, "utf-8")
        self.problems: list[str] = []
        self.page = browser.new_context(**context).new_page()
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready]")

    def _asked(self, url: str) -> None:
        if not url.startswith(("file:", "blob:", "data:")):
            self.problems.append(f"it asked for {url}")

    def write(self) -> list[str]:
        self.page.click(".primary")
        self.page.wait_for_selector("#request[aria-busy=false]")
        return self.page.locator("#names .name").all_inner_texts()


SPACED = ["San Juan", "Vega de la Cruz", "Santa Ana", "McDonald", "Ñu Ñu", "Ölö", "de Tera"]
GREEK = ["Όλυμπος", "Δελφοί", "Αθήνα", "Σπάρτη", "Κόρινθος"]
MODELS = {
    **{cell: {"cell": cell} for cell in CELLS},
    "layers": {"cell": "lstm", "num_layers": 2, "hidden_size": 6},
    "odd": {"cell": "rnn", "hidden_size": 7, "members": 1},
    "categories": {"categories": CATEGORIES},
    "spaced": {"names": [name.lower() for name in SPACED]},
    "greek": {"names": [name.lower() for name in GREEK]},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_the_browser_computes_what_the_program_does(kind, browser, monkeypatch, tmp_path):
    model = make_model(**MODELS[kind])
    if kind in ("spaced", "greek"):
        model = replace(model, casing=Casing.learn(SPACED if kind == "spaced" else GREEK))
    page = Opened(browser, tmp_path / "play.html", build(model, monkeypatch))
    generator = NameGenerator(model)
    names = [model.vocabulary.decode(model.train[i]) for i in range(4)]
    names += ["q", "abéz", names[0][::-1], " ".join(names[:2])]
    categories = range(-1, model.mixture.num_categories)
    for c in categories:
        given = None if c < 0 else model.vocabulary.categories[c]
        wanted = [-score.log_prob for score in generator.score(names, given)]
        found = page.page.evaluate(
            "([names, c]) => names.map((name) => model.nats(model.normalise(name), c))", [names, c]
        )
        assert found == pytest.approx(wanted, abs=1e-3)
        settings = {"seed": 5, "temperature": 1.2, "min_length": 2, "max_length": 9}
        written = generator.generate(40, Request(given=given, **settings))
        found = page.page.evaluate(
            """(c) => [...new Generator(model, {seed: 5, temperature: 1.2, minLength: 2,
            maxLength: 9, category: c}).names(40)].filter(Boolean)
            .map((name) => [name.written, -name.nats])""",
            c,
        )
        assert [name for name, _ in found] == [name.name for name in written]
        assert [x for _, x in found] == pytest.approx([name.log_prob for name in written], abs=1e-3)
    for name in names[:4]:
        near = generator.nearest(name[1:] + "x")
        found = page.page.evaluate("(name) => model.nearest(model.encode(name))", name[1:] + "x")
        assert (found["name"], found["distance"]) == (near.name, near.distance)
    assert not page.problems


@pytest.mark.slow
def test_what_is_drawn_is_not_drawn_again_as_in_the_program(browser, monkeypatch, tmp_path):
    # At a low temperature the names of a block hold most of the probability, so that the
    # distribution without them is computed anew, block after block.
    model = make_model(["ab", "ba", "aab", "bab"])
    page = Opened(browser, tmp_path / "play.html", build(model, monkeypatch))
    request = Request(temperature=0.4, seed=2, max_length=7, new=False)
    wanted = [name.name for name in NameGenerator(model).generate(150, request)]
    found = page.page.evaluate(
        """() => [...new Generator(model, {temperature: 0.4, seed: 2, maxLength: 7, isNew: false})
        .names(150)].filter(Boolean).map((name) => name.written)"""
    )
    assert found == wanted and len(set(found)) == 150


@pytest.mark.slow
def test_products_hashes_and_random_numbers_are_the_right_ones(browser, monkeypatch, tmp_path):
    page = Opened(browser, tmp_path / "play.html", build(make_model(), monkeypatch)).page
    draw = np.random.default_rng(0)
    for R, H, n in [(8, 5, 4), (7, 3, 9), (1, 1, 1), (6, 16, 3)]:
        W, x = draw.normal(size=(R, H)), draw.normal(size=(n, H))
        for fast in ("FAST", "null"):
            found = page.evaluate(
                f"""([W, x, R, H, n]) => {{
                const [matrix, out] = [Float32Array.from(W), new Float32Array(n * R)];
                new Matrix(matrix, R, H, {fast}).multiply(Float32Array.from(x), n, out);
                return [...out];
                }}""",
                [W.ravel().tolist(), x.ravel().tolist(), R, H, n],
            )
            assert found == pytest.approx((x @ W.T).ravel().tolist(), abs=1e-5)
    assert page.evaluate("FAST !== null"), "the browser has WebAssembly"
    for name in ("", "olive", "ñ" * 40, "x" * 300):
        found = page.evaluate("(name) => keyedHash(name, 'nomosaurus')", name)
        assert found == f"{name_hash(name, 'nomosaurus'):016x}"
    for seed in (0, 7, 2**53 - 1):
        generator = np.random.Generator(np.random.Philox(key=seed))
        found = page.evaluate(f"[...philox({seed}, 0), ...philox({seed}, 1)]")
        assert found == generator.random(8).tolist()


@pytest.mark.slow
def test_a_person_makes_names_keeps_some_and_follows_one(browser, monkeypatch, tmp_path):
    model = make_model()
    html = build(model, monkeypatch)
    opened = Opened(browser, tmp_path / "play.html", html, locale="en-GB")
    page = opened.page
    page.select_option("[name=count]", "10")
    first, second = opened.write(), opened.write()
    assert len(first) == len(second) == 10 and first != second
    wanted = NameGenerator(model).generate(10, Request(seed=1))
    assert second == [name.name for name in wanted]
    assert page.inner_text("#command") == "nomosaurus generate -n 10 --seed 1 --temperature 0.7"
    page.locator(".star").nth(2).click()
    assert page.locator("#favourites button").all_inner_texts() == [f"{second[2]} ×"]
    with page.expect_download() as download:
        page.click("#save-kept")
    rows = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    assert rows[0] == "name,bits_per_char,nearest,distance"
    assert rows[1].startswith(f'"{second[2]}",')
    page.fill("[name=prefix]", "§")
    page.click(".primary")
    assert "can only write letters that it has seen" in page.inner_text("#progress")

    page.fill("#name", NAMES[0])
    assert page.locator(".step").count() == len(NAMES[0]) + 1
    assert "It is on the list" in page.inner_text("#verdict")
    remembered = page.inner_text("#steps")
    page.check("#forget")
    assert page.inner_text("#steps") != remembered
    page.locator(".step").nth(2).click()
    assert f"reads {NAMES[0][1]}" in page.inner_text("#closely")
    page.select_option("#network", "-1")
    assert "tanh(W_aa a′ + W_ax x + b_a)" in page.inner_text("#terms")
    page.fill("#name", "")
    assert "at least one letter" in page.inner_text("#verdict")
    page.click("[data-language=es]")
    assert page.inner_text("#make-title") == "Crear nombres"
    assert page.get_attribute("html", "lang") == "es"
    assert not opened.problems


@pytest.mark.slowest  # since make test-all installs axe
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_axe_finds_nothing_serious(
    width, scheme, browser, monkeypatch, tmp_path
):
    axe = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python")
    html = build(make_model(categories=CATEGORIES), monkeypatch)
    size = {"width": width, "height": 900}
    opened = Opened(browser, tmp_path / "play.html", html, viewport=size, color_scheme=scheme)
    opened.write()
    opened.page.locator(".star").first.click()
    opened.page.evaluate("document.querySelector('details').open = true")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    opened.page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text("utf-8"))
    found = opened.page.evaluate("axe.run()")["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] != "minor"] == []


def test_examples_are_validation_names_of_known_characters(monkeypatch):
    model = make_model()
    validation = EncodedNames.from_names(["öö", NAMES[1], NAMES[2]], model.vocabulary)
    (content, *_) = Scripts(build(model, monkeypatch, validation)).scripts
    assert set(json.loads(content)["examples"]) == set(NAMES[1:3])
    strange = EncodedNames.from_names(["öö"], model.vocabulary)
    (content, *_) = Scripts(build(model, monkeypatch, strange)).scripts
    assert json.loads(content)["examples"] == [NAMES[0]]
