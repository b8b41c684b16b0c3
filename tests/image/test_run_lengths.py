"""Run lengths against pycocotools, and pasted masks against PyTorch's grid_sample."""

import json
import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco

from nextvit.errors import InputError
from nextvit.image.masks import counts_to_text, decode, encode, encode_part, paste_mask

GENERATOR = np.random.default_rng(0)
MASKS = {
    "noise": GENERATOR.random((37, 53)) < 0.5,
    "sparse": GENERATOR.random((301, 203)) < 0.001,
    "empty": np.zeros((5, 9), np.bool_),
    "full": np.ones((5, 9), np.bool_),
    "first": np.arange(12).reshape(3, 4) == 0,
    "last": np.arange(12).reshape(3, 4) == 11,
    "one pixel": np.ones((1, 1), np.bool_),
    "large blocks": np.kron(GENERATOR.random((3, 4)) < 0.5, np.ones((400, 500))).astype(np.bool_),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_is_written_as_pycocotools_writes_it_and_read_back(mask: np.ndarray):
    expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    given = encode(mask)
    assert given == {"size": expected["size"], "counts": expected["counts"].decode()}
    assert (decode(given) == mask).all()
    assert (coco.decode(json.loads(json.dumps(given))) == mask).all()


def test_a_part_is_written_as_the_whole_image():
    whole = np.zeros((20, 30), np.bool_)
    part = GENERATOR.random((20, 7)) < 0.7
    whole[:, 11:18] = part
    assert encode_part(part, top=0, left=11, size=(20, 30)) == encode(whole)
    whole[:] = False
    whole[13:20, 23:30] = True
    assert encode_part(np.ones((7, 7), np.bool_), top=13, left=23, size=(20, 30)) == encode(whole)


def test_run_lengths_as_numbers_are_read_too():
    assert decode({"size": [2, 3], "counts": [1, 2, 3]}).tolist() == [[False, True, False], [True, False, False]]


@pytest.mark.parametrize(
    "counts", ["", "0\x10", "P", "é", "\ud800", counts_to_text([3, 4]), [7], [-1, 7], "o" * 9 + "0"]
)
def test_damaged_run_lengths_are_refused_in_one_line(counts: object):
    with pytest.raises(InputError, match="run lengths of a mask") as caught:
        decode({"size": [2, 3], "counts": counts})
    assert "\n" not in str(caught.value)


BOXES = [
    (10.0, 20.0, 70.0, 60.0),
    (-5.5, -3.25, 30.7, 22.1),  # beyond the top left
    (60.3, 50.9, 103.0, 91.2),  # beyond the bottom right
    (33.2, 41.7, 33.9, 42.4),  # less than a pixel
    (0.0, 0.0, 100.0, 80.0),
    (50.0, 50.0, 50.0, 60.0),  # nothing
    (200.0, 200.0, 210.0, 210.0),  # outside
]


@pytest.mark.parametrize("box", BOXES)
def test_a_mask_is_pasted_as_grid_sample_does(box: tuple[float, ...]):
    """MMDetection's way, over the whole image in float64; pixels within rounding of the threshold may be either."""
    import torch
    from torch.nn.functional import grid_sample

    probabilities = np.random.default_rng(7).random((28, 28)).astype(np.float32)
    height, width = 80, 100
    given = decode(paste_mask(probabilities, box, size=(height, width)))
    x1, y1, x2, y2 = box
    if x1 == x2:
        assert not given.any()
        return
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - x1) / (x2 - x1) * 2 - 1
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - y1) / (y2 - y1) * 2 - 1
    grid = torch.stack([x[None].expand(height, width), y[:, None].expand(height, width)], dim=-1)
    values = grid_sample(torch.from_numpy(probabilities).double()[None, None], grid[None], align_corners=False)[0, 0]
    sure = (values - 0.5).abs().numpy() > 1e-9
    assert sure.mean() > 0.99
    assert (given == (values.numpy() >= 0.5))[sure].all()
    if box == (33.2, 41.7, 33.9, 42.4):
        assert given.sum() <= 1


def test_the_memory_of_a_large_mask_is_a_few_bytes_per_pixel():
    mask = np.ones((2000, 2000), np.bool_)
    tracemalloc.start()
    try:
        encode(mask)
        assert tracemalloc.get_traced_memory()[1] < 5 * mask.size
    finally:
        tracemalloc.stop()


def test_runs_of_any_part_are_those_of_the_whole_mask():
    generator = np.random.default_rng(3)
    for _ in range(200):
        height, width = generator.integers(1, 9, 2).tolist()
        top, left = int(generator.integers(0, height)), int(generator.integers(0, width))
        part = generator.random((height - top, width - left)) < generator.random()
        whole = np.zeros((height, width), np.bool_)
        whole[top:, left:] = part
        found = encode_part(part, top=top, left=left, size=(height, width))
        assert np.array_equal(decode(found), whole) and found == encode(whole)
