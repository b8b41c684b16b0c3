"""Shifting the rows of a picture by fractions of pixels: what shears and translations are made of.

Pillow's general transform reads 16 pixels for each of a picture's; along rows 4 are enough. Some five times as fast, with the
same pixels to within one level, where Pillow's doubles and the floats here fall on two sides of a whole number.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from nextvit.image.resizing import Pixels

NEARLY = 1e-3
"""Added before fractions are cut off, so that rounding does not turn 100 into 99."""


def shift_rows(image: Pixels, shifts: NDArray[np.float64], *, fill: tuple[int, int, int]) -> Pixels:
    """Row y of the result holds at x what row y of the image holds at x + shifts[y], bicubic; `fill` outside.

    Args:
        image: (H, W, 3).
        shifts: (H,), in pixels, less than W to either side.
    """
    height, width, _ = image.shape
    nearest = np.floor(shifts + 0.5).astype(np.intp)
    # Columns that any row fills from within the image.
    start, stop = max(0, -int(nearest.max())), min(width, width - int(nearest.min()))
    inside = np.zeros(3 * 3 * width, bool)
    inside[3 * width : 6 * width] = True
    result = np.empty((height, 3 * width), np.uint8)
    result[:] = np.tile(np.array(fill, np.uint8), width)
    np.copyto(
        result[:, 3 * start : 3 * stop],
        interpolate(image, shifts, start=start, stop=stop),
        where=windows(inside, 3 * (nearest + width + start), length=3 * (stop - start)),
    )
    return result.reshape(height, width, 3)


def interpolate(image: Pixels, shifts: NDArray[np.float64], *, start: int, stop: int) -> Pixels:
    """The image's rows at x + shifts[y] for x from start to stop, (H, 3 * (stop - start)).

    The edges go on for two pixels; what lies further out is arbitrary: such samples are outside and get filled.
    """
    height, width, _ = image.shape
    padded = np.zeros((width + height * (width + 4) + width, 3), np.uint8)  # so that no shift leaves the memory
    rows = padded[width:-width].reshape(height, width + 4, 3)
    rows[:, 2:-2] = image
    rows[:, 0] = rows[:, 1] = image[:, 0]
    rows[:, -1] = rows[:, -2] = image[:, -1]
    whole = np.floor(shifts).astype(np.intp)
    first = width + np.arange(height) * (width + 4) + 2 + start + whole - 1
    length = 3 * (stop - start)
    taps = torch.from_numpy(windows(padded.reshape(-1), 3 * first, length=length + 9)).float()
    value = torch.full((height, length), NEARLY)
    for tap, weight in enumerate(cubic_weights(shifts - whole)):
        value.addcmul_(taps[:, 3 * tap : 3 * tap + length], torch.from_numpy(weight)[:, None])
    return value.clamp_(0, 255).numpy().astype(np.uint8)  # cuts fractions off, as Pillow does


def cubic_weights(at: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    """Of four neighbours, for a point `at` of the way from the second to the third.

    As Pillow's transform has them; its resizing has other ones, with half the slope.
    """
    square, cube = at**2, at**3
    weights = (2 * square - at - cube, 1 - 2 * square + cube, at + square - cube, cube - square)
    return [weight.astype(np.float32) for weight in weights]


def windows(line: NDArray[np.generic], starts: NDArray[np.intp], *, length: int) -> NDArray[np.generic]:
    """(len(starts), length): a copy of `line` from each start."""
    step = line.strides[0]
    shape = (line.size - length + 1, length)
    return np.lib.stride_tricks.as_strided(line, shape, (step, step), writeable=False)[starts]
