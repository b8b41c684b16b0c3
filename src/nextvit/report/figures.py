"""Figures as inline SVG, drawn by matplotlib."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

BLUE, LIGHT_BLUE, ORANGE, GREY = "#2563eb", "#93c5fd", "#ea580c", "#94a3b8"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # keep text as text: smaller, searchable, in the page's font
    "svg.hashsalt": "nextvit",  # ids follow from the content instead of chance, so that equal figures are equal files
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "axes.axisbelow": True,
}
MAX_CLASSES = 24
MAX_NAME_LENGTH = 28
FEW_EPOCHS = 12
LOSS_COLOURS = (LIGHT_BLUE, ORANGE, "#009e73", "#cc79a7", "#0f172a", "#f0e442")
"""Of the losses by name, besides their sum."""


def to_svg(figure: Figure) -> str:
    """A figure as an <svg> element; the figure is closed."""
    buffer = io.StringIO()
    with warnings.catch_warnings(), plt.rc_context(STYLE):  # the style of text and ids is read when saving
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has fonts that this machine lacks
        no_metadata = dict.fromkeys(("Date", "Creator", "Type", "Format"))
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata=no_metadata)
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


@dataclass(frozen=True)
class Line:
    """A line of values over epochs."""

    label: str
    colour: str
    epochs: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """Lines over epochs under one title."""

    title: str
    lines: Sequence[Line]
    mark: tuple[int, float, str] | None = None
    """A highlighted point: epoch, value and text."""
    from_zero: bool = False
    """Whether the y axis begins at 0."""


def draw_curves(panels: Sequence[Panel], *, shared_legend: bool = False) -> str:
    """Panels in two columns.

    Args:
        shared_legend: all panels have the same lines, and one legend above all of them.
    """
    rows = math.ceil(len(panels) / 2)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, 2, figsize=(8.4, 0.3 + 2.5 * rows), layout="constrained", squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid.flat, panels, strict=False):
            for line in panel.lines:
                marker = "o" if len(line.epochs) <= FEW_EPOCHS else ""
                axes.plot(line.epochs, line.values, color=line.colour, label=line.label, marker=marker, markersize=3)
            if panel.mark:
                epoch, value, text = panel.mark
                axes.plot(epoch, value, "o", color=ORANGE)
                axes.annotate(text, (0.97, 0.06), xycoords="axes fraction", ha="right", color=ORANGE)
            if len(panel.lines) > 1 and not shared_legend:
                axes.legend(frameon=False)
            axes.set(title=panel.title, xlabel="epoch")
            if panel.from_zero:
                axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if shared_legend:
            names = [line.label for line in panels[0].lines]
            legend = figure.legend(grid.flat[0].lines, names, loc="outside upper left", ncols=4, frameon=False)
            for text in legend.get_texts():
                text.set_parse_math(False)  # a $ in a name starts no formula
    return to_svg(figure)


def draw_training_curves(
    records: Sequence[dict[str, Any]], *, score: str, name: str, beside: Mapping[str, str] | None = None
) -> str:
    """Panels of the loss, the main score, the learning rate and the time spent waiting for data, over epochs.

    Args:
        records: one for each epoch; one of them has `is_best`.
        score: the key of the main score without "val_".
        name: the main score's name for people.
        beside: keys and names of further scores that are drawn with the main one, at most three.
    """
    epochs = [record["epoch"] for record in records]
    best = [record for record in records if record["is_best"]][-1]

    def line(key: str, *, label: str = "", colour: str = BLUE, scale: float = 1) -> Line:
        return Line(label, colour, epochs, [scale * record[key] for record in records])

    losses = [line("train_loss", label="training (augmented)", colour=GREY)]
    if "val_loss" in best:  # the evaluation of a detector has none
        losses.append(line("val_loss", label="validation"))
    for key, colour in zip(named_losses(best), LOSS_COLOURS, strict=False):
        losses.append(line(key, label=key.removeprefix("train_").replace("_", " "), colour=colour))
    scores = [line(f"val_{score}", label=name)]
    for (key, label), colour in zip((beside or {}).items(), (LIGHT_BLUE, ORANGE, GREY), strict=False):
        scores.append(line(f"val_{key}", label=label, colour=colour))
    best_score = best[f"val_{score}"]
    return draw_curves(
        [
            Panel("Loss", losses),
            Panel(f"Validation {name}, %", scores, (best["epoch"], best_score, f"best {best_score:.2f} %")),
            Panel("Learning rate, at the epoch's end", [line("lr")]),
            Panel("Waiting for data, % of the time", [line("waiting_share", scale=100)], from_zero=True),
        ]
    )


def named_losses(record: Mapping[str, Any]) -> list[str]:
    """The keys of the losses that make up the training loss, where it has several."""
    return [key for key in record if key.startswith("train_") and key != "train_loss"]


def draw_reliability(counts: NDArray[Any], confidence: NDArray[Any], accuracy: NDArray[Any]) -> str:
    """The reliability diagram: accuracy over confidence in bins of equal width, beside the number of predictions.

    Args:
        counts: predictions in each bin (bins,).
        confidence: mean confidence of each bin (bins,), 0 to 1.
        accuracy: fraction of correct predictions in each bin (bins,), 0 to 1.
    """
    centres = (np.arange(len(counts)) + 0.5) / len(counts)
    width = 0.92 / len(counts)
    is_filled = counts > 0
    with plt.rc_context(STYLE):
        figure, (reliability, histogram) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
        reliability.bar(centres, accuracy, width, color=LIGHT_BLUE, label="accuracy")
        low, gap = np.minimum(accuracy, confidence), np.abs(accuracy - confidence)
        reliability.bar(
            *(centres[is_filled], gap[is_filled], width, low[is_filled]),
            fill=False,
            edgecolor=ORANGE,
            hatch="////",
            label="gap",
        )
        reliability.plot([0, 1], [0, 1], "--", color=GREY)
        reliability.set(title="Reliability", xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
        reliability.legend(frameon=False, loc="upper left")
        histogram.bar(centres, counts, width, color=GREY)
        histogram.set(title="Predictions", xlabel="confidence", xlim=(0, 1))
        histogram.yaxis.set_major_locator(MaxNLocator(integer=True))
    return to_svg(figure)


def draw_confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str], *, percent: bool = False) -> str:
    """The confusion matrix, coloured by the fraction of the true class; of many classes those with most mistakes.

    Args:
        matrix: counts; row is the true class, column the predicted one.
        percent: write percentages into the cells instead of counts.
    """
    counts = np.array(matrix)
    fractions = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    if len(classes) > MAX_CLASSES:
        wrong = counts.sum(axis=1) + counts.sum(axis=0) - 2 * counts.diagonal()
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:MAX_CLASSES])
        counts, fractions = counts[np.ix_(chosen, chosen)], fractions[np.ix_(chosen, chosen)]
        classes = [classes[int(index)] for index in chosen]
    written = np.rint(100 * fractions).astype(int) if percent else counts
    names = [shorten_name(name) for name in classes]
    side = 1.0 + 0.34 * len(names) + 0.07 * max(map(len, names))
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
        axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
        for row, column in zip(*np.nonzero(written), strict=True):
            colour = "white" if fractions[row, column] > 0.5 else "#0f172a"
            axes.text(column, row, str(written[row, column]), ha="center", va="center", color=colour, fontsize=8)
        # A $ in a name starts no formula.
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.set(xlabel="predicted", ylabel="true")
    return to_svg(figure)


def shorten_name(name: str) -> str:
    """A class's name, cut off where it is too long for the axis of a figure."""
    return name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"
