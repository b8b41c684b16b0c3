"""Scores of a picture's pixels as the mean over several scales and mirror images of it: slower, and a little better."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.image.canvas import canvas_size
from nextvit.image.reading import Pixels, Size
from nextvit.image.resizing import Preprocess, resize_image, size_within
from nextvit.predictions.activations import softmax
from nextvit.predictions.sampling import sample_bilinear

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
        scores_of: from a picture (h, w, 3), uint8, to scores before softmax (C, cells, cells); with resize "pad" they
            are those of its frame.
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
            total_CrW = total_CrW + softmax(
                sample_bilinear(scores_CHW, down[top : top + BAND], across), axis=0, dtype=np.float32
            )
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
    pixels = resize_image(image, spec)
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
    """The size at which the network sees a picture, and that of what its scores cover: where it is padded the canvas
    around it."""
    if not spec.padded:
        return spec.image_size, spec.image_size
    seen = size_within(original, spec.image_size)
    return seen, canvas_size(np.array([seen]))
