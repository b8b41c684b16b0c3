"""The mean over scales and mirror images, held against one view at a time."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nextvit.errors import InputError
from nextvit.image.resizing import Preprocess
from nextvit.predictions.activations import softmax
from nextvit.predictions.multi_scale import BAND, average_views
from nextvit.predictions.sampling import sample_bilinear


def smooth_picture(width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def cells_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network whose scores are the image's colours, of cells of 4 px; the last ones reach beyond it."""
    padded = np.pad(pixels, ((0, -pixels.shape[0] % 32), (0, -pixels.shape[1] % 32), (0, 0)), mode="edge")
    height, width, _ = padded.shape
    cells = padded.reshape(height // 4, 4, width // 4, 4, 3).mean(axis=(1, 3))
    return (cells / 32).transpose(2, 0, 1).astype(np.float32)


def averaged_probabilities(
    image: Image.Image, *, limits: tuple[int, int], scales: tuple[float, ...], flip: bool = True
) -> NDArray[np.floating[Any]]:
    """The probabilities (C, H, W) of the whole image."""
    spec = Preprocess(image_size=limits, resize="pad")
    bands = list(average_views(image, cells_of, spec, scales=scales, flip=flip))
    assert all(band.shape[1] <= BAND for band in bands)
    return np.concatenate(bands, axis=1)


def test_every_scale_and_mirror_image_shows_the_image_in_the_same_place():
    image = smooth_picture(101, 67)
    colours = (np.array(image) / 32).transpose(2, 0, 1)
    for scales, flip in (((1.0,), False), ((2.0,), True), ((0.75, 1.0, 1.5), True)):
        found = averaged_probabilities(image, limits=(67, 200), scales=scales, flip=flip)
        assert found.shape == (3, 67, 101) and np.abs(found.sum(axis=0) - 1).max() < 1e-5
        assert np.abs(found - softmax(colours, axis=0)).mean() < 0.03


def test_the_mean_is_that_of_single_views():
    image = smooth_picture(60, 44)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    views = [
        averaged_probabilities(each, limits=(64, 99), scales=(scale,), flip=False)[:, :, ::step]
        for each, step in ((image, 1), (mirrored, -1))
        for scale in (0.5, 1.25)
    ]
    together = averaged_probabilities(image, limits=(64, 99), scales=(0.5, 1.25))
    # Resizing a mirrored image and mirroring a resized one may round a pixel otherwise.
    assert together == pytest.approx(np.mean(views, axis=0), abs=0.02)


def test_places_between_cells_are_bilinear_and_clamped():
    cells = np.array([[[0.0, 1.0], [2.0, 3.0]]], np.float32)
    found = sample_bilinear(cells, np.array([-1, 0.5, 9]), np.array([-1, 0.25, 1]))
    assert found[0].tolist() == [[0, 0.25, 1], [1, 1.25, 2], [2, 2.25, 3]]


def test_an_image_that_is_stretched_is_seen_in_the_same_place():
    image = smooth_picture(101, 67)
    colours = (np.array(image) / 32).transpose(2, 0, 1)
    spec = Preprocess(image_size=(128, 96), resize="stretch")
    found = np.concatenate(list(average_views(image, cells_of, spec, scales=(1.0, 2.0))), axis=1)
    assert found.shape == (3, 67, 101) and np.abs(found - softmax(colours, axis=0)).mean() < 0.03


def test_memory_is_that_of_the_views_and_a_band():
    image = Image.new("RGB", (400, 6000))
    spec = Preprocess(image_size=(64, 960), resize="pad")
    tracemalloc.start()
    for _ in average_views(image, cells_of, spec, scales=(1.0,), flip=False):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400 * 6000 * 3 * 4 / 4  # a quarter of the probabilities of the whole picture


@pytest.mark.parametrize("scale", [0.1, 1000])
def test_a_scale_that_the_network_cannot_take_is_refused(scale: float):
    with pytest.raises(InputError, match=r"the network's input (must be at least 32 px|may have)"):
        next(average_views(smooth_picture(64, 64), cells_of, Preprocess(image_size=(64, 99)), scales=(scale,)))
