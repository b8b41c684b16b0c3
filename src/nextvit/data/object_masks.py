"""Rasterise COCO segmentations: polygons, and run lengths as numbers or as compressed text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.data.objects import Segmentation
from nextvit.errors import InputError
from nextvit.image.masks import counts_from_text

MAX_COORDINATE = 100_000
"""In pixels. Rasterising needs memory for each pixel of an outline, even outside of the image."""


def rasterize_mask(segmentation: Segmentation, height: int, width: int) -> NDArray[np.bool_]:
    """The mask (height, width) of one object, the same as pycocotools'; all False for an object without segmentation.

    Raises:
        InputError: the segmentation is neither polygons nor run lengths of an image of this size.
    """
    if isinstance(segmentation, dict):
        runs = run_lengths(segmentation, height, width)
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    if not segmentation:
        return np.zeros((height, width), np.bool_)
    from faster_coco_eval.core import mask  # an optional package

    polygons = [check_polygon(polygon).tolist() for polygon in segmentation]
    outlines = mask.merge(mask.frPyObjects(polygons, height, width))  # type: ignore[arg-type]
    return mask.decode(outlines).astype(np.bool_)


def check_polygon(polygon: Any) -> NDArray[np.float64]:
    """A polygon x, y, x, y, ... as an array.

    Raises:
        InputError: it is not a valid polygon.
    """
    try:
        points = np.array(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError("a polygon is not a list of numbers") from None
    if points.ndim != 1 or len(points) % 2 or len(points) < 6:
        raise InputError(f"a polygon is x, y of at least three points, got {points.size} numbers")
    if not (np.abs(points) <= MAX_COORDINATE).all():  # NaN compares as false
        raise InputError(f"a polygon has a point that is NaN, or more than {MAX_COORDINATE:,} px away")
    return points


def run_lengths(segmentation: dict[str, Any], height: int, width: int) -> NDArray[np.int64]:
    """Lengths of alternating runs of 0 and 1, beginning with 0, down the columns of an image of this size.

    Raises:
        InputError: they are damaged or belong to an image of another size.
    """
    size = segmentation.get("size")
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise InputError(f"its run lengths are of size {size!r:.60}, the image is {[height, width]}")
    counts = segmentation.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    try:
        runs = counts_from_text(counts) if isinstance(counts, str) else np.array(counts)
    except (TypeError, ValueError, OverflowError):
        runs = np.empty(0)
    if runs.dtype.kind != "i" or runs.ndim != 1:
        raise InputError("its run lengths are neither whole numbers nor COCO's compressed text")
    # Each length is checked before the sum, so that the sum cannot overflow.
    if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise InputError(f"its run lengths do not cover the {height * width} pixels of the image")
    return runs.astype(np.int64)
