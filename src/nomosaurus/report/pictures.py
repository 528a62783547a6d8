"""Pictures of a network at work, as SVG, PNG or PDF: activations, the unrolled and compact views.

They are drawn from a trained network's real weights and activations. On a white ground, so
that they read in dark mode too. SVG keeps its letters as text, so that a viewer shows any
script in its own fonts.
"""

# T time steps, H hidden

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import FancyArrowPatch, Rectangle

from nomosaurus.errors import NomosaurusError, printable
from nomosaurus.evaluation.explain import Explanation
from nomosaurus.files import replace_file

FORMATS = (".svg", ".png", ".pdf")
START, END = "start", "end"
COLOURS = "RdBu_r"  # blue below 0, white at 0, red above
BLUE, ORANGE = "#2f5d8a", "#c9752d"  # everyone can tell them apart
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "nomosaurus",  # equal pictures, equal bytes
    "text.parse_math": False,  # a name may hold dollar signs
    "font.size": 9,
    "axes.titlesize": 10,
}


class Layout(ConstrainedLayoutEngine):
    """Matplotlib's constrained layout, rounded to a millionth of the figure.

    Its solver sorts its variables by their addresses in memory, so the last bits of what it finds
    differ from one drawing to the next. They would reach the ids in an SVG and the edges of pixels.
    """

    def execute(self, fig: Figure) -> None:
        """Place the panels of a figure."""
        super().execute(fig)
        for axes in fig.axes:
            axes.set_position(np.round(axes.get_position(original=True).bounds, 6).tolist())
            axes.set_in_layout(True)  # which a position set by hand ends


def save_picture(figure: Figure, path: Path) -> None:
    """Write a picture in the format that its name ends in.

    Raises:
        NomosaurusError: If that is none of `FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        raise NomosaurusError(
            f"{path} does not end in {', '.join(FORMATS)}, the formats that pictures come in"
        )
    kind = path.suffix.lower()[1:]
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    drawn = BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # Letters that the drawing font lacks: an SVG's viewer has them, a PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(drawn, format=kind, dpi=150, metadata=undated[kind])
    content = drawn.getvalue()
    if kind == "svg":
        content = printable(content.decode()).encode()  # a control character is no XML
    replace_file(path, lambda beside: beside.write_bytes(content))


def draw_pictures(explanations: Sequence[Explanation]) -> dict[str, Figure]:
    """Every picture, by its name: all names' activations, the middle one unrolled, the network."""
    return {
        "activations": draw_activations(explanations),
        "unrolled": draw_unrolled(explanations[len(explanations) // 2]),
        "compact": draw_compact(explanations[0]),
    }


def draw_activations(explanations: Sequence[Explanation]) -> Figure:
    """What each character cost, and below it all units of a_t, for one or more names.

    Time goes across. The units are sorted by the step at which they are strongest, then by
    their sign there, so that units that work together stand together.
    """
    with mpl.rc_context(STYLE):
        widths = [len(explanation.steps) for explanation in explanations]
        figure = Figure(figsize=(max(5.0, 0.36 * sum(widths) + 1.8), 5.2), layout=Layout())
        panels = figure.subplots(
            2, len(widths), squeeze=False, width_ratios=widths, height_ratios=[1, 2]
        )
        highest = max(max(step.bits, step.forgetful_bits) for e in explanations for step in e.steps)
        for column, explanation in enumerate(explanations):
            costs, units = panels[:, column]
            _draw_costs(costs, explanation, highest)
            image = _draw_units(units, explanation)
            if column == 0:
                costs.set_ylabel("bits")
                units.set_ylabel(f"units of aₜ ({explanation.network.params.hidden_size})")
                figure.legend(
                    *costs.get_legend_handles_labels(), loc="outside upper right", frameon=False
                )
            else:
                costs.set_yticklabels([])
        figure.colorbar(image, ax=panels[1, :].tolist(), label="aₜ", aspect=30)
        figure.supxlabel("xₜ, the character that is read", fontsize=9)
        params, number = explanations[0].network.params, explanations[0].number
        figure.suptitle(
            f"What network {number} ({params.cell}) remembers, and what each character costs it",
            fontsize=11,
            x=0.01,
            ha="left",
        )
    return figure


def _draw_costs(axes: Axes, explanation: Explanation, highest: float) -> None:
    steps = explanation.steps
    place = np.arange(len(steps))
    axes.bar(place, [step.bits for step in steps], 0.7, color=BLUE, label="with its memory")
    axes.plot(
        place,
        [step.forgetful_bits for step in steps],
        "_",
        color=ORANGE,
        markersize=11,
        markeredgewidth=2,
        label="had it forgotten aₜ₋₁",
    )
    axes.set(xlim=(-0.5, len(steps) - 0.5), ylim=(0, 1.25 * highest))
    axes.set_xticks(place, [step.target or END for step in steps])
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{explanation.name}: what comes", loc="left")
    _turn_words(axes)


def _draw_units(axes: Axes, explanation: Explanation) -> AxesImage:
    activations = explanation.activations.T  # (H, T)
    strongest = np.abs(activations).argmax(axis=1)  # (H,)
    value = activations[np.arange(len(activations)), strongest]
    order = np.lexsort((value, strongest))
    image = axes.imshow(
        activations[order], aspect="auto", cmap=COLOURS, vmin=-1, vmax=1, interpolation="nearest"
    )
    axes.set_xticks(range(len(explanation.steps)), [s.x or START for s in explanation.steps])
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0)
    _turn_words(axes)
    return image


def _turn_words(axes: Axes) -> None:
    for label in axes.get_xticklabels():
        if label.get_text() in (START, END):
            label.set(rotation=90, fontsize=7)


def draw_unrolled(explanation: Explanation, most_likely: int = 3) -> Figure:
    """The unrolled view: a column a time step, with the real x_t, a_t and y_t.

    Every column has the same parameters; the arrows between them carry the memory.

    Args:
        explanation: The name.
        most_likely: How many of the characters that y_t finds likeliest to name.
    """
    steps = explanation.steps
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.15 * len(steps) + 1.1, 4.6), layout=Layout())
        axes = figure.subplots()
        axes.axis("off")
        strip = _strips(explanation)
        for t, step in enumerate(steps):
            axes.text(
                t,
                0.1,
                step.x or START,
                ha="center",
                va="center",
                bbox={"boxstyle": "round,pad=0.35", "fc": "white", "ec": "0.25"},
            )
            _framed(axes, strip[t], (t - 0.3, 1.0, 0.6, 1.2), limit=1)
            _arrow(axes, (t, 0.38), (t, 0.98), "W_ax" if t == 0 else "")
            _arrow(axes, (t, 2.22), (t, 2.78), "W_ya" if t == 0 else "")
            _arrow(axes, (t - 0.68, 1.6), (t - 0.31, 1.6), "W_aa" if t == 1 else "", above=True)
            for rank, (symbol, probability) in enumerate(
                explanation.most_likely(step, most_likely)
            ):
                y = 3.75 - 0.36 * rank
                came = symbol == step.target
                axes.barh(y, 0.62 * probability, 0.3, left=t - 0.31, color=BLUE, alpha=0.45)
                axes.text(
                    t - 0.29,
                    y,
                    f"{symbol or END}  {_percent(probability)}",
                    va="center",
                    fontsize=8,
                    fontweight="bold" if came else "normal",
                )
            axes.text(t, 4.15, step.target or END, ha="center", color=BLUE, fontweight="bold")
        axes.set(xlim=(-1.05, len(steps) - 0.4), ylim=(-0.35, 4.6), aspect="auto")
        for y, label in ((0.1, "xₜ"), (1.6, "aₜ"), (3.4, "yₜ"), (4.15, "came")):
            axes.text(-1.0, y, label, va="center", fontstyle="italic")
        params = explanation.network.params
        figure.suptitle(
            f"The unrolled view: network {explanation.number} ({params.cell}, "
            f"{params.hidden_size} units) reads {explanation.name}, "
            "with the same parameters at every step",
            fontsize=11,
        )
    return figure


def _framed(
    axes: Axes, values: np.ndarray, place: tuple[float, float, float, float], limit: float
) -> None:
    """A matrix in colours, from -limit to limit, in a frame: left, bottom, width, height."""
    left, bottom, width, height = place
    axes.imshow(
        values,
        extent=(left, left + width, bottom, bottom + height),
        cmap=COLOURS,
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
    )
    axes.add_patch(Rectangle((left, bottom), width, height, fill=False, ec="0.25", lw=1))


def _strips(explanation: Explanation) -> np.ndarray:
    """a_t as a little picture: all units, in the order of their index; shape (T, rows, 8)."""
    activations = explanation.activations  # (T, H)
    rows = -(-activations.shape[1] // 8)
    padded = np.zeros((len(activations), rows * 8))
    padded[:, : activations.shape[1]] = activations
    return padded.reshape(len(activations), rows, 8)


def _percent(probability: float) -> str:
    return "<1%" if probability < 0.005 else f"{probability:.0%}"


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    label: str,
    *,
    above: bool = False,
    curve: float = 0.0,
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=9,
            color="0.25",
            connectionstyle=f"arc3,rad={curve}",
        )
    )
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    shift = (0, 0.12) if above else (0.05, 0)
    axes.text(
        middle[0] + shift[0],
        middle[1] + shift[1],
        label,
        fontsize=8,
        ha="center" if above else "left",
        va="bottom" if above else "center",
    )


def draw_compact(explanation: Explanation) -> Figure:
    """The compact view: one step with its loop, each arrow with its real weight matrix."""
    network = explanation.network
    matrices = {
        name.rpartition(".")[2]: network.get_parameter(name).detach().numpy()
        for name in ("layers.0.W_ax", "layers.0.W_aa", "W_ya")
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 4.4), layout=Layout())
        axes = figure.subplots()
        axes.axis("off")
        for x, text in ((0.7, "xₜ"), (6.1, "aₜ"), (11.6, "yₜ")):
            axes.text(
                x,
                1.2,
                text,
                ha="center",
                va="center",
                fontsize=13,
                bbox={"boxstyle": "circle,pad=0.5", "fc": "white", "ec": "0.25"},
            )
        places = {
            "W_ax": (2.4, 0.1, 2.0, 2.2),
            "W_aa": (5.0, 2.9, 2.2, 1.7),
            "W_ya": (8.1, 0.1, 2.0, 2.2),
        }
        for name, (left, bottom, width, height) in places.items():
            limit = float(np.quantile(np.abs(matrices[name]), 0.99))
            _framed(axes, matrices[name], (left, bottom, width, height), limit)
            rows, columns = matrices[name].shape
            axes.text(
                left + width / 2,
                bottom - 0.12,
                f"{name}, {rows} x {columns}",
                ha="center",
                va="top",
                fontsize=8,
            )
        for start, end in (((1.25, 1.2), (2.35, 1.2)), ((4.45, 1.2), (5.5, 1.2))):
            _arrow(axes, start, end, "")
        for start, end in (((6.7, 1.2), (8.05, 1.2)), ((10.15, 1.2), (11.0, 1.2))):
            _arrow(axes, start, end, "")
        _arrow(axes, (6.6, 1.65), (7.25, 3.5), "", curve=0.35)
        _arrow(axes, (4.95, 3.5), (5.6, 1.65), "", curve=0.35)
        axes.text(7.45, 2.6, "aₜ becomes\naₜ₋₁", fontsize=8, va="center")
        axes.set(xlim=(0, 12.4), ylim=(-0.5, 5.0), aspect="auto")
        params = network.params
        gates = matrices["W_aa"].shape[0] // params.hidden_size
        figure.suptitle(
            f"The compact view: network {explanation.number} ({params.cell}, "
            f"{params.hidden_size} units), its real weights",
            fontsize=11,
        )
        note = "red above 0, blue below, each matrix to its own scale"
        if gates > 1:
            note = f"the {gates} gates of the {params.cell} stand above each other; {note}"
        figure.supxlabel(note, fontsize=8)
    return figure
