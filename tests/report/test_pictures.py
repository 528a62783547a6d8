import re
from xml.etree import ElementTree

import pytest
from conftest import make_model

from nomosaurus.errors import NomosaurusError
from nomosaurus.evaluation.explain import explain
from nomosaurus.model.network import GATES
from nomosaurus.params import CELLS
from nomosaurus.report.pictures import draw_activations, draw_compact, draw_unrolled, save_picture


def pictures(model, *names: str) -> dict:
    explanations = [explain(model, name) for name in names]
    return {
        "activations": draw_activations(explanations),
        "unrolled": draw_unrolled(explanations[0]),
        "compact": draw_compact(explanations[0]),
    }


def texts(path) -> list[str]:
    """What an SVG says, text by text."""
    found = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()) for text in found]


@pytest.mark.parametrize("cell", CELLS)
def test_pictures_say_what_they_show(tmp_path, cell):
    for name, figure in pictures(make_model(cell=cell), "belana", "abel").items():
        save_picture(figure, tmp_path / f"{name}.svg")
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
    for attempt in ("one", "other"):
        for name, figure in pictures(make_model(), "belana").items():
            save_picture(figure, tmp_path / attempt / f"{name}.svg")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


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


def test_ids_do_not_depend_on_the_last_bits_of_coordinates(tmp_path):
    # Two drawings of one picture whose layouts differ by less than what is written down.
    figure = draw_compact(explain(make_model(), "belana"))
    save_picture(figure, tmp_path / "one.svg")
    figure.set_layout_engine("none")
    for axes in figure.axes:
        place = axes.get_position()
        axes.set_position([place.x0, place.y0, place.width * (1 + 1e-13), place.height])
    save_picture(figure, tmp_path / "other.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_every_reference_in_a_picture_has_its_definition(tmp_path):
    for name, figure in pictures(make_model(), "belana", "abel").items():
        save_picture(figure, tmp_path / f"{name}.svg")
        text = (tmp_path / f"{name}.svg").read_text("utf-8")
        wanted = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        assert wanted <= set(re.findall(r'\bid="([^"]+)"', text))
