"""The mean over scales and mirror images, held against one view at a time."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nextvit.multi_scale import averaged_probabilities, sampled, softmax


def smooth_picture(width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def cells_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network whose scores are the picture's colours, of cells of 4 px; the last ones reach beyond it."""
    padded = np.pad(pixels, ((0, -pixels.shape[0] % 32), (0, -pixels.shape[1] % 32), (0, 0)), mode="edge")
    height, width, _ = padded.shape
    cells = padded.reshape(height // 4, 4, width // 4, 4, 3).mean(axis=(1, 3))
    return (cells / 32).transpose(2, 0, 1).astype(np.float32)


def test_every_scale_and_mirror_image_shows_the_picture_in_the_same_place():
    image = smooth_picture(101, 67)
    colours = (np.array(image) / 32).transpose(2, 0, 1)
    for scales, flip in (((1.0,), False), ((2.0,), True), ((0.75, 1.0, 1.5), True)):
        found = averaged_probabilities(image, cells_of, limits=(67, 200), scales=scales, flip=flip)
        assert found.shape == (3, 67, 101) and np.abs(found.sum(axis=0) - 1).max() < 1e-5
        assert np.abs(found - softmax(colours)).mean() < 0.03


def test_the_mean_is_that_of_single_views():
    image = smooth_picture(60, 44)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    one = {"limits": (44, 99), "flip": False}
    views = [averaged_probabilities(image, cells_of, scales=(scale,), **one) for scale in (0.5, 1.25)]
    views += [averaged_probabilities(mirrored, cells_of, scales=(scale,), **one)[:, :, ::-1] for scale in (0.5, 1.25)]
    together = averaged_probabilities(image, cells_of, limits=(44, 99), scales=(0.5, 1.25))
    # Resizing a mirrored picture and mirroring a resized one may round a pixel otherwise.
    assert together == pytest.approx(np.mean(views, axis=0), abs=0.02)


def test_places_between_cells_are_bilinear_and_clamped():
    cells = np.array([[[0.0, 1.0], [2.0, 3.0]]], np.float32)
    found = sampled(cells, np.array([-1, 0.5, 9]), np.array([-1, 0.25, 1]))
    assert found[0].tolist() == [[0, 0.25, 1], [1, 1.25, 2], [2, 2.25, 3]]
