"""Maps of classes that are kept small."""

import numpy as np
import pytest

from nextvit.image.class_maps import (
    find_class_boundaries,
    from_base64_png,
    rank_by_rarity,
    shrink_class_map,
    to_base64_png,
)
from nextvit.image.masks import IGNORE_INDEX


def test_a_map_comes_back_from_its_text():
    labels = np.random.default_rng(0).choice([0, 1, 2, IGNORE_INDEX], (7, 11)).astype(np.uint8)
    assert np.array_equal(from_base64_png(to_base64_png(labels)), labels)


def test_the_rarest_class_has_the_highest_rank_and_what_has_no_label_the_lowest():
    ranks = rank_by_rarity([10, 500, 0])
    assert ranks[[1, 0, 2, IGNORE_INDEX]].tolist() == [1, 2, 3, 0]
    assert rank_by_rarity([1] * 255)[254] == 255


@pytest.mark.parametrize("longer_side", [1, 7, 100, 333, 1000])
def test_a_line_of_one_pixel_stays_a_line_at_every_size(longer_side: int):
    labels = np.zeros((400, 1000), np.uint8)
    labels[123] = 1
    small = shrink_class_map(labels, longer_side=longer_side, class_pixels=[10**9, 5])
    assert small.shape == (max(1, round(0.4 * longer_side)), longer_side)
    assert ((small == 1).sum(axis=0) == 1).all()


def test_of_common_classes_nothing_is_left_where_rare_ones_are_and_labels_win_over_none():
    labels = np.array(
        [[0, 0, IGNORE_INDEX, IGNORE_INDEX], [0, 1, IGNORE_INDEX, 0], [2, 2, 2, 0], [2, 2, 2, 0]], np.uint8
    )
    assert shrink_class_map(labels, longer_side=2, class_pixels=[9, 1, 4]).tolist() == [[1, 0], [2, 2]]
    assert shrink_class_map(labels, longer_side=2, class_pixels=[1, 9, 4]).tolist() == [[0, 0], [2, 0]]
    assert shrink_class_map(labels, longer_side=1, class_pixels=[0, 0, 0]).shape == (1, 1)


def test_a_small_map_stays_as_it_is():
    labels = np.array([[0, 1, IGNORE_INDEX], [2, 2, 0]], np.uint8)
    assert np.array_equal(shrink_class_map(labels, longer_side=3, class_pixels=[5, 6, 7]), labels)


def test_rims_lie_on_the_rarer_side():
    labels = np.zeros((5, 7), np.uint8)
    labels[1:4, 1:6] = 1
    rim = find_class_boundaries(labels, class_pixels=[100, 15])
    inside = np.zeros_like(rim)
    inside[2, 2:5] = True
    assert np.array_equal(rim, (labels == 1) & ~inside)
    assert not find_class_boundaries(np.ones((3, 3), np.uint8), class_pixels=[1, 2]).any()


def test_rims_are_those_of_the_eight_neighbours():
    labels = np.random.default_rng(0).integers(0, 3, (9, 8)).astype(np.uint8)
    labels[2:4, 5:] = IGNORE_INDEX
    pixels = {0: 50, 1: 20, 2: 9, IGNORE_INDEX: 1000}
    expected = np.array(
        [
            [
                any(
                    pixels[int(near)] > pixels[int(labels[y, x])]
                    for near in labels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].flat
                )
                for x in range(8)
            ]
            for y in range(9)
        ]
    )
    assert np.array_equal(find_class_boundaries(labels, class_pixels=[50, 20, 9]), expected)
