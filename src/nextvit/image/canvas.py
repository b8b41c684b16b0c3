"""Images of different sizes in one batch: each at the top left of a canvas of one size."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from nextvit.image.reading import Pixels, Size

STRIDE_PX = 32
"""Stride of the network's coarsest feature map: the sides of a canvas are multiples of it."""


class Sized(Protocol):
    """Anything with a height and a width in pixels."""

    @property
    def size(self) -> Size: ...


Each = TypeVar("Each", bound=Sized)


def pad_to_canvas(images: Sequence[Pixels]) -> tuple[Pixels, NDArray[np.int64]]:
    """Pad images at the right and the bottom with zeros, to the canvas that the largest of them need.

    Args:
        images: each (height, width, 3), at least one.

    Returns:
        The padded images (N, H, W, 3), and the height and width (N, 2) of each.
    """
    sizes_N2 = np.array([each.shape[:2] for each in images], np.int64)
    height, width = canvas_size(sizes_N2)
    images_NHWC = np.zeros((len(images), height, width, 3), np.uint8)
    for canvas_HWC, each in zip(images_NHWC, images, strict=True):
        canvas_HWC[: each.shape[0], : each.shape[1]] = each
    return images_NHWC, sizes_N2


def canvas_size(sizes_N2: NDArray[np.int64]) -> Size:
    """The smallest height and width, in multiples of `STRIDE_PX`, for images of these heights and widths (N, 2)."""
    height, width = (-(-sizes_N2.max(axis=0) // STRIDE_PX) * STRIDE_PX).tolist()
    return height, width


def group_by_canvas(images: Iterable[Each]) -> Iterator[list[Each]]:
    """Group consecutive images whose own canvases have the same size: in a batch each then has the same padding as
    alone."""
    for _, group in groupby(images, key=lambda image: canvas_size(np.array([image.size]))):
        yield list(group)
