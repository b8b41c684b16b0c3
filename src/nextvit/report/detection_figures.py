"""Precision over recall, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt

from nextvit.image.drawing import INK, look_of
from nextvit.report.figures import GREY, STYLE, to_svg

DASHES = ("-", "--", ":")
MANY = 12
"""Of more classes only the mean stands out, and no class has a colour of its own."""


@dataclass(frozen=True)
class Curves:
    """Precision (each 0 to 1) at the same recalls: of each class that has objects, its number, name and values."""

    title: str
    recall: Sequence[float]
    classes: Sequence[tuple[int, str, Sequence[float]]]


def precision_recall(panels: Sequence[Curves]) -> str:
    """Panels side by side, with the classes' curves and the mean of all of them; one legend stands above."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(1, len(panels), figsize=(8.4, 4.2), layout="constrained", squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=True):
            few = len(panel.classes) <= MANY
            for number, name, values in panel.classes:
                look = look_of(number)
                axes.plot(
                    panel.recall,
                    values,
                    DASHES[look.dash] if few else "-",
                    color=look.colour if few else GREY,
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
