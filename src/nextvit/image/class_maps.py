"""Class maps: the class of each pixel of an image, shrunk and encoded for JSON, in numpy and Pillow."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.image.masks import IGNORE_INDEX

Labels = NDArray[np.uint8]
"""(height, width): the index of each pixel's class, or `IGNORE_INDEX`."""


def rank_by_rarity(class_pixels: Sequence[int]) -> NDArray[np.uint8]:
    """The rank of each value of a class map by its number of pixels: the rarest class has the highest rank.

    Args:
        class_pixels: the number of pixels of each class.

    Returns:
        (256,), indexed by the value; `IGNORE_INDEX` has rank 0.
    """
    order = sorted(range(len(class_pixels)), key=lambda label: -class_pixels[label])
    ranks = np.zeros(256, np.uint8)
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


def shrink_class_map(labels_HW: Labels, *, longer_side: int, class_pixels: Sequence[int]) -> Labels:
    """The map with its longer side at most `longer_side` pixels.

    Where several classes fall into one pixel the rarest stays, so that thin and small objects do not vanish.

    Args:
        class_pixels: the number of pixels of each class, by which rarity is decided.
    """
    height, width = labels_HW.shape
    scale = min(1.0, longer_side / max(height, width))
    ranks_HW = rank_by_rarity(class_pixels)[labels_HW]
    for axis, side in enumerate((height, width)):
        count = max(1, round(side * scale))
        ranks_HW = np.maximum.reduceat(ranks_HW, np.arange(count) * side // count, axis=axis)
    return classes_by_rank(class_pixels)[ranks_HW]


def classes_by_rank(class_pixels: Sequence[int]) -> NDArray[np.uint8]:
    """The inverse of `rank_by_rarity`: the value of each rank (classes + 1,)."""
    ranks = rank_by_rarity(class_pixels)[: len(class_pixels)]
    values = np.full(len(class_pixels) + 1, IGNORE_INDEX, np.uint8)
    values[ranks] = np.arange(len(class_pixels))
    return values


def find_class_boundaries(labels_HW: Labels, *, class_pixels: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each pixel (H, W) has a neighbour of a more common class, or one without label.

    So a boundary lies on the side of the rarer class.

    Args:
        class_pixels: the number of pixels of each class, by which rarity is decided.
    """
    ranks_HW = rank_by_rarity(class_pixels)[labels_HW]
    least_HW = ranks_HW
    # One axis after the other and in place: all eight neighbours of a large image would be eight copies of it.
    for axis in (0, 1):
        before, after = (np.roll(least_HW, by, axis) for by in (1, -1))
        np.moveaxis(before, axis, 0)[0] = np.moveaxis(after, axis, 0)[-1] = 255  # no neighbour beyond the image's edge
        least_HW = np.minimum(np.minimum(before, after, out=before), least_HW, out=before)
    return least_HW < ranks_HW


def to_base64_png(labels_HW: Labels) -> str:
    """The map as a greyscale PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(labels_HW).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def from_base64_png(text: str) -> Labels:
    """The inverse of `to_base64_png`."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))))
