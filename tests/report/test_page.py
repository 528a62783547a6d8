import hashlib
import math
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from conftest import CHROMIUM_FLAGS, REPOSITORY, make_model, params_with
from finished import TRAINED, figure

from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.evaluation.figures import CATALOGUE
from nomosaurus.report.page import GROUPS, PICTURES, build_report, whiskers

FLAGS = ["--hide-scrollbars", "--allow-file-access-from-files"]

SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 40">
<rect id="a" width="90" height="40"/></svg>"""

PREPARED = {
    "rows_read": 14,
    "names_kept": 12,
    "duplicates_merged": 1,
    "dropped_empty": 0,
    "dropped_too_long": 1,
    "names_train": 10,
    "names_validation": 1,
    "names_test": 1_234,
    "longest_name": 6,
    "mean_length": 4.5,
    "unknown_validation": 0,
    "unknown_test": 0,
    "familiar_test": 0,
    "case_kept": 0.975,
    "several_categories": 0,
}


FIGURES = {
    # 3 bits per character, and the n-gram 4.
    "perplexity": figure(8.0, 7.0, 9.0),
    "bits_per_char": figure(3.0, 2.8, 3.2),
    "network_perplexity": figure(9.0, 8.0, 10.0),
    "baseline_perplexity": figure(16.0, 12.0, 17.0),
    "gain_nats": figure(math.log(2), math.log(2) / 2, math.log(2) * 2),
    "novelty": figure(0.975),
}


def names(*rows: tuple) -> pd.DataFrame:
    columns = ["name", "bits_per_char", "new", "nearest", "distance"]
    return pd.DataFrame(rows or [("belana", 1.234, True, "elena", 3)], columns=columns)


def page(
    figures=FIGURES,
    drawn=None,
    prepared=PREPARED,
    categories=(),
    model=None,
    trained=TRAINED,
) -> str:
    params = params_with()
    return build_report(
        model or make_model(),
        b"the model file",
        prepared,
        trained,
        {"figures": figures, "categories": list(categories)},
        names() if drawn is None else drawn,
        {"another_one.svg": SVG, "lengths.svg": SVG, "learning_curve.svg": SVG},
        params.evaluate,
        params.sample,
        "1.2.3",
    )


class Reader(HTMLParser):
    """The text that a person sees, and every attribute, by tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.in_style = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.in_style = tag == "style"

    def handle_data(self, data):
        if not self.in_style:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def text(html: str) -> str:
    return Reader(html).text


def test_it_says_what_list_what_model_and_how_to_repeat_it():
    said = text(page())
    assert "dinosaurs" in said
    for part in ("rows read 14", "dropped: too long 1", "merged with an equal name 1"):
        assert part in said
    assert "10 to learn from, 1 to choose by (validation), 1,234 to test on" in said
    assert "2 × gru , 8 units in one layer" in said
    assert "987,654 in all" in said
    assert "order 3" in said
    assert "0.2 where it has seen none of the context, 0.4 where" in said
    assert "train.max_epochs 20" in said
    assert hashlib.sha256(b"the model file").hexdigest() in said
    assert f"-S {hashlib.md5(b'the model file').hexdigest()} -- dvc.lock" in said


def test_the_gain_is_told_in_the_unit_of_the_figures_before_it():
    said = text(page())
    assert "It predicts names it never saw better than the n-gram." in said
    assert "On 1,234 names it never saw, the model needs 3.00 bits per character" in said
    assert "the n-gram alone 4.00" in said
    assert "it saves 1.000 bits per character (95 % interval 0.500 to 2.000)" in said


def test_it_says_when_the_n_gram_wins():
    said = text(page(FIGURES | {"gain_nats": figure(-math.log(2), -1.0, -math.log(2) / 2)}))
    assert "It does not beat the n-gram" in said
    assert "the model costs 1.000 bits per character more (95 % interval 0.500 to 1.443)" in said
    assert "worse than the n-gram" in said
    assert "better than the n-gram" not in said


def test_it_says_when_the_difference_may_be_chance():
    said = text(page(FIGURES | {"gain_nats": figure(0.1, -0.1, 0.3)}))
    assert "It is not shown to predict names better than the n-gram." in said
    assert "−0.144 to 0.433" in said
    assert "the interval holds 0" in said


def test_it_says_when_names_are_too_few():
    without = {key: figure(parts["value"]) for key, parts in FIGURES.items()}
    said = text(page(without, prepared=PREPARED | {"names_test": 1}))
    assert "Too few names to tell whether it beats the n-gram." in said
    assert "On 1 name it never saw" in said
    assert "1 test name: too few for an interval" in said
    assert "predicts names it never saw better" not in said
    assert "this model 8.00 too few names" in said


@pytest.mark.parametrize(
    ("floor", "reading"),
    [
        (0.2, "further from the list than real held-out names are"),
        (0.3, "as close to the list as real held-out names are"),
        (0.5, "closer to the list than real held-out names are"),
        (None, ""),
    ],
)
def test_a_distance_is_read_against_held_out_names(floor, reading):
    said = text(page(FIGURES | {"js_2gram": figure(0.3, 0.25, 0.35, floor)}))
    readings = re.findall(r"\w+ (?:from|to) the list (?:than|as) real held-out names are", said)
    assert reading.endswith(readings[0]) if reading else not readings


@pytest.mark.parametrize(
    ("floor", "reading"),
    [
        (2.5, "20.0 % further from the learnt names than"),
        (4.0, "25.0 % nearer to the learnt names than"),
        (3.01, "as far from the learnt names as"),
    ],
)
def test_originality_is_read_against_held_out_names(floor, reading):
    said = text(page(FIGURES | {"nearest_distance": figure(3.0, 2.9, 3.1, floor)}))
    assert f"{reading} real held-out names are" in said


@pytest.mark.parametrize(
    ("start", "other", "words"),
    [
        ("base", {"fresh_validation_nats": 2.25}, "a fresh start came to 2.250 nats"),
        ("fresh", {"base_validation_nats": 2.25}, "from the networks of models/base.safetensors"),
    ],
)
def test_it_says_how_the_networks_started_and_what_the_other_way_came_to(start, other, words):
    model = make_model()
    train = model.recipe.train.model_copy(update={"start": start})
    model = replace(model, recipe=model.recipe.model_copy(update={"train": train}))
    assert words in text(page(model=model, trained=TRAINED | other))
    assert words not in text(page())


def test_case_and_familiar_names_are_told():
    said = text(page(prepared=PREPARED | {"familiar_test": 2}))
    assert "97.5 % of the held-out names got their own capitals back" in said
    assert "2 test names that the base had learnt are left out of the figures" in said
    assert "that the base had learnt" not in text(page())


def test_an_interval_without_width_is_not_shown():
    said = text(page(FIGURES | {"truncated": figure(0.0, 0.0, 0.0)}))
    assert "0.0 % to 0.0 %" not in said
    assert "0 of 10,000 draws are cut off" in said


def test_what_is_null_is_left_out_and_what_is_unknown_has_its_key():
    said = text(page(FIGURES | {"uniqueness_at_1k": figure(None), "shininess": figure(0.1234)}))
    assert "uniqueness_at_1k" not in said
    assert said.index("Other figures") < said.index("shininess") < said.index("0.1234")
    assert "Other figures" not in text(page())


def test_every_figure_of_the_catalogue_is_explained():
    rows = [key for group in GROUPS.values() for key in group]
    assert sorted([*rows, "baseline_perplexity"]) == sorted(CATALOGUE)


def test_every_picture_of_the_stage_has_its_caption():
    drawn = {path.name for path in (REPOSITORY / "plots/evaluate").glob("*.svg")}
    assert drawn == PICTURES.keys()
    said = text(page())
    assert PICTURES["lengths.svg"][2] in said


def test_pictures_have_the_pages_order_and_unknown_ones_come_last():
    titles = re.findall(r'<h3 id="picture-\d">(.+?)</h3>', page())
    assert titles == ["Learning", "Length of names", "another one"]


def test_names_come_with_bits_nearest_name_and_whether_they_are_new():
    drawn = names(("nalana", 1.234, True, "nala", 2), ("ana", 0.5, False, "ana", 0))
    said = text(page(drawn=drawn))
    assert "nalana 1.23 bits · 2 edits from nala" in said
    assert "ana on the list · 0.50 bits · a name it learnt" in said
    assert "1 of them is on the list" in said
    assert "1 of the names above is a single edit from a learnt name, or none." in said
    assert "None of them is on the list" in text(page())


def test_fifty_names_are_shown_of_a_hundred():
    drawn = names(*((f"name{i}", 1.0, True, "ana", 9) for i in range(100)))
    said = text(page(drawn=drawn))
    assert "50 names it wrote" in said
    assert "name49" in said
    assert "name50" not in said


EVIL = """<script>document.title="taken"</script><img src=x onerror='document.title="taken"'>"""


def test_names_and_categories_are_text_whatever_they_are():
    category = {
        "category": EVIL,
        "names": 1,
        "nats_per_char": figure(1.0),
        "condition_gain_nats": figure(0.5, 0.25, 0.75),
    }
    html = page(drawn=names((EVIL, 1.0, True, EVIL, 1)), categories=[category])
    reader = Reader(html)
    assert EVIL.split()[-1] in reader.words
    assert not {tag for tag, _ in reader.tags} & {"script", "iframe", "link", "object"}
    assert not any(name.startswith("on") for _, found in reader.tags for name in found)
    assert "1.000 too few names 0.500 0.250 to 0.750" in reader.text


def test_nothing_is_loaded_from_elsewhere():
    html = page()
    reader = Reader(html)
    targets = [
        value
        for _, attributes in reader.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data")
    ]
    assert targets
    targets.remove("play.html")  # a link to follow
    assert all(target.startswith(("#", "data:image/svg+xml;base64,")) for target in targets)
    assert "@import" not in html
    assert "url(" not in html
    (policy,) = (found["content"] for _, found in reader.tags if "http-equiv" in found)
    assert "default-src 'none'" in policy


def test_every_reference_inside_the_page_has_its_target():
    tags = Reader(page()).tags
    ids = [found["id"] for _, found in tags if "id" in found]
    assert len(ids) == len(set(ids))
    links = {found["href"] for tag, found in tags if tag == "a"} - {"play.html"}
    wanted = {link.removeprefix("#") for link in links}
    wanted |= {found["aria-labelledby"] for _, found in tags if "aria-labelledby" in found}
    assert wanted <= set(ids)
    assert all(found["alt"] for tag, found in tags if tag == "img")


def test_equal_inputs_give_equal_bytes():
    assert page() == page()


def test_whiskers_keep_their_order_and_their_proportions():
    figures = {key: Estimate(**parts) for key, parts in FIGURES.items()}
    model, networks, ngram = whiskers(figures)
    # From 7 to 17 with 6 % of 10 on either side: a width of 11.2 that begins at 6.4.
    assert model["low"] == round(100 * 0.6 / 11.2, 2)
    assert model["point"] == round(100 * 1.6 / 11.2, 2)
    assert ngram["high"] == round(100 * 10.6 / 11.2, 2)
    assert model["point"] < networks["point"] < ngram["point"]


def test_a_single_value_has_its_place_in_the_middle():
    same = Estimate(5.0)
    keys = ("perplexity", "network_perplexity", "baseline_perplexity")
    assert [row["point"] for row in whiskers(dict.fromkeys(keys, same))] == [50.0] * 3


def browse(chromium: str, folder, *arguments: str) -> str:
    command = [
        chromium,
        *CHROMIUM_FLAGS,
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        *arguments,
    ]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=120)
    return result.stdout


@pytest.mark.slow
def test_a_browser_shows_it_and_runs_nothing(chromium, tmp_path):
    drawn = names((EVIL, 1.0, True, "ana", 9), ("شقراء", 1.0, True, "أسماء", 3))
    path = tmp_path / "report.html"
    path.write_text(page(drawn=drawn), "utf-8")
    picture = tmp_path / "report.png"
    dom = browse(
        chromium,
        tmp_path,
        "--window-size=1400,2000",
        f"--screenshot={picture}",
        "--dump-dom",
        path.as_uri(),
    )
    said = text(dom)
    assert "شقراء 1.00 bits · 3 edits from أسماء" in said
    assert EVIL.split()[-1] in said.split()
    assert "dinosaurs: a Nomosaurus report" in said
    pixels = matplotlib.image.imread(picture)
    assert pixels.shape[:2] == (2000, 1400)
    # Letters, lines and the ground: neither blank nor unstyled.
    ground = pixels[5, 5]
    inked = (np.abs(pixels - ground) > 0.2).any(axis=2)
    assert 0.005 < inked.mean() < 0.5
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 400, 1400])
def test_it_fits_the_width_of_a_phone_and_of_a_desk(chromium, tmp_path, width):
    long = "taumatawhakatangihangakoauauotamateaturipukakapikimaungahoronukupokaiwhenua"
    drawn = names((long, 1.0, True, long, 1))
    (tmp_path / "report.html").write_text(page(drawn=drawn), "utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"""<iframe src="report.html" width="{width}" height="800"></iframe><p></p><script>
        onload = () => document.querySelector("p").textContent = "width " +
          document.querySelector("iframe").contentDocument.documentElement.scrollWidth;
        </script>""",
        "utf-8",
    )
    dom = browse(chromium, tmp_path, "--window-size=1500,900", "--dump-dom", frame.as_uri())
    assert f"width {width}" in text(dom)
