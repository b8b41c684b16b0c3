"""The benchmark's figures as inline SVG: latencies, accuracy against latency, the roofline, and the time of each
stage."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from nextvit.report.figures import BLUE, GREY, ORANGE, STYLE, to_svg

Record = dict[str, Any]

DARK = "#334155"
PALETTE = (BLUE, ORANGE, GREY, "#16a34a", "#9333ea", "#0891b2", "#be123c", "#a16207")
MARKERS = {"fp32": "o", "bf16": "s", "fp16": "D", "int8": "^"}
STAGES = {"read": "#cbd5e1", "decode": "#93c5fd", "resize": "#2563eb", "infer": "#ea580c", "answer": "#475569"}
MAX_NAME_LENGTH = 42
MAX_LABELS = 14
LABEL_OFFSETS = (
    *((7, 3), (7, -10), (-7, 3), (-7, -10), (0, 9), (0, -16)),
    *((16, 18), (16, -26), (-16, 18), (-16, -26), (24, 34), (-24, 34), (24, -42), (-24, -42)),
)
"""The offsets, in points to the right and up, at which a label may be placed beside its point; the first are
preferred."""


def assign_colours(records: Sequence[Record]) -> dict[str, str]:
    """A colour for each backend, in the order of the records."""
    backends = list(dict.fromkeys(record["backend"] for record in records))
    return {backend: PALETTE[index % len(PALETTE)] for index, backend in enumerate(backends)}


def shorten_name(name: str) -> str:
    """A name, without its middle where it is too long: the ends are the most informative."""
    half = (MAX_NAME_LENGTH - 1) // 2
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def format_label(record: Record, *, batch: bool = False) -> str:
    """The label of a record: its name, and with `batch` its batch size."""
    return shorten_name(record["name"]) + (f", batch {record['batch']}" if batch else "")


def draw_latency_bars(records: Sequence[Record], colours: Mapping[str, str] | None = None) -> str:
    """Bars of p50, the fastest on top, with a line to p90, a thin one to p99, and the numbers beside.

    The axis ends at twice the longest bar, as a very high p99 would make all bars short: its line then ends in an
    arrow.

    Args:
        colours: of each backend; None: `assign_colours` of these records.
    """
    colours = colours or assign_colours(records)
    has_batches = len({record["batch"] for record in records}) > 1
    ranked = sorted(records, key=lambda record: (record["batch"], record["p50_ms"]))
    rows = np.arange(len(ranked))
    p50, p90, p99 = (np.array([record[name] for record in ranked]) for name in ("p50_ms", "p90_ms", "p99_ms"))
    right = float(max(1.05 * p90.max(), min(p99.max(), 2 * p50.max())) * 1.02)
    row_inch = 0.36 if len(ranked) <= 16 else 0.26
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(figsize=(8.4, 0.9 + row_inch * len(ranked)), layout="constrained")
        axes.barh(rows, p50, color=[colours[record["backend"]] for record in ranked], height=0.66)
        axes.hlines(rows, p50, np.minimum(p99, right), color=DARK, linewidth=0.8)
        axes.hlines(rows, p50, np.minimum(p90, right), color=DARK, linewidth=2.4)
        is_cut = p99 > right
        axes.plot(np.full(is_cut.sum(), right), rows[is_cut], ">", color=DARK, markersize=4, clip_on=False)
        for index, record in enumerate(ranked):
            text = (
                format_number(record["p50_ms"]) + " ms" + (f" ({record['ratio']:.2f})" if record.get("ratio") else "")
            )
            axes.text(1.02, index, text, va="center", transform=axes.get_yaxis_transform(), color=DARK)
        names = [format_label(record, batch=has_batches) for record in ranked]
        axes.set_yticks(rows, names, parse_math=False)
        axes.set(
            xlabel="milliseconds of one run: median, thick line to p90, thin line to p99 (ratio to the first)",
            xlim=(0, right),
        )
        axes.set_ylim(len(ranked) - 0.5, -0.5)
        if len(colours) > 1:
            handles = [Line2D([], [], color=colour, linewidth=6) for colour in colours.values()]
            draw_legend(figure, handles, list(colours))
    return to_svg(figure)


def draw_pareto_front(
    records: Sequence[Record], scores: Sequence[float], *, name: str, intervals: Sequence[Any] = ()
) -> str:
    """Scores over the latency of one image, with the Pareto front: the points that no other beats in both.

    All points are labelled if there are few of them, else only those of the front.

    Args:
        scores: in percent, one for each record.
        name: the label of the score's axis.
        intervals: the 95 % interval of each score, or None.
    """
    colours = assign_colours(records)
    times = [record["p50_ms"] / record["batch"] for record in records]
    front = find_pareto_front(times, scores)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.4, 4.6), layout="constrained")
        for index, interval in enumerate(intervals):
            if interval:
                axes.plot(
                    [times[index]] * 2, interval, color=colours[records[index]["backend"]], alpha=0.3, linewidth=1
                )
        corners = [(times[index], scores[index]) for index in front]
        axes.step(*zip(*corners, strict=True), where="post", color=DARK, linewidth=1)
        draw_points(axes, records, times, scores, colours)
        set_log_scale(axes, "x")
        axes.margins(0.12, 0.12)
        axes.set(xlabel="milliseconds per image (p50), logarithmic; the line is the Pareto front", ylabel=name)
        draw_key(figure, records, colours)
        labelled = front if len(records) > MAX_LABELS else [*front, *(set(range(len(records))) - set(front))]
        labels = [(times[index], scores[index], format_label(records[index])) for index in labelled]
        write_labels(figure, axes, labels, [*zip(times, scores, strict=True), *points_along_steps(corners)])
    return to_svg(figure)


def points_along_steps(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points on the steps between the corners, so dense that no label fits between them."""
    points: list[tuple[float, float]] = []
    for (x, y), (right, up) in itertools.pairwise(corners):
        points += [(each, y) for each in np.geomspace(x, right, 40).tolist()]
        points += [(right, each) for each in np.linspace(y, up, 40).tolist()]
    return points


def find_pareto_front(times: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The indices of the points that no other beats in both time and score, the fastest first."""
    front: list[int] = []
    for index in sorted(range(len(times)), key=lambda each: (times[each], -scores[each])):
        if not front or scores[index] > scores[front[-1]]:
            front.append(index)
    return front


def draw_roofline(records: Sequence[Record]) -> str:
    """The roofline: GFLOP/s over FLOPs per byte, below the peak of each runtime and the bandwidth of the memory.

    Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009). The bytes are the least
    memory traffic of one run.

    Args:
        records: with `bytes`, `bandwidth_gb_per_second` and `peak_gflops_per_second`.
    """
    # 1. Compute the points, the roofs and the limits of the axes
    colours = assign_colours(records)
    intensity = [2 * record["macs"] * record["batch"] / record["bytes"] for record in records]
    reached = [record["gflops_per_second"] for record in records]
    roofs = {
        (record["backend"], record["precision"], record["threads"]): record["peak_gflops_per_second"]
        for record in records
    }
    has_thread_counts = len({threads for _, _, threads in roofs}) > 1
    bandwidth = max(record["bandwidth_gb_per_second"] for record in records)
    left = min([*intensity, *(peak / bandwidth for peak in roofs.values())]) / 3
    right = max([*intensity, *(peak / bandwidth for peak in roofs.values())]) * 4
    styles = {"fp32": "-", "bf16": "--", "fp16": "-.", "int8": ":"}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.4, 4.8), layout="constrained")
        # 2. Draw the roofs
        ends: list[tuple[float, str, str]] = []
        for (backend, precision, threads), peak in roofs.items():
            axes.plot([peak / bandwidth, right], [peak, peak], styles.get(precision, "-"), color=colours[backend])
            text = f"{backend} {precision}{f', {threads} threads' if has_thread_counts else ''}: {peak:.0f}"
            ends.append((peak, text, colours[backend]))
        slope = np.array([left, max(roofs.values()) / bandwidth])
        axes.plot(slope, slope * bandwidth, color=DARK)
        axes.text(
            1.2 * slope[0],
            slope[0] * bandwidth,
            f"memory: {bandwidth:.0f} GB/s",
            ha="left",
            va="top",
            color=DARK,
            fontsize=8,
        )
        # 3. Draw the points
        draw_points(axes, records, intensity, reached, colours)
        set_log_scale(axes, "both")
        axes.set_xlim(left / 1.5, right)
        axes.set_ylim(min([*reached, slope[0] * bandwidth]) / 2, max(roofs.values()) * 1.6)
        axes.set(xlabel="FLOPs per byte of the least memory traffic", ylabel="GFLOP/s")
        draw_key(figure, records, colours)
        # 4. Write the labels
        low, high = np.log(axes.get_ylim())
        heights = space_apart([(np.log(peak) - low) / (high - low) for peak, _, _ in ends], least=0.045)
        for height, (_, text, colour) in zip(heights, ends, strict=True):
            axes.text(1.01, height, text, va="center", transform=axes.transAxes, color=colour, fontsize=8)
        if len(records) <= MAX_LABELS // 2:  # points are close together under their roofs
            points = list(zip(intensity, reached, strict=True))
            has_batches = len({record["batch"] for record in records}) > 1
            names = [format_label(record, batch=has_batches) for record in records]
            write_labels(figure, axes, [(*point, text) for point, text in zip(points, names, strict=True)], points)
    return to_svg(figure)


def draw_stage_fractions(records: Sequence[Record]) -> str:
    """The time of each stage, from the file to the prediction, as a fraction of the whole."""
    stages = list(dict.fromkeys(stage for record in records for stage in record["end_to_end"]["shares"]))
    colours = {stage: STAGES.get(stage, PALETTE[index % len(PALETTE)]) for index, stage in enumerate(stages)}
    rows = np.arange(len(records))
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(figsize=(8.4, 0.9 + 0.34 * len(records)), layout="constrained")
        left = np.zeros(len(records))
        for stage in stages:
            widths = np.array([record["end_to_end"]["shares"].get(stage, 0.0) for record in records])
            axes.barh(rows, widths, left=left, color=colours[stage], height=0.66)
            for index, (start, width) in enumerate(zip(left, widths, strict=True)):
                if width >= 0.06:
                    text_colour = "white" if stage in ("resize", "infer", "answer") else DARK
                    axes.text(
                        start + width / 2,
                        index,
                        f"{width:.0%}",
                        ha="center",
                        va="center",
                        color=text_colour,
                        fontsize=8,
                    )
            left += widths
        for index, record in enumerate(records):
            text = f"{format_number(record['end_to_end']['p50_ms'])} ms"
            axes.text(1.02, index, text, va="center", transform=axes.get_yaxis_transform(), color=DARK)
        has_batches = len({record["batch"] for record in records}) > 1
        axes.set_yticks(rows, [format_label(record, batch=has_batches) for record in records], parse_math=False)
        axes.set(xlim=(0, 1), ylim=(len(records) - 0.5, -0.5), xlabel="fraction of the time from file to prediction")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda fraction, _: f"{fraction:.0%}"))
        draw_legend(figure, [Line2D([], [], color=colours[stage], linewidth=6) for stage in stages], stages)
    return to_svg(figure)


def format_number(value: float) -> str:
    """A number with three significant digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def draw_points(
    axes: Axes, records: Sequence[Record], x: Sequence[float], y: Sequence[float], colours: Mapping[str, str]
) -> None:
    """A point for each record; the colour shows the backend, the marker the precision."""
    for index, record in enumerate(records):
        marker = MARKERS.get(record["precision"], "P")
        axes.plot(x[index], y[index], marker, color=colours[record["backend"]], markersize=7, markeredgecolor="white")


def draw_key(figure: Figure, records: Sequence[Record], colours: Mapping[str, str]) -> None:
    """The legend of colours and markers."""
    precisions = list(dict.fromkeys(record["precision"] for record in records))
    handles = [Line2D([], [], color=colour, linewidth=6) for colour in colours.values()]
    handles += [
        Line2D([], [], color=DARK, marker=MARKERS.get(each, "P"), linewidth=0, markersize=6) for each in precisions
    ]
    draw_legend(figure, handles, [*colours, *precisions])


def draw_legend(figure: Figure, handles: Sequence[Line2D], names: Sequence[str]) -> None:
    """A legend above the figure, eight entries in a row."""
    columns = min(8, len(names))
    figure.legend(
        handles, names, loc="outside upper left", ncols=columns, frameon=False, columnspacing=1.4, handlelength=1.2
    )


def set_log_scale(axes: Axes, which: str) -> None:
    """Make the x axis, or with "both" both axes, logarithmic, with plain numbers at 1, 2 and 5."""
    for axis in (axes.xaxis, axes.yaxis)[: 2 if which == "both" else 1]:
        (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def space_apart(heights: Sequence[float], *, least: float) -> list[float]:
    """The heights, moved up where two would be nearer to each other than `least`."""
    shifted: dict[int, float] = {}
    last = -np.inf
    for index in sorted(range(len(heights)), key=heights.__getitem__):
        last = max(heights[index], last + least)
        shifted[index] = last
    return [shifted[index] for index in range(len(heights))]


def write_labels(
    figure: Figure, axes: Axes, labels: Sequence[tuple[float, float, str]], points: Sequence[tuple[float, float]]
) -> None:
    """Write labels beside points, each at the first of `LABEL_OFFSETS` where it covers no point and no other label.

    A label without such a place is left out: the tables have all names. Those far from their point get a line to it.

    Args:
        labels: x, y and text of each.
        points: all points that must stay uncovered.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # computes the final position of the axes
    figure.set_layout_engine("none")
    occupied = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in axes.transData.transform(points)]
    inside = axes.get_window_extent()
    for x, y, name in labels:
        for right, up in LABEL_OFFSETS:
            side = "left" if right > 0 else "right" if right < 0 else "center"
            note = axes.annotate(
                name, (x, y), (right, up), textcoords="offset points", ha=side, fontsize=8, color=DARK, parse_math=False
            )
            box = note.get_window_extent(canvas.get_renderer())
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if fits and not box.count_overlaps(occupied):
                occupied.append(box)
                if abs(up) > 16:
                    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0}
                    axes.annotate("", (x, y), (right, up), textcoords="offset points", arrowprops=line)
                break
            note.remove()
