"""Images larger than a network: windows leave no seams, and memory does not grow with the height."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from nextvit.errors import InputError
from nextvit.predictions.tiling import Windows, blend_strips, enlarge_rows, predict_class_map, window_axis

Floats = NDArray[np.float32]


def picture(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def whole(pixels: NDArray[np.uint8], scores_of, windows: Windows) -> Floats:
    """All strips of an image, one below the other."""
    return np.concatenate([strip.copy() for strip in blend_strips(pixels, scores_of, windows)], axis=1)


def at_stride(stride: int):
    """A network that gives back the image, averaged over each cell."""

    def scores_of(images: NDArray[np.uint8]) -> Floats:
        count, height, width, _ = images.shape
        cells = images.reshape(count, height // stride, stride, width // stride, stride, 3).mean(axis=(2, 4))
        return cells.transpose(0, 3, 1, 2).astype(np.float32)

    return scores_of


SIZES = [(200, 300), (64, 96), (65, 97), (130, 64), (20, 500), (33, 21), (1, 1), (257, 190)]


@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("side", [1, 63, 64, 65, 100, 128, 1000])
def test_the_weights_of_windows_sum_to_one_and_windows_overlap_as_asked(side: int, overlap: float):
    along = window_axis(side, 64, Windows(size=(64, 64), overlap=overlap))
    total = np.zeros(along.cells)
    for start, weights in zip(along.starts, along.weights, strict=True):
        assert (weights > 0).all()
        total[start : start + 16] += weights
    assert np.abs(total - 1).max() < 1e-6 and along.cells * 4 >= side
    assert along.starts[0] == 0 and along.starts[-1] + 16 == along.cells
    assert all(b - a <= max(1, 16 * (1 - overlap)) for a, b in zip(along.starts, along.starts[1:], strict=False))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 4])
def test_a_network_that_predicts_the_same_everywhere_is_blended_to_the_same(size: tuple[int, int], stride: int):
    windows = Windows(size=(64, 96), stride=stride)
    constant = np.array([0.25, -3, 7], np.float32)

    def scores_of(images: NDArray[np.uint8]) -> Floats:
        shape = (len(images), 3, images.shape[1] // stride, images.shape[2] // stride)
        return np.broadcast_to(constant[:, None, None], shape)

    scores = whole(picture(*size), scores_of, windows)
    assert scores.shape[1] * stride >= size[0] and scores.shape[2] * stride >= size[1]
    assert np.abs(scores - constant[:, None, None]).max() < 1e-5
    classes = predict_class_map(picture(*size), scores_of, windows)
    assert classes.shape == size and classes.dtype == np.uint8 and (classes == 2).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 4])
def test_a_network_whose_prediction_is_the_pixel_itself_gives_the_image(size: tuple[int, int], stride: int):
    pixels = picture(*size)
    windows = Windows(size=(64, 96), overlap=0.4, stride=stride, batch=3)
    scores = whole(pixels, at_stride(stride), windows)
    height, width = scores.shape[1] * stride, scores.shape[2] * stride
    padded = np.pad(pixels, ((0, height - size[0]), (0, width - size[1]), (0, 0)), mode="edge")
    assert np.abs(scores - at_stride(stride)(padded[None])[0]).max() < 1e-3


def test_a_prediction_that_depends_on_the_place_in_the_window_is_blended_as_by_hand_and_has_no_seams():
    size, side = (150, 210), 64
    windows = Windows(size=(side, side), overlap=0.5, stride=1, batch=2)
    pixels = picture(*size)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side

    def scores_of(images: NDArray[np.uint8]) -> Floats:
        return np.stack([np.stack([x, y, x * y]) for _ in images])

    found = whole(pixels, scores_of, windows)
    rows, columns = window_axis(size[0], side, windows), window_axis(size[1], side, windows)
    sums, weights = np.zeros((3, *size)), np.zeros(size)
    for top in rows.starts:
        for left in columns.starts:
            for row in range(side):
                for column in range(side):
                    weight = min(row + 0.5, side - row - 0.5) * min(column + 0.5, side - column - 0.5)
                    answer = (column / side, row / side, column * row / side**2)
                    sums[:, top + row, left + column] += weight * np.array(answer)
                    weights[top + row, left + column] += weight
    # Along each axis the weights are the fading alone over its sum, so their products are those of both.
    assert np.abs(found - sums / weights).max() < 1e-5
    # Answers of neighbouring windows differ by a half here; side by side they never do.
    for direction in (1, 2):
        assert np.abs(np.diff(found, axis=direction)).max() < 0.05


def test_classes_are_those_of_scores_enlarged_as_pytorch_does():
    torch = pytest.importorskip("torch", reason="needs nextvit[train]")
    pixels = picture(190, 150)
    for stride in (1, 2, 3, 4):
        windows = Windows(size=(48, 48), stride=stride)
        scores = whole(pixels, at_stride(stride), windows)
        enlarged = torch.nn.functional.interpolate(
            torch.from_numpy(scores)[None], scale_factor=stride, mode="bilinear", align_corners=False
        )[0, :, :190, :150]
        strips = (strip for strip in [scores[:, :20], scores[:, 20:21], scores[:, 21:]])
        rows = np.concatenate(list(enlarge_rows(strips, 150, stride)), axis=1)[:, :190]
        assert np.abs(rows - enlarged.numpy()).max() < 1e-2
        classes = predict_class_map(pixels, at_stride(stride), windows)
        top = np.sort(rows, axis=0)
        clear = top[-1] - top[-2] > 0.1
        assert clear.mean() > 0.9 and np.array_equal(classes[clear], enlarged.numpy().argmax(axis=0)[clear])


def test_memory_does_not_grow_with_the_height():
    windows = Windows(size=(64, 64))
    peaks = []
    for height in (256, 2048):
        pixels = np.zeros((height, 512, 3), np.uint8)
        tracemalloc.start()
        predict_class_map(pixels, at_stride(4), windows)
        peaks.append(tracemalloc.get_traced_memory()[1] - height * 512)  # without the answer itself
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": (64, 66)}, "a window's sides must be multiples of 4 px, got 66x64"),
        ({"size": (0, 64)}, "a window's sides must be multiples of 4 px"),
        ({"size": (64, 64), "overlap": 1.0}, "the overlap of windows is a fraction between 0 and 1, got 1.0"),
        ({"size": (64, 64), "stride": 0}, "stride and batch of windows must be at least 1, got 0 and 4"),
        ({"size": (64, 64), "batch": 0}, "stride and batch of windows must be at least 1"),
    ],
)
def test_windows_that_cannot_be_are_refused(given, words: str):
    with pytest.raises(InputError, match=words):
        Windows(**given)


def test_a_network_that_predicts_in_another_shape_is_refused():
    windows = Windows(size=(64, 64), stride=4, batch=2)
    for stride in (1, 8):
        with pytest.raises(
            InputError, match=r"scores of 2 windows must be of shape \(2, classes, 16, 16\), got \(2, 3, "
        ):
            predict_class_map(picture(100, 100), at_stride(stride), windows)
