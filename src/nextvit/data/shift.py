"""Shifting the rows of a picture by fractions of pixels: what shears and translations are made of.

Pillow's general transform reads 16 pixels for each of a picture's; along rows 4 are enough. About five times as fast,
with the same pixels to within one level, where Pillow's doubles and the floats here fall on two sides of a whole number.
"""

import numpy as np
from numpy.typing import NDArray

from nextvit.preprocess import Pixels


def shift_rows(image: Pixels, shifts: NDArray[np.float64], *, fill: tuple[int, int, int]) -> Pixels:
    """Row y of the result holds at x what row y of the image holds at x + shifts[y], bicubic; `fill` outside.

    Args:
        image: (H, W, 3).
        shifts: (H,), in pixels, less than W to either side.
    """
    height, width, _ = image.shape
    whole = np.floor(shifts).astype(np.intp)
    nearest = np.floor(shifts + 0.5).astype(np.intp)
    # Columns that any row fills from within the image.
    start, stop = max(0, -int(nearest.max())), min(width, width - int(nearest.min()))
    tap1, tap2, tap3, tap4 = taps(image, whole, start=start, stop=stop)
    value = cubic(tap1, tap2, tap3, tap4, at=(shifts - whole).astype(np.float32)[:, None])
    inside = np.zeros(3 * 3 * width, bool)
    inside[3 * width : 6 * width] = True
    result = np.empty((height, 3 * width), np.uint8)
    result[:] = np.tile(np.array(fill, np.uint8), width)
    np.copyto(
        result[:, 3 * start : 3 * stop],
        value.astype(np.uint8),  # cuts the fraction off, as Pillow does
        where=windows(inside, 3 * (nearest + width + start), length=3 * (stop - start)),
    )
    return result.reshape(height, width, 3)


def taps(image: Pixels, whole: NDArray[np.intp], *, start: int, stop: int) -> list[NDArray[np.float32]]:
    """The four neighbours of every sample, each (H, 3 * (stop - start)); the image's edges go on for two pixels.

    What lies further out is arbitrary: such samples are outside and get filled.
    """
    height, width, _ = image.shape
    padded = np.zeros((width + height * (width + 4) + width, 3), np.uint8)  # so that no shift leaves the memory
    rows = padded[width:-width].reshape(height, width + 4, 3)
    rows[:, 2:-2] = image
    rows[:, 0] = rows[:, 1] = image[:, 0]
    rows[:, -1] = rows[:, -2] = image[:, -1]
    first = width + np.arange(height) * (width + 4) + 2 + start + whole - 1
    count = stop - start
    read = windows(padded.reshape(-1), 3 * first, length=3 * (count + 3)).astype(np.float32)
    return [read[:, 3 * tap : 3 * (tap + count)] for tap in range(4)]


def windows(line: NDArray[np.generic], starts: NDArray[np.intp], *, length: int) -> NDArray[np.generic]:
    """(len(starts), length): a copy of `line` from each start."""
    step = line.strides[0]
    shape = (line.size - length + 1, length)
    return np.lib.stride_tricks.as_strided(line, shape, (step, step), writeable=False)[starts]


def cubic(
    tap1: NDArray[np.float32],
    tap2: NDArray[np.float32],
    tap3: NDArray[np.float32],
    tap4: NDArray[np.float32],
    *,
    at: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The cubic through four neighbours, `at` of the way from the second to the third, within 0..255.

    With Pillow's slope of -1 at the neighbours (its resizing has -0.5). Where all four are equal the value is exact,
    which matters because the fraction is cut off.
    """
    rise = tap2 - tap1
    value = tap3 - tap4
    np.subtract(rise, value, out=value)
    value *= at - 1
    value -= rise
    value *= at
    value += np.subtract(tap3, tap1, out=rise)
    value *= at
    value += tap2
    return np.clip(value, 0, 255, out=value)
