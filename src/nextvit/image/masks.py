"""Masks as COCO writes them, run lengths in columns, and from a network's small masks to the picture's size: numpy alone.

A mask is counted down its columns, left to right: the first run is of pixels outside, then inside, and so on. As text each
length is the difference to the last but one (from the fourth on), in groups of five bits from the lowest: a group's
character is 48 more than its bits, plus 32 where another group follows, and the last group's highest bit is the sign.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from nextvit.errors import InputError

# H, W height and width of a picture; M side of a network's masks

Floats = NDArray[np.floating[Any]]
Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]

IGNORED = 255
"""In a mask of classes, the value of a pixel without label, which is neither learnt nor judged."""
MASK_THRESHOLD = 0.5
"""The probability from which on a pixel belongs to the object, as in MMDetection."""
MOST_GROUPS = 7
"""Five bits each: enough for the difference of any two lengths in a picture of 2^32 pixels."""


class RunLengths(TypedDict):
    """A mask as it stands in JSON, which pycocotools reads."""

    size: list[int]
    """Height and width of the picture."""
    counts: str


def encode(mask_HW: Booleans) -> RunLengths:
    """The run lengths of a mask of the whole picture."""
    height, width = mask_HW.shape
    return encode_part(mask_HW, top=0, left=0, size=(height, width))


def encode_part(part: Booleans, *, top: int, left: int, size: tuple[int, int]) -> RunLengths:
    """The run lengths of a mask in a picture of `size` (height, width) that lies in one part of it, from `top` and `left` on.

    What it costs depends on the part alone, not on the picture.
    """
    height, width = size
    columns, rows = np.nonzero(np.transpose(part))
    inside = (left + columns) * height + top + rows  # ascending: places counted down the columns
    breaks = np.flatnonzero(np.diff(inside) > 1)
    starts, ends = inside[np.r_[0, breaks + 1][: len(inside)]], inside[np.r_[breaks, -1][: len(inside)]] + 1
    changes = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.r_[0, changes, height * width])
    return {"size": [height, width], "counts": to_text(counts if counts[-1] else counts[:-1])}


def decode(mask: RunLengths | dict[str, Any]) -> Booleans:
    """The mask (H, W) of run lengths, whose counts may be text or a list of numbers.

    Raises:
        InputError: they are damaged, or do not fill the picture.
    """
    counts = counts_of(mask)
    height, width = mask["size"]
    flat: Booleans = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.reshape(flat, (height, width), order="F")


def counts_of(mask: RunLengths | dict[str, Any]) -> Integers:
    """The run lengths as numbers, checked."""
    given: Any = mask["counts"]
    counts = from_text(given) if isinstance(given, str) else np.asarray(given, np.int64)
    height, width = mask["size"]
    if (counts < 0).any() or counts.sum() != height * width:
        raise InputError(f"the run lengths of a mask must fill its {width}x{height} pixels, got {counts.sum()}")
    return counts


def to_text(counts: Integers | Sequence[int]) -> str:
    """Run lengths as COCO's text."""
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


def from_text(text: str) -> Integers:
    """The inverse of `to_text`. InputError where it is no such text."""
    groups = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    is_last = (groups & 32) == 0
    last = np.flatnonzero(is_last)
    first = np.r_[0, last[:-1] + 1]
    if (
        not len(groups)
        or not is_last[-1]
        or groups.min() < 0
        or groups.max() > 63
        or (last - first).max() >= MOST_GROUPS
    ):
        raise InputError(f"no run lengths of a mask: {text[:40]!r}")
    place = np.arange(len(groups)) - np.repeat(first, last - first + 1)
    values = np.add.reduceat((groups & 31) << 5 * place, first)
    values -= np.where(groups[last] & 16, 1 << 5 * (last - first + 1), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def paste(probabilities_MM: Floats, box: Sequence[float], *, size: tuple[int, int]) -> RunLengths:
    """The mask in a picture of `size` (height, width) of probabilities inside a box x1, y1, x2, y2 of its pixels.

    As MMDetection does: each pixel's centre takes a bilinear value between the centres of the small mask's cells, beyond
    whose outermost there is 0; from 0.5 on it belongs to the object.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    top, rows_HM = taps(y1, y2, limit=size[0], side=probabilities_MM.shape[0])
    left, columns_WM = taps(x1, x2, limit=size[1], side=probabilities_MM.shape[1])
    values: Floats = rows_HM @ probabilities_MM.astype(np.float64) @ np.transpose(columns_WM)
    return encode_part(values >= MASK_THRESHOLD, top=top, left=left, size=size)


def taps(start: float, end: float, *, limit: int, side: int) -> tuple[int, Floats]:
    """Along one axis: the first pixel that a box may touch, and how much each pixel takes from each cell (pixels, cells)."""
    if not end > start:
        return 0, np.zeros((0, side))
    first, last = max(0, int(np.floor(start)) - 1), min(limit, int(np.ceil(end)) + 1)
    place = (np.arange(first, last) + 0.5 - start) / (end - start) * side - 0.5
    return first, np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(side)))
