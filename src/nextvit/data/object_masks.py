"""Rasterise COCO segmentations: polygons, and run lengths as numbers or as compressed text."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.data.objects import Segmentation
from nextvit.errors import InputError
from nextvit.image.masks import counts_from_text

MAX_COORDINATE = 100_000
"""In pixels, of a corner from the image's first."""
MAX_OUTLINE_PX = 2**20
"""The longest outline of a part that is drawn: rasterising needs memory for each pixel of it, even outside."""

Points = NDArray[np.float64]
"""(P, 2), x and y of the corners of a polygon."""


@dataclass(frozen=True)
class MaskPart:
    """The part of an image that holds an object's mask; outside of it the mask is empty."""

    left: int
    top: int
    mask_HW: NDArray[np.bool_]

    @property
    def region(self) -> tuple[slice, slice]:
        """Its rows and columns in the image."""
        height, width = self.mask_HW.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def rasterize_mask(segmentation: Segmentation, height: int, width: int) -> NDArray[np.bool_]:
    """The mask (height, width) of one object, the same as pycocotools'; all False for an object without segmentation.

    Raises:
        InputError: the segmentation is neither polygons nor run lengths of an image of this size.
    """
    part = rasterize_part(segmentation, height, width)
    if part.mask_HW.shape == (height, width):
        return part.mask_HW
    mask_HW = np.zeros((height, width), np.bool_)
    mask_HW[part.region] = part.mask_HW
    return mask_HW


def rasterize_part(segmentation: Segmentation, height: int, width: int) -> MaskPart:
    """`rasterize_mask` in the smallest rectangle of whole pixels around the polygons, which takes less memory."""
    if isinstance(segmentation, dict):
        runs = run_lengths(segmentation, height, width)
        return MaskPart(0, 0, np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T)
    polygons = [clip_polygon(check_polygon(polygon).reshape(-1, 2), height, width) for polygon in segmentation or ()]
    polygons = [polygon for polygon in polygons if len(polygon)]
    if not polygons:
        return MaskPart(0, 0, np.zeros((0, 0), np.bool_))
    from faster_coco_eval.core import mask  # an optional package

    corners = np.concatenate(polygons)
    # One pixel around, for corners are rounded.
    left, top = np.clip(np.floor(corners.min(axis=0)) - 1, 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, (width, height)).astype(int).tolist()
    if left >= right or top >= bottom:
        return MaskPart(0, 0, np.zeros((0, 0), np.bool_))
    moved = [translate_polygon(polygon.ravel().tolist(), left, top) for polygon in polygons]
    outlines = mask.merge(mask.frPyObjects(moved, bottom - top, right - left))  # type: ignore[arg-type]
    return MaskPart(left, top, mask.decode(outlines).astype(np.bool_))


def translate_polygon(polygon: list[float], left: int, top: int) -> list[float]:
    """A polygon x, y, x, y, ... relative to the point left, top."""
    points = np.array(polygon, dtype=np.float64)
    points[0::2] -= left
    points[1::2] -= top
    # pycocotools rounds to fifths of a pixel: without this, the subtraction's rounding errors would flip tenths.
    return points.round(6).tolist()


def clip_polygon(points: Points, height: int, width: int) -> Points:
    """A polygon without its parts that are more than the image's own size away from it; empty if nothing is near.

    So nearly all polygons stay as they are, and far corners cannot ask for the memory of outlines beyond the image
    (Sutherland and Hodgman, 1974).

    Raises:
        InputError: the outline is still longer than `MAX_OUTLINE_PX`.
    """
    for axis, side in ((0, width), (1, height)):
        for limit, sign in ((-side, 1), (2 * side, -1)):
            inside = sign * (points[:, axis] - limit) >= 0
            if inside.all():
                continue
            following = np.roll(points, -1, axis=0)
            crosses = inside != np.roll(inside, -1)
            step = np.where(crosses, following[:, axis] - points[:, axis], 1.0)
            crossings = points + ((limit - points[:, axis]) / step)[:, None] * (following - points)
            both = np.stack([points, crossings], axis=1).reshape(-1, 2)
            points = both[np.stack([inside, crosses], axis=1).ravel()]
    if len(points) * 3 * max(height, width) > MAX_OUTLINE_PX:
        length = float(np.abs(np.roll(points, -1, axis=0) - points).max(axis=1).sum())
        if length > MAX_OUTLINE_PX:
            raise InputError(f"a polygon has an outline of {length:,.0f} px; {MAX_OUTLINE_PX:,} are drawn at most")
    return points


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
