"""Figures as inline SVG, drawn by matplotlib."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nextvit.scores import main_score, spoken

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, in the page's font
    "svg.hashsalt": "nextvit",  # the same figure gives the same bytes
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


def to_svg(figure: Figure) -> str:
    """The <svg> element alone."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has fonts that this machine lacks
        nothing = dict.fromkeys(("Date", "Creator", "Type", "Format"))
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata=nothing)
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def training_curves(records: Sequence[dict[str, Any]]) -> str:
    """Loss and main score over epochs, side by side."""
    epochs = [record["epoch"] for record in records]
    name = main_score(records[0])
    key = f"val_{name}"
    with plt.rc_context(STYLE):
        figure, (loss, score) = plt.subplots(1, 2, figsize=(8.4, 2.9), layout="constrained")
        loss.plot(epochs, [record["train_loss"] for record in records], color=GREY, label="training (augmented)")
        loss.plot(epochs, [record["val_loss"] for record in records], color=BLUE, label="validation")
        loss.set(title="Loss", xlabel="epoch")
        loss.legend(frameon=False)
        score.plot(epochs, [record[key] for record in records], color=BLUE)
        best = [record for record in records if record["is_best"]][-1]
        score.plot(best["epoch"], best[key], "o", color=ORANGE)
        score.annotate(
            f"best {best[key]:.2f} %",
            (best["epoch"], best[key]),
            xytext=(0.97, 0.06),
            textcoords="axes fraction",
            ha="right",
            color=ORANGE,
        )
        score.set(title=f"Validation {spoken(name)}, %", xlabel="epoch")
        for axes in (loss, score):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return to_svg(figure)


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """The confusion matrix as shares of the true class; of many classes, the ones with most mistakes."""
    counts = np.array(matrix)
    if len(classes) > MAX_CLASSES:
        wrong = counts.sum(axis=1) + counts.sum(axis=0) - 2 * counts.diagonal()
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:MAX_CLASSES])
        counts, classes = counts[np.ix_(chosen, chosen)], [classes[int(index)] for index in chosen]
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = 1.6 + 0.34 * len(classes)
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "#0f172a"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
        # Names are text: a $ in them starts no formula.
        axes.set_xticks(range(len(classes)), list(classes), rotation=90, parse_math=False)
        axes.set_yticks(range(len(classes)), list(classes), parse_math=False)
        axes.set(xlabel="predicted", ylabel="true")
    return to_svg(figure)


def latency_bars(records: Sequence[dict[str, Any]]) -> str:
    """p50 as bars with a line up to p90, for each model and batch."""
    labels = [f"{record['name']}, batch {record['batch']}" for record in records]
    position = np.arange(len(records))[::-1]
    p50 = np.array([record["p50_ms"] for record in records])
    p90 = np.array([record["p90_ms"] for record in records])
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(figsize=(8.4, 0.6 + 0.42 * len(records)), layout="constrained")
        colours = [GREY if record["backend"] == "torch" else BLUE for record in records]
        axes.barh(position, p50, xerr=[np.zeros_like(p50), p90 - p50], color=colours, ecolor="#475569", height=0.62)
        for place, record in zip(position, records, strict=True):
            text = f"{record['p50_ms']:.2f} ms  ({record['speedup']:.2f}x)"
            axes.text(record["p90_ms"], place, f"  {text}", va="center")
        axes.set_yticks(position, labels, parse_math=False)
        axes.set(xlabel="milliseconds, median and 90th percentile", xlim=(0, p90.max() * 1.35))
    return to_svg(figure)
