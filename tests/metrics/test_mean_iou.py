"""Scores of masks, held against computations pixel by pixel."""

import numpy as np
import pytest
from numpy.typing import NDArray

from nextvit.metrics.bootstrap import resample_counts
from nextvit.metrics.mean_iou import (
    PixelCounts,
    count_pixels,
    dice_scores,
    image_iou_scores,
    iou_scores,
    mean_iou_scores,
    mean_score,
    pixel_confusion,
    precision_scores,
    recall_scores,
    segmentation_scores,
)

CLASSES = 5
Masks = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


def masks(count: int = 6, *, seed: int = 0) -> Masks:
    """Answers that are often right, of classes of which the last is never there, and pixels without label."""
    rng = np.random.default_rng(seed)
    pairs: Masks = []
    for _ in range(count):
        size = tuple(rng.integers(5, 20, 2))
        true = rng.choice([0, 1, 2, 3, 255], size, p=[0.6, 0.2, 0.1, 0.02, 0.08]).astype(np.uint8)
        told = np.where(rng.random(size) < 0.7, true, rng.integers(0, 3, size)).astype(np.uint8)
        told[told == 255] = rng.integers(0, CLASSES)
        pairs.append((told, true))
    return pairs


def plain_scores(pairs: Masks) -> dict[str, list[float | None]]:
    """By sets of pixels."""
    scores: dict[str, list[float | None]] = {"iou": [], "dice": [], "recall": [], "precision": []}
    for label in range(CLASSES):
        there, told = set(), set()
        for image, (told_HW, true_HW) in enumerate(pairs):
            judged = true_HW != 255
            there |= {(image, *place) for place in np.argwhere((true_HW == label) & judged).tolist()}
            told |= {(image, *place) for place in np.argwhere((told_HW == label) & judged).tolist()}
        both = len(there & told)
        for name, part, whole in (
            ("iou", both, len(there | told)),
            ("dice", 2 * both, len(there) + len(told)),
            ("recall", both, len(there)),
            ("precision", both, len(told)),
        ):
            scores[name].append(100 * part / whole if whole else None)
    return scores


def test_scores_of_classes_equal_those_of_sets_of_pixels():
    pairs = masks()
    confusion = count_pixels(pairs, num_classes=CLASSES).confusion_CC
    expected = plain_scores(pairs)
    assert iou_scores(confusion) == pytest.approx(expected["iou"], abs=1e-12)
    assert dice_scores(confusion) == pytest.approx(expected["dice"], abs=1e-12)
    assert recall_scores(confusion) == pytest.approx(expected["recall"], abs=1e-12)
    assert precision_scores(confusion) == pytest.approx(expected["precision"], abs=1e-12)
    scores = segmentation_scores(confusion)
    assert next(iter(scores)) == "mean_iou_score"
    assert scores["mean_iou_score"] == pytest.approx(np.mean([each for each in expected["iou"] if each is not None]))
    right = sum(int((told == true).sum()) for told, true in pairs)
    labelled = sum(int((true != 255).sum()) for _, true in pairs)
    assert scores["pixel_accuracy_score"] == pytest.approx(100 * right / labelled)
    assert scores["mean_class_score"] == pytest.approx(
        np.mean([each for each in expected["recall"] if each is not None])
    )


def test_the_confusion_matrix_counts_each_labelled_pixel_once():
    [(told, true)] = masks(1)
    confusion = pixel_confusion(told, true, num_classes=CLASSES)
    expected = np.zeros((CLASSES, CLASSES), int)
    for guess, label in zip(told.ravel(), true.ravel(), strict=True):
        if label != 255:
            expected[label, guess] += 1
    assert np.array_equal(confusion, expected)


def test_a_class_that_is_nowhere_has_no_score_and_one_that_is_only_told_has_none_of_it_right():
    true = np.zeros((2, 2), np.uint8)
    told = np.array([[0, 0], [0, 1]], np.uint8)
    confusion = pixel_confusion(told, true, num_classes=3)
    assert iou_scores(confusion) == [75.0, 0.0, None] and mean_score(iou_scores(confusion)) == 37.5
    assert recall_scores(confusion) == [75.0, None, None] and precision_scores(confusion) == [100.0, 0.0, None]
    assert segmentation_scores(np.zeros((2, 2), int)) == dict.fromkeys(
        ("mean_iou_score", "mean_dice_score", "pixel_accuracy_score", "mean_class_score"), 0.0
    )


def test_resamples_are_scored_as_if_images_were_repeated():
    pairs = masks(7)
    counts = count_pixels(pairs, num_classes=CLASSES)
    counts_NR = resample_counts(7, seed=1)[:, :20]
    expected = []
    for column in counts_NR.T:
        repeated = [pair for pair, times in zip(pairs, column, strict=True) for _ in range(times)]
        confusion = count_pixels(repeated, num_classes=CLASSES).confusion_CC
        expected.append(segmentation_scores(confusion)["mean_iou_score"])
    assert mean_iou_scores(counts, counts_NR).tolist() == pytest.approx(expected, abs=1e-10)
    once = np.ones((7, 1), int)
    assert mean_iou_scores(counts, once)[0] == pytest.approx(segmentation_scores(counts.confusion_CC)["mean_iou_score"])


def test_each_image_has_a_score_of_its_own():
    pairs = masks(4)
    pairs.append((np.zeros((3, 3), np.uint8), np.full((3, 3), 255, np.uint8)))
    found = image_iou_scores(count_pixels(pairs, num_classes=CLASSES))
    for score, pair in zip(found[:4], pairs, strict=False):
        assert score == pytest.approx(mean_score(plain_scores([pair])["iou"]))
    assert np.isnan(found[4])


def test_no_image_is_counted_as_nothing():
    counts = count_pixels([], num_classes=3)
    assert isinstance(counts, PixelCounts) and counts.hits_NC.shape == (0, 3) and not counts.confusion_CC.any()
