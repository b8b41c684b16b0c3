"""The classes of pixels over a picture, small, as reports show them: the colours are those of `nextvit predict`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.image.class_maps import Labels
from nextvit.image.drawing import class_colours, overlaid
from nextvit.report.page import Markup, escape

SIDE_PX, GAP_PX = 300, 4
MOST_ENLARGED = 3.0

Pixels = NDArray[np.uint8]


def views(image: Image.Image, maps: Sequence[Labels], *, class_pixels: Sequence[int], side_px: int = SIDE_PX) -> Pixels:
    """The picture alone, and once more under each of the maps: (H, W, 3), in a row.

    Args:
        class_pixels: how common each class is; thin things of rare classes are seen among common ones.
    """
    scale = min(MOST_ENLARGED, side_px / max(image.size))
    size_wh = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.convert("RGB").resize(size_wh, Image.Resampling.BICUBIC)
    shown = [np.asarray(small), *(np.asarray(overlaid(small, each, class_pixels=class_pixels)) for each in maps)]
    gap = np.full((size_wh[1], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for each in shown for part in (gap, each)][1:], axis=1)


def legend(labels: Sequence[int], classes: Sequence[str]) -> Markup:
    """The names of some classes, each beside its colour."""
    return Markup('<p class="legend">' + " ".join(named(label, classes).text for label in labels) + "</p>")


def named(label: int, classes: Sequence[str]) -> Markup:
    """A class's name beside its colour."""
    colour = class_colours(len(classes))[label]
    return Markup(f'<span><i class="swatch" style="background:{colour}"></i>{escape(classes[label])}</span>')
