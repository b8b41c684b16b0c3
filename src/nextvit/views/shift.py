"""Shift the rows of an image by fractions of pixels, for shears and translations.

Pillow's general transform reads 16 pixels for each output pixel; along rows 4 are enough. This is about five times as
fast. Pixels differ by one level at most, where Pillow's doubles and the floats here are on two sides of a whole number.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from nextvit.image.reading import Pixels

ROUNDING_MARGIN = 1e-3
"""Added before values are truncated, so that rounding errors do not turn 100 into 99."""


def shift_rows(image: Pixels, shifts: NDArray[np.float64], *, fill: tuple[int, int, int]) -> Pixels:
    """Shift row y of an image to the left by shifts[y] pixels, bicubic.

    Args:
        image: (H, W, 3).
        shifts: (H,), in pixels; their absolute values must be less than W.
        fill: the colour of pixels that come from outside of the image.
    """
    height, width, _ = image.shape
    nearest = np.floor(shifts + 0.5).astype(np.intp)
    # Columns that come from within the image in any row.
    start, stop = max(0, -int(nearest.max())), min(width, width - int(nearest.min()))
    is_inside = np.zeros(3 * 3 * width, bool)
    is_inside[3 * width : 6 * width] = True
    result = np.empty((height, 3 * width), np.uint8)
    result[:] = np.tile(np.array(fill, np.uint8), width)
    np.copyto(
        result[:, 3 * start : 3 * stop],
        interpolate(image, shifts, start=start, stop=stop),
        where=gather_windows(is_inside, 3 * (nearest + width + start), length=3 * (stop - start)),
    )
    return result.reshape(height, width, 3)


def interpolate(image: Pixels, shifts: NDArray[np.float64], *, start: int, stop: int) -> Pixels:
    """The image's rows sampled at x + shifts[y] for x from start to stop: (H, 3 * (stop - start)).

    Edge pixels are repeated twice; values further out are arbitrary, because `shift_rows` fills those pixels.
    """
    height, width, _ = image.shape
    padded = np.zeros(
        (width + height * (width + 4) + width, 3), np.uint8
    )  # so that no shift reads outside of the array
    rows = padded[width:-width].reshape(height, width + 4, 3)
    rows[:, 2:-2] = image
    rows[:, 0] = rows[:, 1] = image[:, 0]
    rows[:, -1] = rows[:, -2] = image[:, -1]
    whole = np.floor(shifts).astype(np.intp)
    first = width + np.arange(height) * (width + 4) + 2 + start + whole - 1
    length = 3 * (stop - start)
    taps = torch.from_numpy(gather_windows(padded.reshape(-1), 3 * first, length=length + 9)).float()
    value = torch.full((height, length), ROUNDING_MARGIN)
    for tap, weight in enumerate(cubic_weights(shifts - whole)):
        value.addcmul_(taps[:, 3 * tap : 3 * tap + length], torch.from_numpy(weight)[:, None])
    return value.clamp_(0, 255).numpy().astype(np.uint8)  # truncates, as Pillow does


def cubic_weights(at: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    """Weights of four neighbours for a point at a fraction `at` (0 to 1) of the way from the second to the third.

    These are the weights of Pillow's transform; its resize has others, with half the slope.
    """
    square, cube = at**2, at**3
    weights = (2 * square - at - cube, 1 - 2 * square + cube, at + square - cube, cube - square)
    return [weight.astype(np.float32) for weight in weights]


def gather_windows(line: NDArray[np.generic], starts: NDArray[np.intp], *, length: int) -> NDArray[np.generic]:
    """Copies of `length` elements of `line` from each start: (len(starts), length)."""
    step = line.strides[0]
    shape = (line.size - length + 1, length)
    return np.lib.stride_tricks.as_strided(line, shape, (step, step), writeable=False)[starts]
