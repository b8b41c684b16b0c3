"""COCO's records for boxes and outlines."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nextvit.convert.foreign import Record

MAX_DEVIATION_PX = 0.1
"""Of the polygon that stands for an ellipse."""

Points = NDArray[np.float64]
"""x and y in pixels (N, 2)."""


def to_points(value: object) -> Points | None:
    """Pairs of numbers as an array; None if they are none, or not finite."""
    try:
        points: Points = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    is_valid = points.ndim == 2 and points.shape[-1] == 2 and len(points) > 0 and bool(np.isfinite(points).all())
    return points if is_valid else None


def to_box(left: float, top: float, width: float, height: float) -> Record:
    """The fields of an object that is a box, in pixels."""
    return {"bbox": [left, top, width, height], "area": width * height, "iscrowd": 0}


def to_outline(*outlines: ArrayLike) -> Record:
    """The fields of an object with these outlines, each x and y in pixels (N, 2): its parts where it is in several."""
    parts: Sequence[Points] = [np.asarray(each, np.float64) for each in outlines]
    points = np.concatenate(parts)
    first, last = points.min(axis=0), points.max(axis=0)
    return {
        "bbox": [*first.tolist(), *(last - first).tolist()],
        "area": sum(map(polygon_area, parts)),
        "iscrowd": 0,
        "segmentation": [each.ravel().tolist() for each in parts],
    }


def polygon_area(points: Points) -> float:
    """By the shoelace formula, near the origin for precision."""
    x, y = (points - points.min(axis=0)).T
    with np.errstate(over="ignore", invalid="ignore"):  # so far away that it is refused later
        return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def trace_ellipse(center: Sequence[float], radii: Sequence[float], degrees: float = 0) -> Points:
    """The corners of a polygon around an ellipse.

    Args:
        center: x and y.
        radii: along x and y before rotating.
        degrees: clockwise as seen on the image.
    """
    flatness = min(1.0, MAX_DEVIATION_PX / max(*radii, MAX_DEVIATION_PX))
    half_step = 2 * math.asin(math.sqrt(flatness / 2))  # arccos(1 - flatness), and not 0 for a tiny one
    count = min(1_000, max(12, 4 * math.ceil(math.pi / half_step / 4)))
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points = np.stack([np.cos(turns), np.sin(turns)], axis=1) * radii + center
    return rotate(points, center, degrees)


def rotate(points: ArrayLike, center: Sequence[float], degrees: float) -> Points:
    """The points (N, 2) turned around a centre, clockwise as seen on the image."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (np.asarray(points, np.float64) - center) @ np.array([[cosine, sine], [-sine, cosine]]) + center
