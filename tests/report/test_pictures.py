import os
import random
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import make_model
from drawings import draw_again

from nomosaurus.errors import NomosaurusError
from nomosaurus.evaluation.explain import explain
from nomosaurus.model.network import GATES
from nomosaurus.params import CELLS
from nomosaurus.report.pictures import draw_activations, draw_compact, draw_unrolled, save_picture


def pictures(model, *names: str) -> dict:
    explanations = [explain(model, name) for name in names]
    return {
        "activations.svg": draw_activations(explanations),
        "unrolled.svg": draw_unrolled(explanations[0]),
        "compact.svg": draw_compact(explanations[0]),
    }


def texts(path) -> list[str]:
    """What an SVG says, text by text."""
    found = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()) for text in found]


@pytest.mark.parametrize("cell", CELLS)
def test_pictures_say_what_they_show(tmp_path, cell):
    for name, figure in pictures(make_model(cell=cell), "belana", "abel").items():
        save_picture(figure, tmp_path / name)
    activations = texts(tmp_path / "activations.svg")
    assert f"What network 1 ({cell}) remembers, and what each character costs it" in activations
    assert "belana: what comes" in activations
    assert "abel: what comes" in activations
    assert activations.count("end") == activations.count("start") == 2
    unrolled = texts(tmp_path / "unrolled.svg")
    for word in ("W_ax", "W_aa", "W_ya", "xₜ", "aₜ", "yₜ", "start", "end"):
        assert word in unrolled
    assert sum(bool(re.search(r"\d%", text)) for text in unrolled) == 3 * 7  # three a step
    compact = " ".join(texts(tmp_path / "compact.svg"))
    gates = GATES[cell]
    vocab_size = make_model().vocabulary.size
    for matrix in (
        f"W_ax, {8 * gates} x {vocab_size}",
        f"W_aa, {8 * gates} x 8",
        f"W_ya, {vocab_size} x 8",
    ):
        assert matrix in compact


def test_the_same_picture_has_the_same_bytes(tmp_path):
    draw_again(lambda: pictures(make_model(), "belana"), tmp_path, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_the_same_picture_has_the_same_bytes_in_every_format(tmp_path, kind):
    def draw() -> dict:
        return {f"{n}.{kind}": f for n, f in pictures(make_model(), "belana", "abel").items()}

    draw_again(draw, tmp_path, 4)


@pytest.mark.slowest
@pytest.mark.parametrize("triple", range(int(os.environ.get("NOMOSAURUS_TRIPLES", "1"))))
def test_pictures_of_three_names_have_the_same_bytes_fifty_times(tmp_path, triple):
    chosen = random.Random(triple)
    names = ["".join(chosen.choices("abelnc", k=chosen.randint(1, 3))) for _ in range(3)]
    read = [explain(make_model(), name) for name in names]

    def draw() -> dict:
        drawn = {"activations.svg": draw_activations(read), "unrolled.svg": draw_unrolled(read[1])}
        return drawn | ({} if triple else {"compact.svg": draw_compact(read[0])})

    draw_again(draw, tmp_path, 50)


def test_panels_stand_on_a_grid_that_absorbs_what_the_layout_finds():
    for figure in pictures(make_model(), "belana", "abel").values():
        figure.draw_without_rendering()
        for axes in figure.axes:
            places = axes.get_position(original=True).bounds
            assert np.round(places, 6).tolist() == pytest.approx(places, abs=1e-15)


NAMES = ["a", "東京", "मुंबई", "القاهرة", "🦖", "a$^$b"]
QUICK = [*((name, "svg") for name in NAMES), ("🦖", "png"), ("a", "pdf")]
OTHERS = sorted(
    {(n, kind) for n in [*NAMES, "a" * 60] for kind in ("svg", "png", "pdf")} - {*QUICK}
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [*QUICK, *(pytest.param(*other, marks=pytest.mark.slow) for other in OTHERS)],
)
def test_names_of_any_script_and_length_are_drawn(tmp_path, name, kind):
    model = make_model([name, "ana", "bela"])
    for draw in (lambda one: draw_activations([one]), draw_unrolled):
        save_picture(draw(explain(model, name)), tmp_path / f"x.{kind}")
        assert (tmp_path / f"x.{kind}").stat().st_size > 5000


def test_another_format_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(NomosaurusError, match=r"x\.gif does not end in \.svg, \.png, \.pdf"):
        save_picture(draw_compact(explain(make_model(), "ana")), tmp_path / "x.gif")
    assert not list(tmp_path.iterdir())


def test_every_reference_in_a_picture_has_its_definition(tmp_path):
    for name, figure in pictures(make_model(), "belana", "abel").items():
        save_picture(figure, tmp_path / name)
        text = (tmp_path / name).read_text("utf-8")
        wanted = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        assert wanted <= set(re.findall(r'\bid="([^"]+)"', text))
