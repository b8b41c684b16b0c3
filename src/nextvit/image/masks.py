"""Masks in COCO's run-length encoding (RLE), and a network's small masks at the image's size, in numpy alone.

The runs go down the columns, left to right: the first is of pixels outside the object, the next inside, and so on. In
the compressed text each length from the fourth on is the difference to the length two before. A number is written in
groups of five bits, the lowest first: a group's character is 48 plus its bits, plus 32 where another group follows;
the highest bit of the last group is the sign.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from nextvit.errors import InputError

# H, W height and width of an image; M side of a network's masks

Floats = NDArray[np.floating[Any]]
Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]

IGNORE_INDEX = 255
"""The value of a pixel without label in a class map: neither the loss nor the metrics count it."""
MASK_THRESHOLD = 0.5
"""The probability from which on a pixel belongs to the object, as in MMDetection."""
MAX_GROUPS = 7
"""Five bits each: enough for the difference of any two lengths in an image of 2^32 pixels."""


class RunLengths(TypedDict):
    """A mask as COCO's RLE in JSON, which pycocotools reads."""

    size: list[int]
    """Height and width of the image."""
    counts: str


def encode(mask_HW: Booleans) -> RunLengths:
    """The run lengths of a mask (H, W) of the whole image."""
    height, width = mask_HW.shape
    return encode_part(mask_HW, top=0, left=0, size=(height, width))


def encode_part(part: Booleans, *, top: int, left: int, size: tuple[int, int]) -> RunLengths:
    """The run lengths of a mask that is given for one part of an image, which costs time by the part's size alone.

    Args:
        part: the mask (h, w) of the part; outside of it the mask is empty.
        top, left: the part's first row and column.
        size: height and width of the image.
    """
    height, width = size
    rows, columns = part.shape
    padded = np.zeros((columns, rows + 1), np.bool_)  # so that each run ends in its column
    padded[:, :rows] = np.transpose(part)
    changed_columns, changed_rows = np.divmod(np.flatnonzero(np.diff(padded.ravel(), prepend=False)), rows + 1)
    changes = (left + changed_columns) * height + top + changed_rows  # indices, counted down the columns
    starts, ends = changes[::2], changes[1::2]
    is_joined = starts[1:] == ends[:-1]  # a run that goes on in the next column
    starts, ends = starts[np.r_[True, ~is_joined][: len(starts)]], ends[np.r_[~is_joined, True][: len(ends)]]
    counts = np.diff(np.r_[0, np.stack([starts, ends], axis=1).ravel(), height * width])
    return {"size": [height, width], "counts": counts_to_text(counts if counts[-1] else counts[:-1])}


def decode(mask: RunLengths | dict[str, Any]) -> Booleans:
    """The mask (H, W) of run lengths, whose counts may be compressed text or a list of numbers.

    Raises:
        InputError: the counts are damaged, or do not fill the image.
    """
    counts = read_counts(mask)
    height, width = mask["size"]
    flat: Booleans = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.reshape(flat, (height, width), order="F")


def read_counts(mask: RunLengths | dict[str, Any]) -> Integers:
    """The run lengths as numbers (runs,).

    Raises:
        InputError: they are damaged, or do not fill the image.
    """
    value: Any = mask["counts"]
    counts = counts_from_text(value) if isinstance(value, str) else np.asarray(value, np.int64)
    height, width = mask["size"]
    if (counts < 0).any() or counts.sum() != height * width:
        raise InputError(f"the run lengths of a mask must fill its {width}x{height} pixels, got {counts.sum()}")
    return counts


def counts_to_text(counts: Integers | Sequence[int]) -> str:
    """Run lengths as COCO's compressed text."""
    values = np.array(counts, np.int64)
    values[3:] -= np.asarray(counts, np.int64)[1:-2]
    groups: list[Integers] = []
    needed: list[Booleans] = []
    more = np.ones(len(values), np.bool_)
    while more.any():
        bits = values & 31
        values = values >> 5
        needed.append(more)
        more = more & (values != np.where(bits & 16, -1, 0))
        groups.append(bits + 48 + 32 * more)
    characters, kept = np.stack(groups, axis=1), np.stack(needed, axis=1)
    return characters[kept].astype(np.uint8).tobytes().decode("ascii")


def counts_from_text(text: str) -> Integers:
    """The inverse of `counts_to_text`.

    Raises:
        InputError: the text is no compressed run lengths.
    """
    groups = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    is_last = (groups & 32) == 0
    last = np.flatnonzero(is_last)
    first = np.r_[0, last[:-1] + 1]
    if (
        not len(groups)
        or not is_last[-1]
        or groups.min() < 0
        or groups.max() > 63
        or (last - first).max() >= MAX_GROUPS
    ):
        raise InputError(f"no run lengths of a mask: {text[:40]!r}")
    position = np.arange(len(groups)) - np.repeat(first, last - first + 1)
    values = np.add.reduceat((groups & 31) << 5 * position, first)
    values -= np.where(groups[last] & 16, 1 << 5 * (last - first + 1), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def paste_mask(probabilities_MM: Floats, box: Sequence[float], *, size: tuple[int, int]) -> RunLengths:
    """A network's small mask, resized into its box and thresholded at 0.5, as run lengths.

    As in MMDetection, each pixel's centre takes a bilinear value between the centres of the small mask's cells;
    beyond the outermost cells the value is 0.

    Args:
        probabilities_MM: the small mask, 0 to 1.
        box: x1, y1, x2, y2 in pixels of the image.
        size: height and width of the image.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    top, rows_HM = interpolation_weights(y1, y2, limit=size[0], side=probabilities_MM.shape[0])
    left, columns_WM = interpolation_weights(x1, x2, limit=size[1], side=probabilities_MM.shape[1])
    values: Floats = rows_HM @ probabilities_MM.astype(np.float64) @ np.transpose(columns_WM)
    return encode_part(values >= MASK_THRESHOLD, top=top, left=left, size=size)


def interpolation_weights(start: float, end: float, *, limit: int, side: int) -> tuple[int, Floats]:
    """The bilinear interpolation along one axis.

    Args:
        start, end: the box's two edges.
        limit: the image's side in pixels.
        side: the number of cells of the small mask.

    Returns:
        The first pixel that the box may touch, and the weight of each cell for each pixel from there on (pixels,
        cells).
    """
    if not end > start:
        return 0, np.zeros((0, side))
    first, last = max(0, int(np.floor(start)) - 1), min(limit, int(np.ceil(end)) + 1)
    position = (np.arange(first, last) + 0.5 - start) / (end - start) * side - 0.5
    return first, np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(side)))
