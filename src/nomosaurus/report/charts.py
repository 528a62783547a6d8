"""Charts of what training and evaluation found, in the style of `pictures`.

Colour is never alone: marks and dashes differ too.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nomosaurus.evaluation.calibration import BINS
from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.evaluation.evaluation import Evaluation
from nomosaurus.model.trained import Epoch, best_epoch
from nomosaurus.report.pictures import BLUE, ORANGE, STYLE, Layout

GREY = "#c4c8cc"
SIZE = (6.4, 4.0)


def draw_charts(evaluation: Evaluation, histories: Sequence[Sequence[Epoch]]) -> dict[str, Figure]:
    """Every chart, by its name; the histories are the epochs of each network."""
    figures, tables = evaluation.figures, evaluation.tables
    return {
        "learning_curve": draw_learning_curve(histories),
        "lengths": draw_lengths(tables["lengths"]),
        "ngrams": draw_ngrams(tables["ngrams"]),
        "calibration": draw_calibration(tables["calibration"], figures["calibration_error"]),
        "positions": draw_positions(tables["positions"]),
    }


def _titled(title: str, height_ratios: Sequence[float] = (1,)) -> tuple[Figure, list[Axes]]:
    """A figure with panels above each other on one x axis."""
    figure = Figure(figsize=SIZE, layout=Layout())
    panels = figure.subplots(
        len(height_ratios), squeeze=False, sharex=True, height_ratios=height_ratios
    )[:, 0]
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color="0.92")
    return figure, list(panels)


def _whole_numbers(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def draw_learning_curve(histories: Sequence[Sequence[Epoch]]) -> Figure:
    """Loss by epoch, a line for each network; a dot at the epoch whose weights it kept."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _titled("Learning: loss by epoch")
        for i, history in enumerate(histories):
            epochs = [epoch.number for epoch in history]
            kept = best_epoch(list(history))
            train = [epoch.train_nats for epoch in history]
            validation = [epoch.validation_nats for epoch in history]
            lines = (
                axes.plot(epochs, train, "--", color=ORANGE, lw=1.2)
                + axes.plot(epochs, validation, "-", color=BLUE, lw=1.6)
                + axes.plot(kept.number, kept.validation_nats, "o", color=BLUE)
            )
            if i == 0:
                labels = ("training names, with dropout", "validation names", "epoch kept")
                for line, label in zip(lines, labels, strict=True):
                    line.set_label(label)
        if len(histories) > 1:
            axes.set_title(f"a line for each of {len(histories)} networks", loc="left")
        axes.set(xlabel="epoch", ylabel="nats per character")
        axes.legend(frameon=False)
        _whole_numbers(axes.xaxis)
    return figure


def draw_lengths(table: pd.DataFrame) -> Figure:
    """How long names are: `evaluation.length_distribution` of training, held_out, generated."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _titled("How long names are")
        length = table["length"]
        axes.bar(length, table["training"], 0.9, color=GREY, label="training names")
        held_out = table["held_out"].where(table["held_out"] > 0)
        axes.plot(length, held_out, "D", color=ORANGE, mfc="none", label="held-out names")
        axes.plot(length, table["generated"], "o-", color=BLUE, ms=4, label="generated names")
        axes.set(xlabel="characters", ylabel="share of names")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(frameon=False)
        _whole_numbers(axes.xaxis)
    return figure


def draw_ngrams(table: pd.DataFrame) -> Figure:
    """How far n-grams are from the training names': `evaluation.ngram_distances`."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _titled("How far n-grams are from the training names'")
        table = table.astype(float)
        ends = np.abs(table[["low", "high"]].sub(table["generated"], axis=0)).T
        axes.errorbar(
            table["n"] - 0.08,
            table["generated"],
            ends,
            fmt="o",
            color=BLUE,
            capsize=4,
            label="generated names, 95 % of samples",
        )
        axes.plot(
            table["n"] + 0.08,
            table["held_out"],
            "D",
            color=ORANGE,
            mfc="none",
            label="as many held-out names",
        )
        axes.set_xticks([1, 2, 3], ["1 character", "2 in a row", "3 in a row"])
        axes.set(xlim=(0.5, 3.5), ylim=(0, None))
        axes.set_ylabel("Jensen-Shannon distance\n0: the same, 1: nothing shared")
        axes.legend(frameon=False, loc="upper left")
    return figure


def draw_calibration(table: pd.DataFrame, error: Estimate) -> Figure:
    """The reliability diagram (Guo et al. 2017) with its counts.

    Args:
        table: As `calibration.calibration` gives it.
        error: The expected calibration error, with its floor.
    """
    with mpl.rc_context(STYLE):
        figure, (axes, counts) = _titled("Calibration: is it right as often as it is sure?", (3, 1))
        axes.plot([0, 1], [0, 1], "--", color="0.5", lw=1, label="as often as it is sure")
        axes.errorbar(
            table["confidence"],
            table["accuracy"],
            np.abs(table[["low", "high"]].sub(table["accuracy"], axis=0)).T,
            fmt="o",
            color=BLUE,
            capsize=3,
            label="held-out names, 95 % interval",
        )
        axes.set(xlim=(0, 1.01), ylim=(-0.03, 1.03), ylabel="likeliest character came")
        axes.set_title(
            f"expected error {error.value:.3f}; by chance alone {error.floor:.3f}", loc="left"
        )
        axes.legend(frameon=False, loc="upper left")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        width = 1 / BINS
        counts.bar(table["up_to"] - width / 2, table["events"], 0.9 * width, color=GREY)
        counts.set(xlabel="confidence in the likeliest next character", ylabel="characters")
        _whole_numbers(counts.yaxis)
        counts.xaxis.set_major_formatter(PercentFormatter(1))
    return figure


def draw_positions(table: pd.DataFrame) -> Figure:
    """What characters cost by their place in the name: `evaluation.bits_by_position`."""
    with mpl.rc_context(STYLE):
        figure, (axes, names) = _titled("What the next character costs, place by place", (3, 1))
        place = table["position"]
        axes.plot(place, table["ngram"], "s--", color=ORANGE, ms=4, label="n-gram alone")
        axes.plot(place, table["model"], "o-", color=BLUE, ms=4, label="model")
        axes.set(ylabel="bits, on average", ylim=(0, None))
        axes.legend(frameon=False)
        names.bar(place, table["names"], 0.9, color=GREY)
        names.set(xlabel="place in the name, its end included", ylabel="names")
        _whole_numbers(names.xaxis)
        _whole_numbers(names.yaxis)
    return figure
