"""Find objects of an image in the same place, in a time that grows with their number alone."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SAME_IOU = 0.95
"""Boxes with a higher IoU are in the same place."""
LOG_STEP = -math.log(SAME_IOU)
"""Sides of boxes in the same place differ by less than this in their logarithms."""
SHIFT = (1 - SAME_IOU) / SAME_IOU
"""And their edges by less than this fraction of the side."""

Box = tuple[float, ...]
"""x1, y1, x2, y2"""
Range = tuple[float, float]
"""The first and the last coordinate along one axis."""
Cell = tuple[int, int]
"""The size and the position of a range, each in steps so small that few ranges of other places are in one cell."""


def find_same_boxes(
    boxes: NDArray[np.float32], labels: NDArray[np.int32], crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which boxes are in the place of an earlier one that is not itself in the place of an earlier one.

    Only boxes in the same or in adjacent cells are compared, and of many in one place the first with each.

    Args:
        boxes: (K, 4), x1, y1, x2, y2 of one image.
        labels: (K,), class indices.
        crowd: (K,); crowds are not compared.

    Returns:
        Those in the place of one of the same class, and those in the place of ones of other classes alone, (K,) each.
    """
    same_class, other_class = np.zeros((2, len(boxes)), np.bool_)
    is_compared = ~crowd & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if is_compared.sum() < 2:
        return same_class, other_class
    cells: dict[tuple[Cell, Cell], list[int]] = defaultdict(list)
    classes_at: dict[int, set[int]] = {}
    corners: list[Box] = [tuple(box) for box in boxes.astype(np.float64).tolist()]
    first_of: dict[Box, int] = {}
    for k in np.flatnonzero(is_compared).tolist():
        box, label = corners[k], int(labels[k])
        first = first_of[box] if box in first_of else find_first(box, cells, corners)
        if first is None:
            cells[cell_of((box[0], box[2])), cell_of((box[1], box[3]))].append(k)
            classes_at[k] = {label}
            first_of[box] = k
        else:
            first_of[box] = first
            (same_class if label in classes_at[first] else other_class)[k] = True
            classes_at[first].add(label)
    return same_class, other_class


def find_first(box: Box, cells: Mapping[tuple[Cell, Cell], Sequence[int]], corners: Sequence[Box]) -> int | None:
    """The index of a box in the same place among those in the cells; None where there is none."""
    left, top, right, bottom = box
    shift_x, shift_y = SHIFT * (right - left), SHIFT * (bottom - top)
    for across in adjacent_cells((left, right)):
        for down in adjacent_cells((top, bottom)):
            for earlier in cells.get((across, down), ()):
                other = corners[earlier]
                is_near = abs(other[0] - left) <= shift_x and abs(other[1] - top) <= shift_y
                if is_near and box_iou(other, box) > SAME_IOU:
                    return earlier
    return None


def cell_of(span: Range) -> Cell:
    """The cell of a range."""
    size = math.floor(math.log(span[1] - span[0]) / LOG_STEP)
    return size, math.floor(span[0] / cell_width(size))


def adjacent_cells(span: Range) -> Iterator[Cell]:
    """The cells in which ranges in the same place can be."""
    start, length = span[0], span[1] - span[0]
    logarithm, shift = math.log(length), SHIFT * length
    for size in range(math.floor(logarithm / LOG_STEP) - 1, math.floor(logarithm / LOG_STEP) + 2):
        width = cell_width(size)
        for position in range(math.floor((start - shift) / width), math.floor((start + shift) / width) + 1):
            yield size, position


def cell_width(size: int) -> float:
    """The step of positions for ranges of a size."""
    return 2 * SHIFT * math.exp(size * LOG_STEP)


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)
