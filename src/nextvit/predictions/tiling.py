"""Sliding-window segmentation of images that are larger than the network's input: overlapping windows, blended without
seams.

The weights of a window's scores fall towards its borders, and where windows overlap the weights sum to one. The image
is processed in strips, from the top: memory holds the scores of one row of windows, however high the image is.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.errors import InputError
from nextvit.image.reading import Pixels, Size

# N windows, C classes, H W height and width in pixels. A cell is a position of the score map; it covers `stride` x
# `stride` pixels of the image.

Floats = NDArray[np.floating[Any]]

ScoresOf = Callable[[Pixels], Floats]
"""From windows (N, H, W, 3) to the scores (N, C, H / stride, W / stride) of their pixels."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How an image is cut into windows.

    Raises:
        InputError: a value is out of range.
    """

    size: Size
    """Height and width of a window in pixels, multiples of `stride`."""
    overlap: float = 0.25
    """Least fraction of a window's side that neighbouring windows have in common."""
    stride: int = 4
    """Pixels of the image per score, along a side; 1 where the network gives scores at full size."""
    batch: int = 4
    """Windows in one run of the network."""

    def __post_init__(self) -> None:
        if self.stride < 1 or self.batch < 1:
            raise InputError(f"stride and batch of windows must be at least 1, got {self.stride} and {self.batch}")
        if min(self.size) < 1 or any(side % self.stride for side in self.size):
            raise InputError(
                f"a window's sides must be multiples of {self.stride} px, got {self.size[1]}x{self.size[0]}"
            )
        if not 0 < self.overlap < 1:
            raise InputError(f"the overlap of windows is a fraction between 0 and 1, got {self.overlap}")


@dataclass(frozen=True)
class Axis:
    """The positions of windows along one side of an image, in cells."""

    cells: int
    """Length of the whole side."""
    starts: tuple[int, ...]
    """First cell of each window."""
    weights: Floats
    """(windows, cells of a window): at each cell of the image the weights of all windows sum to one."""


def window_axis(side_px: int, window_px: int, windows: Windows) -> Axis:
    """The fewest evenly spaced windows that cover a side with at least the overlap of `windows`. Where the side is
    shorter than a window, one window extends beyond it."""
    length = window_px // windows.stride
    cells = max(length, math.ceil(side_px / windows.stride))
    step = max(1, math.floor(length * (1 - windows.overlap)))
    count = 1 + math.ceil((cells - length) / step)
    starts = tuple(round(place * (cells - length) / max(1, count - 1)) for place in range(count))
    rising = np.arange(length) + 0.5
    fading = np.minimum(rising, rising[::-1])
    total = np.zeros(cells)
    for start in starts:
        total[start : start + length] += fading
    weights = np.stack([fading / total[start : start + length] for start in starts])
    return Axis(cells, starts, weights.astype(np.float32))


def window_at(pixels_HWC: Pixels, top: int, left: int, size: Size) -> Pixels:
    """A window of an image; beyond the edges the outermost pixels are repeated."""
    height, width = size
    inside = pixels_HWC[top : top + height, left : left + width]
    below, right = height - inside.shape[0], width - inside.shape[1]
    return np.pad(inside, ((0, below), (0, right), (0, 0)), mode="edge") if below or right else inside


def blend_strips(pixels_HWC: Pixels, scores_of: ScoresOf, windows: Windows) -> Iterator[Floats]:
    """Yield the scores of an image (H, W, 3), uint8, as strips (C, cells, cells of the whole width), from the top.

    The last strip and the right side may extend beyond the image, to whole cells and windows. A strip is valid until
    the next one is taken.

    Raises:
        InputError: the network's outputs have another shape.
    """
    rows = window_axis(pixels_HWC.shape[0], windows.size[0], windows)
    columns = window_axis(pixels_HWC.shape[1], windows.size[1], windows)
    height, width = (side // windows.stride for side in windows.size)
    strip: Floats | None = None
    for top, bottom, down_H in zip(rows.starts, (*rows.starts[1:], rows.cells), rows.weights, strict=True):
        for first in range(0, len(columns.starts), windows.batch):
            lefts = columns.starts[first : first + windows.batch]
            cut = [window_at(pixels_HWC, top * windows.stride, left * windows.stride, windows.size) for left in lefts]
            scores_NCHW = scores_of(np.stack(cut))
            check_shape(scores_NCHW, (len(lefts), height, width))
            if strip is None:
                strip = np.zeros((scores_NCHW.shape[1], height, columns.cells), np.float32)
            for scores_CHW, left, across_W in zip(scores_NCHW, lefts, columns.weights[first:], strict=False):
                strip[:, :, left : left + width] += scores_CHW * (down_H[:, None] * across_W)
        assert strip is not None
        done = bottom - top
        yield strip[:, :done]
        strip[:, : height - done] = strip[:, done:]
        strip[:, height - done :] = 0


def check_shape(scores_NCHW: Floats, wanted: tuple[int, int, int]) -> None:
    """Raise InputError unless these are the scores of (count, height, width) windows and cells."""
    shape = scores_NCHW.shape
    if len(shape) != 4 or (shape[0], *shape[2:]) != wanted:
        count, height, width = wanted
        raise InputError(
            f"the scores of {count} windows must be of shape ({count}, classes, {height}, {width}), got {shape}"
        )


def blend_rows(pixels_HWC: Pixels, scores_of: ScoresOf, windows: Windows) -> Iterator[Floats]:
    """Yield the scores of an image's pixels (C, some rows, W), from the top: those of the cells, enlarged.

    Raises:
        InputError: as `blend_strips`.
    """
    height, width = pixels_HWC.shape[:2]
    for scores_CrW in enlarge_rows(blend_strips(pixels_HWC, scores_of, windows), width, windows.stride):
        kept = min(scores_CrW.shape[1], height)
        if kept:
            yield scores_CrW[:, :kept]
        height -= kept


def predict_class_map(pixels_HWC: Pixels, scores_of: ScoresOf, windows: Windows) -> NDArray[np.uint8]:
    """The class of each pixel (H, W) of an image (H, W, 3): the argmax of the scores, enlarged to the image's size.

    Raises:
        InputError: as `blend_strips`.
    """
    classes_HW = np.empty(pixels_HWC.shape[:2], np.uint8)
    row = 0
    for scores_CrW in blend_rows(pixels_HWC, scores_of, windows):
        below = row + scores_CrW.shape[1]
        classes_HW[row:below] = scores_CrW.argmax(axis=0)
        row = below
    return classes_HW


def enlarge_rows(strips: Iterator[Floats], width: int, stride: int) -> Iterator[Floats]:
    """Enlarge strips of cells to rows of pixels (C, some rows, width), bilinearly, as PyTorch does without
    align_corners."""
    at = (np.arange(width) + 0.5) / stride - 0.5
    weights: list[float] = [((y + 0.5) / stride - 0.5) % 1 for y in range(stride)]
    above = [weight for weight in weights if weight >= 0.5]  # of the cell before
    below = [weight for weight in weights if weight < 0.5]
    wide: Iterator[Floats] = (interpolate_row(strip[:, cell], at) for strip in strips for cell in range(strip.shape[1]))
    upper = next(wide)
    if above:
        yield upper[:, None].repeat(len(above), axis=1)
    for lower in wide:
        between: list[Floats] = [upper + np.float32(weight) * (lower - upper) for weight in (*below, *above)]
        yield np.stack(between, axis=1)
        upper = lower
    yield upper[:, None].repeat(len(below), axis=1)


def interpolate_row(cells_CW: Floats, at: NDArray[np.float64]) -> Floats:
    """Interpolate a row of cells (C, cells) at positions `at` between their centres, clamped to the first and last:
    (C, len(at))."""
    position = at.clip(0, cells_CW.shape[1] - 1)
    left = position.astype(np.intp)
    right = np.minimum(left + 1, cells_CW.shape[1] - 1)
    weight = (position - left).astype(np.float32)
    return cells_CW[:, left] + weight * (cells_CW[:, right] - cells_CW[:, left])
