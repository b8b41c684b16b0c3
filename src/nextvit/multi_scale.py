"""Scores of a picture's pixels as the mean over several scales and mirror images of it: slower, and a little better."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.preprocess import Pixels, Size, fitted_size

# C classes, H W height and width; scores have cells of `stride` pixels a side

Floats = NDArray[np.floating[Any]]

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""As MMSegmentation tests with several scales."""


def averaged_probabilities(
    image: Image.Image,
    scores_of: Callable[[Pixels], Floats],
    *,
    limits: Size,
    scales: Sequence[float] = SCALES,
    flip: bool = True,
    stride: int = 4,
) -> Floats:
    """The probabilities (C, H, W) of the pixels of an RGB picture.

    Args:
        scores_of: from a picture (h, w, 3), uint8, to scores before softmax (C, cells, cells), which may reach beyond it.
        limits: of the shorter and the longer side of the picture at scale 1.
        scales: sizes at which the picture is answered, relative to that.
        flip: answer each mirrored, too.
        stride: pixels of the picture for each of the scores' cells.
    """
    views = [(scale, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))]
    total_CHW: Floats | None = None
    for scale, mirrored in views:
        shorter, longer = (max(1, round(scale * limit)) for limit in limits)
        height, width = fitted_size((image.height, image.width), (shorter, longer))
        pixels = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
        scores_CHW = scores_of(np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels)
        down = (np.arange(image.height) + 0.5) * height / image.height
        across = (np.arange(image.width) + 0.5) * width / image.width
        across = width - across if mirrored else across
        probabilities_CHW = softmax(sampled(scores_CHW, down / stride - 0.5, across / stride - 0.5))
        total_CHW = probabilities_CHW if total_CHW is None else total_CHW + probabilities_CHW
    assert total_CHW is not None, "at least one scale"
    return total_CHW / len(views)


def sampled(scores_CHW: Floats, down_H: NDArray[np.float64], across_W: NDArray[np.float64]) -> Floats:
    """Scores at places between the middles of cells, bilinear, clamped at the edges: (C, len(down_H), len(across_W))."""
    for axis, places in ((1, down_H), (2, across_W)):
        last = scores_CHW.shape[axis] - 1
        place = places.clip(0, last)
        first = place.astype(np.intp)
        share = (place - first).astype(np.float32)
        share = share[:, None] if axis == 1 else share
        low, high = scores_CHW.take(first, axis=axis), scores_CHW.take(np.minimum(first + 1, last), axis=axis)
        scores_CHW = low + share * (high - low)
    return scores_CHW


def softmax(scores_CHW: Floats) -> Floats:
    """Probabilities over the classes, which come first."""
    powers = np.exp(scores_CHW - scores_CHW.max(axis=0))
    return powers / powers.sum(axis=0)
