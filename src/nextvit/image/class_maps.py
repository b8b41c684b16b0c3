"""Maps of the classes of a picture's pixels, small enough to be kept in JSON: numpy and Pillow."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.image.masks import IGNORED

Labels = NDArray[np.uint8]
"""(height, width), of each pixel the index of its class, or IGNORED."""


def rarity(class_pixels: Sequence[int]) -> NDArray[np.uint8]:
    """(256,), the rank of each value of a map by how many pixels there are of it: 0 is IGNORED, the rarest class the highest."""
    order = sorted(range(len(class_pixels)), key=lambda label: -class_pixels[label])
    ranks = np.zeros(256, np.uint8)
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


def shrunk(labels_HW: Labels, *, longer_side: int, class_pixels: Sequence[int]) -> Labels:
    """The map with its longer side at most `longer_side` pixels.

    Of what falls into one pixel the class with the fewest of `class_pixels` stays, so that thin and small things do not vanish.
    """
    height, width = labels_HW.shape
    scale = min(1.0, longer_side / max(height, width))
    ranks_HW = rarity(class_pixels)[labels_HW]
    for axis, side in enumerate((height, width)):
        count = max(1, round(side * scale))
        ranks_HW = np.maximum.reduceat(ranks_HW, np.arange(count) * side // count, axis=axis)
    return by_rank(class_pixels)[ranks_HW]


def by_rank(class_pixels: Sequence[int]) -> NDArray[np.uint8]:
    """(classes + 1,), the value that has each rank of `rarity`."""
    ranks = rarity(class_pixels)[: len(class_pixels)]
    values = np.full(len(class_pixels) + 1, IGNORED, np.uint8)
    values[ranks] = np.arange(len(class_pixels))
    return values


def rims(labels_HW: Labels, *, class_pixels: Sequence[int]) -> NDArray[np.bool_]:
    """(H, W), the pixels that touch a class with more of `class_pixels` than their own, or pixels without label."""
    ranks_HW = rarity(class_pixels)[labels_HW]
    least_HW = ranks_HW
    for axis in (0, 1):  # one after the other and in place: a large picture's neighbours would be nine copies
        before, after = (np.roll(least_HW, by, axis) for by in (1, -1))
        np.moveaxis(before, axis, 0)[0] = np.moveaxis(after, axis, 0)[-1] = 255  # beyond the edges is nothing
        least_HW = np.minimum(np.minimum(before, after, out=before), least_HW, out=before)
    return least_HW < ranks_HW


def to_text(labels_HW: Labels) -> str:
    """The map as the base64 of a grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(labels_HW).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def from_text(text: str) -> Labels:
    """The map that `to_text` wrote."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))))
