"""Scores of a picture's pixels as the mean over several scales and mirror images of it: slower, and a little better."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.image.resizing import Pixels, Preprocess, Size, fit, fitted_size, frame_size

# C classes, H W height and width

Floats = NDArray[np.floating[Any]]

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""As MMSegmentation tests with several scales."""
BAND = 64
"""Rows of the picture whose probabilities are in memory at once."""


def averaged_bands(
    image: Image.Image,
    scores_of: Callable[[Pixels], Floats],
    spec: Preprocess,
    *,
    scales: Sequence[float] = SCALES,
    flip: bool = True,
) -> Iterator[Floats]:
    """The probabilities (C, some rows, W) of the pixels of an RGB picture, from the top.

    What is in memory are the scores of all views, at the sizes at which the network sees them, and one band.

    Args:
        scores_of: from a picture (h, w, 3), uint8, to scores before softmax (C, cells, cells); with resize "fit" they are
            those of its frame.
        spec: how a picture is resized at scale 1.
        scales: sizes at which the picture is answered, relative to that; at least one.
        flip: answer each mirrored, too.
    """
    views = [
        (scaled_scores(image, scores_of, scaled(spec, scale), mirrored=mirrored), scaled(spec, scale), mirrored)
        for scale in scales
        for mirrored in ((False, True) if flip else (False,))
    ]
    for top in range(0, image.height, BAND):
        total_CrW: Floats = np.zeros(1, np.float32)
        for scores_CHW, at_scale, mirrored in views:
            down, across = places_of(scores_CHW, (image.height, image.width), at_scale, mirrored=mirrored)
            total_CrW = total_CrW + softmax(sampled(scores_CHW, down[top : top + BAND], across))
        yield total_CrW / len(views)


def scaled(spec: Preprocess, scale: float) -> Preprocess:
    """How a picture is resized at another scale.

    Raises:
        InputError: it becomes smaller than the network takes, or too large.
    """
    height, width = spec.image_size
    return replace(spec, image_size=(round(scale * height), round(scale * width)))


def scaled_scores(
    image: Image.Image, scores_of: Callable[[Pixels], Floats], spec: Preprocess, *, mirrored: bool
) -> Floats:
    """The scores of one view of a picture, not mirrored back."""
    pixels = fit(image, spec)
    return scores_of(np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels)


def places_of(
    scores_CHW: Floats, original: Size, spec: Preprocess, *, mirrored: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the middles of a picture's pixels lie between those of the cells: for each row, and for each column."""
    places: list[NDArray[np.float64]] = []
    for side, seen, covered, cells in zip(
        original, *seen_and_covered(original, spec), scores_CHW.shape[1:], strict=True
    ):
        place = (np.arange(side) + 0.5) * seen / side
        places.append((seen - place if mirrored and len(places) else place) * cells / covered - 0.5)
    down, across = places
    return down, across


def seen_and_covered(original: Size, spec: Preprocess) -> tuple[Size, Size]:
    """The size at which the network sees a picture, and that of what its scores cover: with "fit" the frame around it."""
    if spec.resize != "fit":
        return spec.image_size, spec.image_size
    seen = fitted_size(original, spec.image_size)
    return seen, frame_size(np.array([seen]))


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
