"""Scores of semantic segmentation from counts of pixels: intersection over union, Dice and accuracy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.masks import IGNORE_INDEX

# N images, C classes, R resamples, H W height and width

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class PixelCounts:
    """Pixel counts of N images; all scores follow from them. Pixels without label do not count."""

    hits_NC: Integers
    """Pixels of each class that were predicted as it (intersection, true positives)."""
    predicted_NC: Integers
    """Pixels that were predicted as each class."""
    true_NC: Integers
    """Pixels of each class."""
    confusion_CC: Integers
    """Row: the true class, column: the predicted one; all images together."""


def pixel_confusion(predicted_HW: Integers, true_HW: Integers, *, num_classes: int) -> Integers:
    """Pixels (num_classes, num_classes): row is the true class, column the predicted one; `IGNORE_INDEX` does not
    count."""
    labelled = true_HW != IGNORE_INDEX
    pairs = true_HW[labelled].astype(np.intp) * num_classes + predicted_HW[labelled]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def count_pixels(pairs: Iterable[tuple[Integers, Integers]], *, num_classes: int) -> PixelCounts:
    """Count pairs of class maps (H, W), the predicted and the true one, image by image."""
    total_CC = np.zeros((num_classes, num_classes), np.int64)
    rows: list[tuple[Integers, Integers, Integers]] = []
    for predicted_HW, true_HW in pairs:
        confusion_CC = pixel_confusion(predicted_HW, true_HW, num_classes=num_classes)
        total_CC += confusion_CC
        rows.append((np.diag(confusion_CC).copy(), confusion_CC.sum(axis=0), confusion_CC.sum(axis=1)))
    hits, predicted, true = np.array(rows, np.int64).reshape(-1, 3, num_classes).swapaxes(0, 1)
    return PixelCounts(hits_NC=hits, predicted_NC=predicted, true_NC=true, confusion_CC=total_CC)


def iou_scores(confusion_CC: Integers) -> list[float | None]:
    """Intersection over union of each class in percent; None for a class that neither occurs nor is predicted."""
    hits = np.diag(confusion_CC)
    return to_percentages(hits, confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1) - hits)


def dice_scores(confusion_CC: Integers) -> list[float | None]:
    """Dice's coefficient, also called F1, of each class in percent; None as for `iou_scores`."""
    return to_percentages(2 * np.diag(confusion_CC), confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1))


def recall_scores(confusion_CC: Integers) -> list[float | None]:
    """Recall of each class's pixels in percent; None for a class without pixels."""
    return to_percentages(np.diag(confusion_CC), confusion_CC.sum(axis=1))


def precision_scores(confusion_CC: Integers) -> list[float | None]:
    """Precision of each class's pixels in percent; None for a class that is never predicted."""
    return to_percentages(np.diag(confusion_CC), confusion_CC.sum(axis=0))


def pixel_accuracy_score(confusion_CC: Integers) -> float:
    """Percent of the labelled pixels whose class is predicted correctly."""
    return float(100 * np.trace(confusion_CC) / max(1, confusion_CC.sum()))


def mean_score(scores: Iterable[float | None]) -> float:
    """The mean over the classes that have a score; 0 without any."""
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else 0.0


def segmentation_scores(confusion_CC: Integers) -> dict[str, float]:
    """All scores of a set of images, in percent; the main one first."""
    return {
        "mean_iou_score": mean_score(iou_scores(confusion_CC)),
        "mean_dice_score": mean_score(dice_scores(confusion_CC)),
        "pixel_accuracy_score": pixel_accuracy_score(confusion_CC),
        "mean_class_score": mean_score(recall_scores(confusion_CC)),
    }


def mean_iou_scores(counts: PixelCounts, counts_NR: Integers) -> Floats:
    """The mean IoU in percent of each resample (R,); NaN where a resample has no labelled pixel.

    Args:
        counts_NR: how often each image occurs in each resample.
    """
    hits_RC, predicted_RC, true_RC = (
        counts_NR.T.astype(np.float64) @ each.astype(np.float64)
        for each in (counts.hits_NC, counts.predicted_NC, counts.true_NC)
    )
    return mean_percentage_of_rows(hits_RC, predicted_RC + true_RC - hits_RC)


def image_iou_scores(counts: PixelCounts) -> Floats:
    """The mean IoU in percent of each image alone (N,), over the classes that occur or are predicted; NaN without
    labels."""
    return mean_percentage_of_rows(counts.hits_NC, counts.predicted_NC + counts.true_NC - counts.hits_NC)


def mean_percentage_of_rows(parts_NC: Floats | Integers, totals_NC: Floats | Integers) -> Floats:
    """The mean over each row (N,) of the parts in percent of their totals, where the total is above 0."""
    known = totals_NC > 0
    fractions = np.where(known, parts_NC, 0) / np.where(known, totals_NC, 1)
    with np.errstate(invalid="ignore"):
        return 100 * fractions.sum(axis=1) / known.sum(axis=1)


def to_percentages(parts: Integers, totals: Integers) -> list[float | None]:
    """Each part in percent of its total; None where the total is 0."""
    return [float(100 * part / total) if total else None for part, total in zip(parts, totals, strict=True)]
