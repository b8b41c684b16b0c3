"""Test-time augmentation for segmentation: probabilities averaged over several scales and mirror images. Slower, and a
little better."""

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
"""The scales of MMSegmentation's multi-scale test."""
BAND = 64
"""Rows of the image whose probabilities are in memory at a time."""


def average_views(
    image: Image.Image,
    scores_of: Callable[[Pixels], Floats],
    spec: Preprocess,
    *,
    scales: Sequence[float] = SCALES,
    flip: bool = True,
    exchanged: NDArray[np.int64] | None = None,
) -> Iterator[Floats]:
    """Yield the probabilities (C, some rows, W) of the pixels of an RGB image, from the top.

    Memory holds the scores of all views, at the size of the network's outputs, and one band of rows.

    Args:
        scores_of: from an image (h, w, 3), uint8, to logits (C, cells, cells); with resize "pad" those of its canvas.
        spec: how an image is resized at scale 1.
        scales: input sizes, relative to that of `spec`; at least one.
        flip: predict for each scale mirrored, too.
        exchanged: (C,), what each class is in a mirror image; None: the same.
    """
    views = [
        (
            predict_view(image, scores_of, scale_preprocess(spec, scale), mirrored=mirrored),
            scale_preprocess(spec, scale),
            mirrored,
        )
        for scale in scales
        for mirrored in ((False, True) if flip else (False,))
    ]
    for top in range(0, image.height, BAND):
        total_CrW: Floats = np.zeros(1, np.float32)
        for scores_CHW, at_scale, mirrored in views:
            down, across = sample_positions(scores_CHW, (image.height, image.width), at_scale, mirrored=mirrored)
            probabilities_CrW = softmax(
                sample_bilinear(scores_CHW, down[top : top + BAND], across), axis=0, dtype=np.float32
            )
            total_CrW = total_CrW + (
                probabilities_CrW[exchanged] if mirrored and exchanged is not None else probabilities_CrW
            )
        yield total_CrW / len(views)


def scale_preprocess(spec: Preprocess, scale: float) -> Preprocess:
    """The same preprocessing at another scale.

    Raises:
        InputError: the input becomes smaller or larger than the network takes.
    """
    height, width = spec.image_size
    return replace(spec, image_size=(round(scale * height), round(scale * width)))


def predict_view(
    image: Image.Image, scores_of: Callable[[Pixels], Floats], spec: Preprocess, *, mirrored: bool
) -> Floats:
    """The scores of one view of an image, not mirrored back."""
    pixels = resize_image(image, spec)
    return scores_of(np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels)


def sample_positions(
    scores_CHW: Floats, original: Size, spec: Preprocess, *, mirrored: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The centres of an image's pixels in coordinates of the score cells: for each row, and for each column."""
    places: list[NDArray[np.float64]] = []
    for side, seen, covered, cells in zip(
        original, *input_and_scores_size(original, spec), scores_CHW.shape[1:], strict=True
    ):
        place = (np.arange(side) + 0.5) * seen / side
        places.append((seen - place if mirrored and len(places) else place) * cells / covered - 0.5)
    down, across = places
    return down, across


def input_and_scores_size(original: Size, spec: Preprocess) -> tuple[Size, Size]:
    """The size of the resized image, and of what the scores cover: where the input is padded, the whole canvas."""
    if not spec.padded:
        return spec.image_size, spec.image_size
    seen = size_within(original, spec.image_size)
    return seen, canvas_size(np.array([seen]))
