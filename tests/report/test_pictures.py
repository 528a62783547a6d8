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
from nomosaurus.report.pictures import (
    EQUATIONS,
    GATE_NAMES,
    draw_activations,
    draw_compact,
    draw_unrolled,
    save_picture,
)


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
    belana, abel = (explain(make_model(cell=cell), name) for name in ("belana", "abel"))
    activations = texts(tmp_path / "activations.svg")
    assert f"What network 1 ({cell}) remembers, and what each character costs it" in activations
    for explanation in (belana, abel):
        bits = sum(step.bits for step in explanation.steps)
        without = sum(step.forgetful_bits for step in explanation.steps)
        assert explanation.name in activations
        assert f"{bits:.0f} bits, {without:.0f} without memory" in activations
    assert activations.count("start") == (4 if cell == "lstm" else 2)  # below a_t, and below c_t
    assert ("8 units of cₜ" in activations) == (cell == "lstm")
    forgotten = "aₜ₋₁ and cₜ₋₁" if cell == "lstm" else "aₜ₋₁"
    assert forgotten in activations
    unrolled = texts(tmp_path / "unrolled.svg")
    for word in ("W_ax", "W_aa", "W_ya", "xₜ", "aₜ", "a₀ = 0", "yₜ = softmax", "start", "end"):
        assert word in unrolled
    assert sum(bool(re.search(r"\d%", text)) for text in unrolled) == 3 * 7  # three a step
    words = texts(tmp_path / "compact.svg")
    compact = " ".join(words)
    gates = GATES[cell]
    vocab_size = make_model().vocabulary.size
    for matrix in (
        f"W_ax, {8 * gates} x {vocab_size}",
        f"W_aa, {8 * gates} x 8",
        f"W_ya, {vocab_size} x 8",
        "b_a",
        "b_y",
        "tanh",
        "softmax",
        "a₀ = 0",
        EQUATIONS[cell],
    ):
        assert matrix in compact
    assert len(GATE_NAMES[cell]) == (gates if gates > 1 else 0)
    for gate in GATE_NAMES[cell]:
        assert gate.split()[0] in compact
    for character in make_model().vocabulary.characters:  # below W_ax and beside W_ya
        assert words.count(character) >= 2


def drawn(axes) -> np.ndarray:
    (image,) = axes.images
    return np.asarray(image.get_array())


@pytest.mark.parametrize("cell", CELLS)
def test_units_stand_in_one_order_that_comes_from_the_weights(cell):
    model = make_model(cell=cell)
    read = [explain(model, name) for name in ("belana", "abel", "nala")]
    weights = model.mixture.networks[0].W_ya.detach().numpy()
    spoken_for = (weights - weights.mean(axis=0)).argmax(axis=0)
    panels = [axes for axes in draw_activations(read).axes if axes.images]
    wanted = [explanation.activations for explanation in read]
    if cell == "lstm":
        wanted += [explanation.cell_states for explanation in read]
    orders = []
    for axes, values in zip(panels, wanted, strict=True):
        rows = [column.tolist() for column in values.T]
        orders.append([rows.index(row.tolist()) for row in drawn(axes)])
    assert orders == [orders[0]] * len(orders)
    assert sorted(orders[0]) == list(range(8))
    assert spoken_for[orders[0]].tolist() == sorted(spoken_for)


def test_a_space_is_visible(tmp_path):
    model = make_model(["la paz", "san jose", "lima"])
    for name, figure in pictures(model, "la paz").items():
        save_picture(figure, tmp_path / name)
        assert "␣" in texts(tmp_path / name), name
        assert " " not in texts(tmp_path / name), name


@pytest.mark.parametrize("names", [["a"], ["belana"], ["a", "belanabelana", "ab"]])
def test_no_text_lies_over_another(names):
    model = make_model([*names, "ana", "bela"], cell="lstm")
    figure = draw_activations([explain(model, name) for name in names])
    figure.draw_without_rendering()
    texts_drawn = [figure._suptitle, figure._supxlabel]  # which have no other name
    texts_drawn += [axes.title for axes in figure.axes] + [a._left_title for a in figure.axes]
    boxes = [text.get_window_extent() for text in texts_drawn if text.get_text()]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        for other in boxes[:i]:
            apart = box.x1 <= other.x0 or other.x1 <= box.x0
            assert apart or box.y1 <= other.y0 or other.y1 <= box.y0


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
