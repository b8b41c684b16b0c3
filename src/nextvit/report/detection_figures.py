"""Precision-recall curves as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt

from nextvit.image.drawing import INK, class_style
from nextvit.report.figures import GREY, STYLE, to_svg

DASHES = ("-", "--", ":")
MAX_COLOURED = 12
"""With more classes than this all curves are grey, and only the mean stands out."""


@dataclass(frozen=True)
class PrecisionRecallCurves:
    """The curves of all classes in one panel."""

    title: str
    recall: Sequence[float]
    """The same for all classes, 0 to 1."""
    classes: Sequence[tuple[int, str, Sequence[float]]]
    """Of each class that has objects its index, its name and the precision, 0 to 1, at each recall."""


def draw_precision_recall(panels: Sequence[PrecisionRecallCurves]) -> str:
    """Panels side by side with the curves of the classes and their mean, under one legend."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(1, len(panels), figsize=(8.4, 4.2), layout="constrained", squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=True):
            few = len(panel.classes) <= MAX_COLOURED
            for class_index, name, values in panel.classes:
                style = class_style(class_index)
                axes.plot(
                    panel.recall,
                    values,
                    DASHES[style.dash] if few else "-",
                    color=style.colour if few else GREY,
                    alpha=1 if few else 0.35,
                    label=name if few else "_",
                )
            columns = zip(*(values for _, _, values in panel.classes), strict=True)
            mean = [sum(column) / len(column) for column in columns]
            if len(panel.classes) > 1:
                axes.plot(panel.recall, mean, color=INK, linewidth=2.2, label="mean of the classes")
            axes.set(title=panel.title, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        handles, names = grid.flat[0].get_legend_handles_labels()
        legend = figure.legend(handles, names, loc="outside upper left", ncols=4, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)  # names are text: a $ in them starts no formula
    return to_svg(figure)
