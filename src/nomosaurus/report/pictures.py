"""Pictures of a network at work, as SVG, PNG or PDF: activations, the unrolled and compact views.

They are drawn from a trained network's real weights and activations. Units stand in one order
everywhere: by the character that they speak for most. That order comes from the weights W_ya and
not from what is drawn, so it makes no pattern where there is none. On a white ground, so that
they read in dark mode too. SVG keeps its letters as text, so that a viewer shows any script in
its own fonts.
"""

# T time steps, V vocabulary, H hidden, G gates

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

from nomosaurus.errors import NomosaurusError, printable, visible
from nomosaurus.evaluation.explain import Explanation
from nomosaurus.files import replace_file
from nomosaurus.params import Cell

FORMATS = (".svg", ".png", ".pdf")
START, END = "start", "end"
COLOURS = "RdBu_r"  # blue below 0, white at 0, red above
BLUE, ORANGE, GREY = "#2f5d8a", "#c9752d", "0.25"  # everyone can tell them apart
LEAST_COLUMNS = 6
"""A shorter name's panel is as wide as that of a name of this many steps: room for its title."""
MOST_LABELS = 60
"""Characters that are named beside a matrix; those of a larger vocabulary would not be legible."""
GATE_NAMES: dict[Cell, tuple[str, ...]] = {
    "rnn": (),
    "gru": ("reset r", "update u", "new n"),
    "lstm": ("input i", "forget f", "cell g", "output o"),
}
GAP = "\u2003\u2003"  # em spaces, which no viewer of SVG closes up
EQUATIONS: dict[Cell, str] = {
    "rnn": "aₜ = tanh(W_aa aₜ₋₁ + W_ax xₜ + b_a)",
    "gru": f"r, u = σ(W_aa aₜ₋₁ + W_ax xₜ + b_a){GAP}n = tanh(r·(W_aa aₜ₋₁) + W_ax xₜ + b_a){GAP}"
    "aₜ = (1 − u)·n + u·aₜ₋₁",
    "lstm": f"i, f, o = σ(W_aa aₜ₋₁ + W_ax xₜ + b_a){GAP}g = tanh(W_aa aₜ₋₁ + W_ax xₜ + b_a){GAP}"
    f"cₜ = f·cₜ₋₁ + i·g{GAP}aₜ = o·tanh(cₜ)",
}
IN_THE_CELL: dict[Cell, str] = {"rnn": "tanh", "gru": "gates\nσ, tanh", "lstm": "gates\nσ, tanh"}
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
    """What each character cost, and below it all units of a_t (and c_t), for one or more names.

    Time goes across. Units stand in one order in all panels, which does not come from what is
    drawn: by the character that each speaks for most, the largest entry of its column of W_ya.
    """
    network = explanations[0].network
    order, spoken_for = _units_by_character(explanations[0])
    kinds = [("aₜ", [explanation.activations for explanation in explanations], 1.0)]
    if explanations[0].cell_states is not None:
        states = [e.cell_states for e in explanations if e.cell_states is not None]
        kinds.append(("cₜ", states, float(np.quantile(np.abs(np.concatenate(states)), 0.99))))
    widths = [max(len(explanation.steps), LEAST_COLUMNS) for explanation in explanations]
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(max(7.6, 0.36 * sum(widths) + 3.2), 2.4 + 2.7 * len(kinds)), layout=Layout()
        )
        panels = figure.subplots(
            1 + len(kinds),
            len(widths),
            squeeze=False,
            width_ratios=widths,
            height_ratios=[1, *[1.5] * len(kinds)],
        )
        highest = max(max(step.bits, step.forgetful_bits) for e in explanations for step in e.steps)
        forgotten = " and ".join(f"{symbol[0]}ₜ₋₁" for symbol, _, _ in kinds)
        for column, explanation in enumerate(explanations):
            _draw_costs(panels[0, column], explanation, highest, forgotten)
            if column:
                panels[0, column].set_yticklabels([])
        for row, (symbol, states, limit) in enumerate(kinds, start=1):
            for axes, values, explanation in zip(panels[row], states, explanations, strict=True):
                image = _draw_units(axes, values[:, order].T, limit, explanation)
            _name_groups(panels[row, 0], spoken_for[order], explanations[0].symbols)
            panels[row, 0].set_ylabel(f"{len(order)} units of {symbol}")
            figure.colorbar(image, ax=panels[row].tolist(), label=symbol, aspect=20)
        panels[0, 0].set_ylabel("bits")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        figure.supxlabel(
            "xₜ, the character that is read. A unit stands at the character that it speaks for "
            "most when it is red.",
            fontsize=9,
        )
        figure.suptitle(
            f"What network {explanations[0].number} ({network.params.cell}) remembers, and what "
            "each character costs it",
            fontsize=11,
            x=0.01,
            ha="left",
        )
    return figure


def _units_by_character(explanation: Explanation) -> tuple[np.ndarray, np.ndarray]:
    """The order of the last layer's units, shape (H,), and whom each unit speaks for, shape (H,).

    A unit above 0 raises a character's logit by its entry in W_ya. Only differences between
    characters count in the softmax, so each column's mean is taken away. Within a character, the
    units that speak for it loudest come first.
    """
    weights = explanation.network.W_ya.detach().numpy()  # (V, H)
    spoken = weights - weights.mean(axis=0)
    spoken_for = spoken.argmax(axis=0)
    return np.lexsort((-spoken.max(axis=0), spoken_for)), spoken_for


def _name_groups(axes: Axes, spoken_for: np.ndarray, symbols: Sequence[str]) -> None:
    """Beside the rows, the character that each group of units speaks for; `spoken_for` sorted."""
    ids, first, sizes = np.unique(spoken_for, return_index=True, return_counts=True)
    if len(ids) <= MOST_LABELS:
        middles = first + (sizes - 1) / 2
        names = [visible(symbols[i]) or END for i in ids]
        names[1::2] = [name + GAP for name in names[1::2]]  # in two columns: groups may be thin
        axes.set_yticks(middles, names)
        axes.tick_params(axis="y", length=0, labelsize=6)


def _draw_costs(axes: Axes, explanation: Explanation, highest: float, forgotten: str) -> None:
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
        label=f"had it forgotten\n{forgotten}",
    )
    axes.set(xlim=(-0.5, len(steps) - 0.5), ylim=(0, 1.25 * highest))
    axes.set_xticks(place, [visible(step.target) or END for step in steps])
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    cost = sum(step.bits for step in steps)
    without = sum(step.forgetful_bits for step in steps)
    axes.set_title(f"{explanation.name}\n{cost:.0f} bits, {without:.0f} without memory", loc="left")
    _turn_words(axes)


def _draw_units(
    axes: Axes, values: np.ndarray, limit: float, explanation: Explanation
) -> AxesImage:
    image = axes.imshow(
        values, aspect="auto", cmap=COLOURS, vmin=-limit, vmax=limit, interpolation="nearest"
    )
    read = [visible(step.x) or START for step in explanation.steps]
    axes.set_xticks(range(len(read)), read)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0)
    _turn_words(axes)
    return image


def _turn_words(axes: Axes) -> None:
    for label in axes.get_xticklabels():
        if label.get_text() in (START, END):
            label.set(rotation=90, fontsize=7)


def draw_unrolled(explanation: Explanation, most_likely: int = 3) -> Figure:
    """The unrolled view: a column a time step, with the real x_t, a_t (and c_t) and y_t.

    Every column has the same parameters; the arrows between them carry the memory, from
    a_0 = 0 on.

    Args:
        explanation: The name.
        most_likely: How many of the characters that y_t finds likeliest to name.
    """
    steps = explanation.steps
    params = explanation.network.params
    order, _ = _units_by_character(explanation)
    memories = [("aₜ", _strips(explanation.activations[:, order]), 1.0)]
    if explanation.cell_states is not None:
        states = explanation.cell_states
        limit = float(np.quantile(np.abs(states), 0.99))
        memories.insert(0, ("cₜ", _strips(states[:, order]), limit))
    top = 1.0 + 1.4 * len(memories)  # where a_t ends
    columns = max(len(steps), LEAST_COLUMNS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.15 * columns + 2.2, 3.4 + 1.4 * len(memories)), layout=Layout())
        axes = figure.subplots()
        axes.axis("off")
        for t, step in enumerate(steps):
            _boxed(axes, t, 0.1, visible(step.x) or START)
            _arrow(axes, (t, 0.38), (t, 0.98), "W_ax" if t == 0 else "")
            for i, (symbol, strips, limit) in enumerate(memories):
                bottom = 1.0 + 1.4 * i
                carried = "W_aa" if symbol == "aₜ" else "forget"
                _framed(axes, strips[t], (t - 0.3, bottom, 0.6, 1.2), limit)
                _arrow(
                    axes,
                    (t - 0.68, bottom + 0.6),
                    (t - 0.31, bottom + 0.6),
                    carried if t == 1 else "",
                    above=True,
                )
                if i:
                    _arrow(axes, (t, bottom - 0.2), (t, bottom), "")
            _arrow(axes, (t, top - 0.18), (t, top + 0.4), "W_ya" if t == 0 else "")
            for rank, (symbol, probability) in enumerate(
                explanation.most_likely(step, most_likely)
            ):
                y = top + 1.35 - 0.36 * rank
                came = symbol == step.target
                axes.barh(y, 0.62 * probability, 0.3, left=t - 0.31, color=BLUE, alpha=0.45)
                axes.text(
                    t - 0.29,
                    y,
                    f"{visible(symbol) or END}  {_percent(probability)}",
                    va="center",
                    fontsize=8,
                    fontweight="bold" if came else "normal",
                )
            axes.text(
                t, top + 1.75, visible(step.target) or END, ha="center", color=BLUE, weight="bold"
            )
        axes.set(xlim=(-1.75, columns - 0.4), ylim=(-0.35, top + 2.2), aspect="auto")
        labels = [(0.1, "xₜ"), (top + 1.0, "yₜ = softmax"), (top + 1.75, "came")]
        for i, (symbol, _, _) in enumerate(memories):
            labels.append((1.6 + 1.4 * i, symbol))
            axes.text(-1.0, 1.6 + 1.4 * i, f"{symbol[0]}₀ = 0", va="center", ha="center")
        for y, label in labels:
            axes.text(-1.7, y, label, va="center", fontstyle="italic")
        figure.suptitle(
            f"The unrolled view: network {explanation.number} ({params.cell}, "
            f"{params.hidden_size} units) reads {explanation.name}",
            fontsize=11,
        )
        figure.supxlabel(
            f"{EQUATIONS[params.cell]}{GAP}yₜ = softmax(W_ya aₜ + b_y)\n"
            "The same parameters at every step. Each small square is a unit, in the order of the "
            "characters that they speak for; red above 0, blue below.",
            fontsize=8,
        )
    return figure


def _boxed(axes: Axes, x: float, y: float, text: str, shape: str = "round,pad=0.35") -> None:
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        bbox={"boxstyle": shape, "fc": "white", "ec": GREY},
    )


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
    axes.add_patch(Rectangle((left, bottom), width, height, fill=False, ec=GREY, lw=1))


def _strips(states: np.ndarray) -> np.ndarray:
    """States, shape (T, H), as little pictures of eight units a row; shape (T, rows, 8)."""
    rows = -(-states.shape[1] // 8)
    padded = np.zeros((len(states), rows * 8))
    padded[:, : states.shape[1]] = states
    return padded.reshape(len(states), rows, 8)


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
            color=GREY,
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


def _name_gates(axes: Axes, gates: Sequence[str], place: tuple[float, float, float, float]) -> None:
    """Beside a matrix whose gates stand one below the other, their names, and lines between."""
    left, bottom, width, height = place
    for i, gate in enumerate(gates):
        above = bottom + height * (1 - i / len(gates))
        middle = above - height / len(gates) / 2
        axes.text(left - 0.06, middle, gate.replace(" ", "\n"), fontsize=6, ha="right", va="center")
        if i:
            axes.plot([left, left + width], [above, above], color="0", lw=1.2)


def _name_columns(
    axes: Axes, symbols: Sequence[str], place: tuple[float, float, float, float]
) -> None:
    left, bottom, width, _ = place
    for i, symbol in enumerate(symbols):
        x = left + width * (i + 0.5) / len(symbols)
        turned = 0 if symbol else 90
        axes.text(
            x,
            bottom - 0.08,
            visible(symbol) or START,
            fontsize=6,
            ha="center",
            va="top",
            rotation=turned,
        )


def _name_rows(
    axes: Axes, symbols: Sequence[str], place: tuple[float, float, float, float]
) -> None:
    left, bottom, _, height = place
    for i, symbol in enumerate(symbols):
        y = bottom + height * (1 - (i + 0.5) / len(symbols))
        axes.text(left - 0.06, y, visible(symbol) or END, fontsize=5, ha="right", va="center")


def draw_compact(explanation: Explanation) -> Figure:
    """The compact view: one step with its loop, with the real weights and biases on its way.

    Of more layers than one, the first is drawn, and W_ya, which reads the last.
    """
    network = explanation.network
    params = network.params
    weights = {
        name.rpartition(".")[2]: network.get_parameter(name).detach().numpy()
        for name in ("layers.0.W_ax", "layers.0.W_aa", "layers.0.b_a", "W_ya", "b_y")
    }
    order, _ = _units_by_character(explanation)
    gates = GATE_NAMES[params.cell]
    if params.num_layers == 1:
        rows = np.concatenate([order + i * len(order) for i in range(max(1, len(gates)))])
        weights["W_ax"] = weights["W_ax"][rows]
        weights["W_aa"] = weights["W_aa"][rows][:, order]
        weights["b_a"] = weights["b_a"][rows]
    weights["W_ya"] = weights["W_ya"][:, order]
    places = {
        "W_ax": (2.1, 0.0, 3.0, 3.0),
        "b_a": (5.35, 0.0, 0.22, 3.0),
        "W_aa": (6.6, 4.2, 3.0, 2.2),
        "W_ya": (11.2, 0.0, 3.0, 3.0),
        "b_y": (14.45, 0.0, 0.22, 3.0),
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.4, 6.4), layout=Layout())
        axes = figure.subplots()
        axes.axis("off")
        for name, (left, bottom, width, height) in places.items():
            matrix = weights[name].reshape(len(weights[name]), -1)  # a bias is one column
            limit = float(np.quantile(np.abs(matrix), 0.99)) or 1.0
            _framed(axes, matrix, (left, bottom, width, height), limit)
            size = " x ".join(str(length) for length in weights[name].shape)
            label = f"{name}\n{size}" if name.startswith("b") else f"{name}, {size}"
            axes.text(left + width / 2, bottom + height + 0.1, label, ha="center", fontsize=8)
            if name in ("W_ax", "W_aa"):
                _name_gates(axes, gates, (left, bottom, width, height))
        if len(explanation.symbols) <= MOST_LABELS:
            _name_columns(axes, explanation.symbols, places["W_ax"])
            _name_rows(axes, explanation.symbols, places["W_ya"])
        for x, text in ((0.4, "xₜ"), (9.9, "aₜ"), (17.2, "yₜ")):
            _boxed(axes, x, 1.5, text, "circle,pad=0.5")
        _boxed(axes, 6.6, 1.5, "+", "circle,pad=0.3")
        _boxed(axes, 8.1, 1.5, IN_THE_CELL[params.cell])
        _boxed(axes, 15.9, 1.5, "softmax")
        _boxed(axes, 11.2, 5.3, "aₜ₋₁", "circle,pad=0.3")
        axes.text(11.9, 5.3, "at first a₀ = 0", fontsize=8, va="center")
        for start, end in (((0.8, 1.5), (1.0, 1.5)), ((5.6, 1.5), (6.3, 1.5))):
            _arrow(axes, start, end, "")
        _arrow(axes, (6.9, 1.5), (7.55, 1.5), "")
        _arrow(axes, (8.65, 1.5), (9.45, 1.5), "")
        _arrow(axes, (10.35, 1.5), (10.85, 1.5), "")
        _arrow(axes, (14.7, 1.5), (15.2, 1.5), "")
        _arrow(axes, (16.6, 1.5), (16.85, 1.5), "")
        _arrow(axes, (9.95, 2.05), (11.1, 4.85), "", curve=0.2)
        _arrow(axes, (10.75, 5.3), (9.65, 5.3), "")
        _arrow(axes, (7.6, 4.15), (6.65, 1.9), "", curve=0.15)
        if params.cell == "lstm":
            _arrow(axes, (8.4, 1.05), (7.8, 1.05), "", curve=-1.6)
            axes.text(
                8.1, 0.45, "cₜ becomes cₜ₋₁\nat first c₀ = 0", fontsize=8, ha="center", va="top"
            )
        axes.set(xlim=(0, 17.7), ylim=(-0.6, 7.0), aspect="auto")
        layers = f", the first of {params.num_layers} layers" if params.num_layers > 1 else ""
        figure.suptitle(
            f"The compact view: network {explanation.number} ({params.cell}, "
            f"{params.hidden_size} units{layers}), its real weights",
            fontsize=11,
        )
        figure.supxlabel(
            f"{EQUATIONS[params.cell]}{GAP}yₜ = softmax(W_ya aₜ + b_y)\n"
            "xₜ is one-hot: it picks the column of its character. Red above 0, blue below, each "
            "matrix to its own scale; the last layer's units in the order of the characters that "
            "they speak for.",
            fontsize=8,
        )
    return figure
