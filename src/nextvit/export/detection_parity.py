"""How far the objects that an exported detector finds are from those that PyTorch finds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextvit import masks
from nextvit.boxes import iou
from nextvit.bundle import Precision
from nextvit.card import ModelCard
from nextvit.masks import RunLengths
from nextvit.results import Detection, Detections

MIN_IOU, MAX_SCORE_ERROR = 0.99, 1e-3
"""Two answers are the same object where their boxes overlap so far, their scores differ by no more, and their class is one."""
MIN_AGREEMENT = 0.999
"""Least share of same objects: one of a thousand may lie so near to a threshold that the last digit decides."""
MIN_MASK_IOU = 0.99
"""Least overlap of the masks of same objects, in the mean: small masks change by whole pixels."""


@dataclass(frozen=True, kw_only=True)
class DetectionParity:
    """How two lists of detections on the same images compare."""

    images: int
    objects: int
    """Found by either, each pair once; but for those whose score alone decides whether they count."""
    max_error: float
    """Largest difference of the scores of two that are the same object."""
    mean_error: float
    """Mean difference, likewise."""
    agreement: float
    """Share of the objects that both find; 1 where neither finds any."""
    mask_iou: float | None
    """Mean overlap of the masks of same objects; None without masks."""

    def failures(self, precision: Precision) -> list[str]:
        """One line for each bound that is not kept; none means proven."""
        if precision != "fp32":
            return [f"{precision} has no bound on its detections; it is judged by the score"]
        found: list[str] = []
        if not self.agreement >= MIN_AGREEMENT:
            found.append(f"same objects {self.agreement:.4f} < {MIN_AGREEMENT}")
        if self.mask_iou is not None and not self.mask_iou >= MIN_MASK_IOU:
            found.append(f"overlap of masks {self.mask_iou:.4f} < {MIN_MASK_IOU}")
        return found


def compare_detections(
    reference: Sequence[Detections], other: Sequence[Detections], card: ModelCard
) -> DetectionParity:
    """Pair the objects of each image, the most certain first, each with the one of the same class that it overlaps most."""
    assert len(reference) == len(other) and len(reference), (len(reference), len(other))
    threshold = card.head["score_threshold"]
    objects, same, errors, overlaps = 0, 0, [0.0], list[float]()
    for expected, got in zip(reference, other, strict=True):
        pairs = paired(expected.objects, got.objects)
        objects += len(pairs)
        for first, second in pairs:
            if first is None or second is None:
                alone = first or second
                assert alone is not None
                objects -= alone.score <= threshold + MAX_SCORE_ERROR
                continue
            same += 1
            errors.append(abs(first.score - second.score))
            if first.mask is not None and second.mask is not None:
                overlaps.append(mask_overlap(first.mask, second.mask))
    return DetectionParity(
        images=len(reference),
        objects=objects,
        max_error=max(errors),
        mean_error=sum(errors) / max(1, len(errors) - 1),
        agreement=same / objects if objects else 1.0,
        mask_iou=float(np.mean(overlaps)) if overlaps else None,
    )


def paired(expected: Sequence[Detection], got: Sequence[Detection]) -> list[tuple[Detection | None, Detection | None]]:
    """Pairs of the same object, and those that have no other."""
    left = list(got)
    pairs: list[tuple[Detection | None, Detection | None]] = []
    for first in sorted(expected, key=lambda each: -each.score):
        candidates = [each for each in left if is_same(first, each)]
        second = max(candidates, key=lambda each: overlap(first, each)) if candidates else None
        if second:
            left.remove(second)
        pairs.append((first, second))
    return [*pairs, *((None, each) for each in left)]


def is_same(first: Detection, second: Detection) -> bool:
    return (
        first.category_id == second.category_id
        and abs(first.score - second.score) <= MAX_SCORE_ERROR
        and overlap(first, second) >= MIN_IOU
    )


def overlap(first: Detection, second: Detection) -> float:
    return float(iou(box_of(first), box_of(second))[0, 0])


def mask_overlap(first: RunLengths, second: RunLengths) -> float:
    """Intersection over union of two masks of one picture; 1 for two that are empty."""
    one, other = masks.decode(first), masks.decode(second)
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def box_of(detection: Detection) -> NDArray[np.float64]:
    """(1, 4)"""
    return np.array([detection.box], np.float64)
