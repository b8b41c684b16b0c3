"""Small images under the colours of their class maps, for reports; the colours are those of `nextvit predict`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.image.class_maps import Labels
from nextvit.image.drawing import class_colours, overlay_class_map
from nextvit.report.page import Markup, escape

SIDE_PX, GAP_PX = 300, 4
MOST_ENLARGED = 3.0

Pixels = NDArray[np.uint8]


def overlay_row(
    image: Image.Image, maps: Sequence[Labels], *, class_pixels: Sequence[int], side_px: int = SIDE_PX
) -> Pixels:
    """The image alone, and once more under each of the class maps, side by side.

    Args:
        class_pixels: the number of pixels of each class; thin objects of rare classes stay visible among common ones.
        side_px: the longer side of each image.

    Returns:
        (H, W, 3) in RGB.
    """
    scale = min(MOST_ENLARGED, side_px / max(image.size))
    size_wh = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.convert("RGB").resize(size_wh, Image.Resampling.BICUBIC)
    shown = [
        np.asarray(small),
        *(np.asarray(overlay_class_map(small, each, class_pixels=class_pixels)) for each in maps),
    ]
    gap = np.full((size_wh[1], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for each in shown for part in (gap, each)][1:], axis=1)


def class_legend(labels: Sequence[int], classes: Sequence[str]) -> Markup:
    """The names of some classes, each beside its colour.

    Args:
        labels: indices of the classes.
        classes: the names of all of the model's classes.
    """
    return Markup('<p class="legend">' + " ".join(class_swatch(label, classes).text for label in labels) + "</p>")


def class_swatch(label: int, classes: Sequence[str]) -> Markup:
    """The name of a class beside its colour; arguments as for `class_legend`."""
    colour = class_colours(len(classes))[label]
    return Markup(f'<span><i class="swatch" style="background:{colour}"></i>{escape(classes[label])}</span>')
