"""The benchmark's figures as inline SVG: latencies, latency against accuracy, the roofline, and where time goes."""

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

INK = "#334155"
PALETTE = (BLUE, ORANGE, GREY, "#16a34a", "#9333ea", "#0891b2", "#be123c", "#a16207")
MARKERS = {"fp32": "o", "bf16": "s", "fp16": "D", "int8": "^"}
STAGES = {"read": "#cbd5e1", "decode": "#93c5fd", "resize": "#2563eb", "infer": "#ea580c", "answer": "#475569"}
LONGEST_NAME = 42
MOST_LABELS = 14
AROUND = (
    *((7, 3), (7, -10), (-7, 3), (-7, -10), (0, 9), (0, -16)),
    *((16, 18), (16, -26), (-16, 18), (-16, -26), (24, 34), (-24, 34), (24, -42), (-24, -42)),
)
"""Where a name may stand: points to the right of its point, and up."""


def colours_of(records: Sequence[Record]) -> dict[str, str]:
    """A colour for each backend, in the order in which they come."""
    backends = list(dict.fromkeys(record["backend"] for record in records))
    return {backend: PALETTE[place % len(PALETTE)] for place, backend in enumerate(backends)}


def shortened(name: str) -> str:
    """A name whose middle is left out where it is long: the ends tell most."""
    half = (LONGEST_NAME - 1) // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def label_of(record: Record, *, batch: bool = False) -> str:
    return shortened(record["name"]) + (f", batch {record['batch']}" if batch else "")


def latency_bars(records: Sequence[Record], colours: Mapping[str, str] | None = None) -> str:
    """p50 as bars, the fastest on top, with a line to p90 and a thin one to p99; beside each the numbers.

    A p99 far out would make all bars short: beyond twice the longest bar its line ends in an arrow.
    """
    colours = colours or colours_of(records)
    several = len({record["batch"] for record in records}) > 1
    ranked = sorted(records, key=lambda record: (record["batch"], record["p50_ms"]))
    places = np.arange(len(ranked))
    p50, p90, p99 = (np.array([record[name] for record in ranked]) for name in ("p50_ms", "p90_ms", "p99_ms"))
    right = float(max(1.05 * p90.max(), min(p99.max(), 2 * p50.max())) * 1.02)
    row_inch = 0.36 if len(ranked) <= 16 else 0.26
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(figsize=(8.4, 0.9 + row_inch * len(ranked)), layout="constrained")
        axes.barh(places, p50, color=[colours[record["backend"]] for record in ranked], height=0.66)
        axes.hlines(places, p50, np.minimum(p99, right), color=INK, linewidth=0.8)
        axes.hlines(places, p50, np.minimum(p90, right), color=INK, linewidth=2.4)
        far = p99 > right
        axes.plot(np.full(far.sum(), right), places[far], ">", color=INK, markersize=4, clip_on=False)
        for place, record in enumerate(ranked):
            text = number(record["p50_ms"]) + " ms" + (f" ({record['ratio']:.2f})" if record.get("ratio") else "")
            axes.text(1.02, place, text, va="center", transform=axes.get_yaxis_transform(), color=INK)
        names = [label_of(record, batch=several) for record in ranked]
        axes.set_yticks(places, names, parse_math=False)
        axes.set(
            xlabel="milliseconds of one run: median, thick line to p90, thin line to p99 (ratio to the first)",
            xlim=(0, right),
        )
        axes.set_ylim(len(ranked) - 0.5, -0.5)
        if len(colours) > 1:
            handles = [Line2D([], [], color=colour, linewidth=6) for colour in colours.values()]
            legend(figure, handles, list(colours))
    return to_svg(figure)


def front(records: Sequence[Record], scores: Sequence[float], *, name: str, intervals: Sequence[Any] = ()) -> str:
    """Scores over the time of one image, with the Pareto front: the points that none beats in both.

    Every point is labelled where there are few, else those of the front.
    """
    colours = colours_of(records)
    times = [record["p50_ms"] / record["batch"] for record in records]
    best = pareto(times, scores)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.4, 4.6), layout="constrained")
        for place, interval in enumerate(intervals):
            if interval:
                axes.plot(
                    [times[place]] * 2, interval, color=colours[records[place]["backend"]], alpha=0.3, linewidth=1
                )
        corners = [(times[place], scores[place]) for place in best]
        axes.step(*zip(*corners, strict=True), where="post", color=INK, linewidth=1)
        scatter(axes, records, times, scores, colours)
        log_axis(axes, "x")
        axes.margins(0.12, 0.12)
        axes.set(
            xlabel="milliseconds an image (p50), logarithmic; the line joins those that none beats in both", ylabel=name
        )
        keys(figure, records, colours)
        chosen = best if len(records) > MOST_LABELS else [*best, *(set(range(len(records))) - set(best))]
        labels = [(times[place], scores[place], label_of(records[place])) for place in chosen]
        write_labels(figure, axes, labels, [*zip(times, scores, strict=True), *along(corners)])
    return to_svg(figure)


def along(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points on the steps between the corners, near enough to each other that no name fits between."""
    found: list[tuple[float, float]] = []
    for (x, y), (right, up) in itertools.pairwise(corners):
        found += [(each, y) for each in np.geomspace(x, right, 40).tolist()]
        found += [(right, each) for each in np.linspace(y, up, 40).tolist()]
    return found


def pareto(times: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Which points no other beats in both, the fastest first."""
    found: list[int] = []
    for place in sorted(range(len(times)), key=lambda each: (times[each], -scores[each])):
        if not found or scores[place] > scores[found[-1]]:
            found.append(place)
    return found


def roofline(records: Sequence[Record]) -> str:
    """GFLOP/s over FLOPs per byte of the least traffic, under the roofs: each runtime's peak, and the memory's bandwidth.

    The records have bytes, bandwidth and peak.
    """
    colours = colours_of(records)
    intensity = [2 * record["macs"] * record["batch"] / record["bytes"] for record in records]
    reached = [record["gflops_per_second"] for record in records]
    roofs = {
        (record["backend"], record["precision"], record["threads"]): record["peak_gflops_per_second"]
        for record in records
    }
    several = len({threads for _, _, threads in roofs}) > 1
    bandwidth = max(record["bandwidth_gb_per_second"] for record in records)
    left = min([*intensity, *(peak / bandwidth for peak in roofs.values())]) / 3
    right = max([*intensity, *(peak / bandwidth for peak in roofs.values())]) * 4
    styles = {"fp32": "-", "bf16": "--", "fp16": "-.", "int8": ":"}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.4, 4.8), layout="constrained")
        ends: list[tuple[float, str, str]] = []
        for (backend, precision, threads), peak in roofs.items():
            axes.plot([peak / bandwidth, right], [peak, peak], styles.get(precision, "-"), color=colours[backend])
            text = f"{backend} {precision}{f', {threads} threads' if several else ''}: {peak:.0f}"
            ends.append((peak, text, colours[backend]))
        slope = np.array([left, max(roofs.values()) / bandwidth])
        axes.plot(slope, slope * bandwidth, color=INK)
        axes.text(
            1.2 * slope[0],
            slope[0] * bandwidth,
            f"memory: {bandwidth:.0f} GB/s",
            ha="left",
            va="top",
            color=INK,
            fontsize=8,
        )
        scatter(axes, records, intensity, reached, colours)
        log_axis(axes, "both")
        axes.set_xlim(left / 1.5, right)
        axes.set_ylim(min([*reached, slope[0] * bandwidth]) / 2, max(roofs.values()) * 1.6)
        axes.set(xlabel="FLOPs per byte that must be moved at least", ylabel="GFLOP/s")
        keys(figure, records, colours)
        low, high = np.log(axes.get_ylim())
        heights = spread([(np.log(peak) - low) / (high - low) for peak, _, _ in ends], least=0.045)
        for height, (_, text, colour) in zip(heights, ends, strict=True):
            axes.text(1.01, height, text, va="center", transform=axes.transAxes, color=colour, fontsize=8)
        if len(records) <= MOST_LABELS // 2:  # they lie close together under their roofs
            points = list(zip(intensity, reached, strict=True))
            several = len({record["batch"] for record in records}) > 1
            names = [label_of(record, batch=several) for record in records]
            write_labels(figure, axes, [(*point, text) for point, text in zip(points, names, strict=True)], points)
    return to_svg(figure)


def shares(records: Sequence[Record]) -> str:
    """Where the time from file to answer goes, as parts of one."""
    stages = list(dict.fromkeys(stage for record in records for stage in record["end_to_end"]["shares"]))
    colours = {stage: STAGES.get(stage, PALETTE[place % len(PALETTE)]) for place, stage in enumerate(stages)}
    places = np.arange(len(records))
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(figsize=(8.4, 0.9 + 0.34 * len(records)), layout="constrained")
        left = np.zeros(len(records))
        for stage in stages:
            widths = np.array([record["end_to_end"]["shares"].get(stage, 0.0) for record in records])
            axes.barh(places, widths, left=left, color=colours[stage], height=0.66)
            for place, (start, width) in enumerate(zip(left, widths, strict=True)):
                if width >= 0.06:
                    ink = "white" if stage in ("resize", "infer", "answer") else INK
                    axes.text(start + width / 2, place, f"{width:.0%}", ha="center", va="center", color=ink, fontsize=8)
            left += widths
        for place, record in enumerate(records):
            text = f"{number(record['end_to_end']['p50_ms'])} ms"
            axes.text(1.02, place, text, va="center", transform=axes.get_yaxis_transform(), color=INK)
        several = len({record["batch"] for record in records}) > 1
        axes.set_yticks(places, [label_of(record, batch=several) for record in records], parse_math=False)
        axes.set(xlim=(0, 1), ylim=(len(records) - 0.5, -0.5), xlabel="share of the time from file to answer")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
        legend(figure, [Line2D([], [], color=colours[stage], linewidth=6) for stage in stages], stages)
    return to_svg(figure)


def number(value: float) -> str:
    """Three digits that count, and never an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def scatter(
    axes: Axes, records: Sequence[Record], x: Sequence[float], y: Sequence[float], colours: Mapping[str, str]
) -> None:
    """A point for each record: the colour is its backend's, the form its precision's."""
    for place, record in enumerate(records):
        marker = MARKERS.get(record["precision"], "P")
        axes.plot(x[place], y[place], marker, color=colours[record["backend"]], markersize=7, markeredgecolor="white")


def keys(figure: Figure, records: Sequence[Record], colours: Mapping[str, str]) -> None:
    """What the colours and the forms of points mean."""
    precisions = list(dict.fromkeys(record["precision"] for record in records))
    handles = [Line2D([], [], color=colour, linewidth=6) for colour in colours.values()]
    handles += [
        Line2D([], [], color=INK, marker=MARKERS.get(each, "P"), linewidth=0, markersize=6) for each in precisions
    ]
    legend(figure, handles, [*colours, *precisions])


def legend(figure: Figure, handles: Sequence[Line2D], names: Sequence[str]) -> None:
    """One row or two above the figure."""
    columns = min(8, len(names))
    figure.legend(
        handles, names, loc="outside upper left", ncols=columns, frameon=False, columnspacing=1.4, handlelength=1.2
    )


def log_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5."""
    for axis in (axes.xaxis, axes.yaxis)[: 2 if which == "both" else 1]:
        (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def spread(heights: Sequence[float], *, least: float) -> list[float]:
    """The same heights, moved up where two would be nearer than `least`."""
    moved: dict[int, float] = {}
    last = -np.inf
    for place in sorted(range(len(heights)), key=heights.__getitem__):
        last = max(heights[place], last + least)
        moved[place] = last
    return [moved[place] for place in range(len(heights))]


def write_labels(
    figure: Figure, axes: Axes, labels: Sequence[tuple[float, float, str]], points: Sequence[tuple[float, float]]
) -> None:
    """Names at points, each at the first place around its own where it hides no point and no other name; a name that has
    no such place is left out (the tables have them all). Farther ones get a line to their point."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # places the axes, once and for all
    figure.set_layout_engine("none")
    occupied = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in axes.transData.transform(points)]
    inside = axes.get_window_extent()
    for x, y, name in labels:
        for right, up in AROUND:
            side = "left" if right > 0 else "right" if right < 0 else "center"
            note = axes.annotate(
                name, (x, y), (right, up), textcoords="offset points", ha=side, fontsize=8, color=INK, parse_math=False
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
