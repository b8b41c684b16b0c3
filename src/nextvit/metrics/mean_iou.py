"""How well the class of each pixel is told: intersection over union, Dice and accuracy, from counts of pixels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.masks import IGNORED

# N images, C classes, R resamples

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class PixelCounts:
    """What is counted of answers about N images; all that is said of them follows from it."""

    hits_NC: Integers
    """Pixels of each class that were told to be of it."""
    told_NC: Integers
    """Labelled pixels that were told to be of each class."""
    there_NC: Integers
    """Pixels of each class."""
    confusion_CC: Integers
    """Row: the true class, column: the one that was told; of all images together."""


def pixel_confusion(told_HW: Integers, true_HW: Integers, *, num_classes: int) -> Integers:
    """Pixels (num_classes, num_classes): row is the true class, column the one that was told. IGNORED pixels do not count."""
    judged = true_HW != IGNORED
    pairs = true_HW[judged].astype(np.intp) * num_classes + told_HW[judged]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def count_pixels(pairs: Iterable[tuple[Integers, Integers]], *, num_classes: int) -> PixelCounts:
    """Count pairs of masks, what was told and what is true, one after the other."""
    total_CC = np.zeros((num_classes, num_classes), np.int64)
    rows: list[tuple[Integers, Integers, Integers]] = []
    for told_HW, true_HW in pairs:
        confusion_CC = pixel_confusion(told_HW, true_HW, num_classes=num_classes)
        total_CC += confusion_CC
        rows.append((np.diag(confusion_CC).copy(), confusion_CC.sum(axis=0), confusion_CC.sum(axis=1)))
    hits, told, there = np.array(rows, np.int64).reshape(-1, 3, num_classes).swapaxes(0, 1)
    return PixelCounts(hits_NC=hits, told_NC=told, there_NC=there, confusion_CC=total_CC)


def iou_scores(confusion_CC: Integers) -> list[float | None]:
    """Intersection over union of each class in percent; None for a class that neither is there nor was told."""
    hits = np.diag(confusion_CC)
    return shares(hits, confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1) - hits)


def dice_scores(confusion_CC: Integers) -> list[float | None]:
    """Dice's coefficient, also called F1, of each class in percent; None as for `iou_scores`."""
    return shares(2 * np.diag(confusion_CC), confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1))


def recall_scores(confusion_CC: Integers) -> list[float | None]:
    """Of each class's pixels, the share in percent that is found; None for a class without pixels."""
    return shares(np.diag(confusion_CC), confusion_CC.sum(axis=1))


def precision_scores(confusion_CC: Integers) -> list[float | None]:
    """Of the pixels told to be of each class, the share in percent that is; None for a class that is never told."""
    return shares(np.diag(confusion_CC), confusion_CC.sum(axis=0))


def pixel_accuracy_score(confusion_CC: Integers) -> float:
    """Share in percent of labelled pixels whose class is told."""
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
    """The mean IoU in percent of resamples (R,) where image n stands `counts_NR[n, r]` times; nan where one has no pixel."""
    hits_RC, told_RC, there_RC = (
        counts_NR.T.astype(np.float64) @ each.astype(np.float64)
        for each in (counts.hits_NC, counts.told_NC, counts.there_NC)
    )
    return mean_of_rows(hits_RC, told_RC + there_RC - hits_RC)


def image_iou_scores(counts: PixelCounts) -> Floats:
    """The mean IoU in percent of each image alone, over the classes that are there or were told: (N,); nan without labels."""
    return mean_of_rows(counts.hits_NC, counts.told_NC + counts.there_NC - counts.hits_NC)


def mean_of_rows(parts_NC: Floats | Integers, wholes_NC: Floats | Integers) -> Floats:
    """The mean share in percent of each row (N,), over what is a part of something."""
    known = wholes_NC > 0
    share = np.where(known, parts_NC, 0) / np.where(known, wholes_NC, 1)
    with np.errstate(invalid="ignore"):
        return 100 * share.sum(axis=1) / known.sum(axis=1)


def shares(parts: Integers, wholes: Integers) -> list[float | None]:
    """Parts of wholes in percent; None of nothing."""
    return [float(100 * part / whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]
