"""Which images are shown."""

import numpy as np
import pytest

from nextvit.metrics.mean_iou import PixelCounts, count_pixels
from nextvit.metrics.segmentation_examples import choose_examples


def counted(rights: list[int], *, unlabelled: int = 0) -> PixelCounts:
    """Images of 100 pixels of one class, of which so many are told and the others held for the second."""
    pairs = [
        (np.where(np.arange(100) < right, 0, 1)[None].astype(np.uint8), np.zeros((1, 100), np.uint8))
        for right in rights
    ]
    nothing = (np.zeros((1, 4), np.uint8), np.full((1, 4), 255, np.uint8))
    return count_pixels([*pairs, *[nothing] * unlabelled], num_classes=4)


def chosen(counts: PixelCounts) -> dict[str, list[int]]:
    kinds: dict[str, list[int]] = {"best": [], "typical": [], "worst": []}
    for each in choose_examples(counts):
        kinds[each.kind].append(each.index)
    return kinds


def test_best_typical_and_worst_are_by_the_images_own_iou():
    assert chosen(counted([10, 90, 20, 80, 30, 70, 40, 60, 50, 45, 55, 5], unlabelled=2)) == {
        "best": [1, 3, 5],
        "typical": [9, 6, 8],
        "worst": [11, 0, 2],
    }


@pytest.mark.parametrize(
    ("images", "sizes"),
    [(0, (0, 0, 0)), (1, (0, 1, 0)), (2, (0, 2, 0)), (3, (1, 1, 1)), (4, (1, 2, 1)), (9, (3, 3, 3))],
)
def test_of_few_images_none_is_shown_twice(images: int, sizes: tuple[int, int, int]):
    kinds = chosen(counted([10 * right for right in range(images)], unlabelled=1))
    assert tuple(map(len, kinds.values())) == sizes
    listed = [index for indices in kinds.values() for index in indices]
    assert len(listed) == len(set(listed)) and images not in listed


def test_the_scores_are_those_of_the_image_over_the_classes_that_are_there_or_told():
    true = np.array([[0, 0, 1, 255]], np.uint8)
    [alone] = choose_examples(count_pixels([(np.array([[0, 2, 1, 3]], np.uint8), true)], num_classes=5))
    assert alone.iou == pytest.approx(100 * (1 / 2 + 1 + 0) / 3) and alone.accuracy == pytest.approx(200 / 3)


def test_of_images_that_are_told_as_well_those_with_more_classes_go_before():
    plain, varied = np.zeros((1, 6), np.uint8), np.array([[0, 0, 1, 1, 2, 2]], np.uint8)
    pairs = [(plain, plain)] * 12 + [(varied, varied)]
    assert choose_examples(count_pixels(pairs, num_classes=3), per_kind=1)[0].index == 12
