"""Parity of an exported detector: its objects compared with those that PyTorch finds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.facts import DetectionLimits
from nextvit.bundle.manifest import Precision
from nextvit.image import masks
from nextvit.image.boxes import box_iou
from nextvit.image.masks import RunLengths
from nextvit.predictions.results import Detection, Detections

MIN_IOU, MAX_SCORE_ERROR = 0.99, 1e-3
"""Two detections are the same object where their classes are equal, their boxes have at least this IoU, and their
scores differ by at most this error."""
SAME_PLACE_PX = 0.01
"""Boxes whose corners differ by no more count as equal (IoU 1): a box on the image's edge may have almost no area, and
its IoU even with itself would be 0."""
MIN_AGREEMENT = 0.999
"""Least fraction of same objects: one in a thousand may be so close to a threshold that the last digit decides."""
MIN_MASK_IOU = 0.99
"""Least mean IoU of the masks of same objects: small masks change by whole pixels."""


@dataclass(frozen=True, kw_only=True)
class DetectionParity:
    """How two lists of detections on the same images compare."""

    images: int
    objects: int
    """Number of objects found by either, each pair counted once. An unmatched object is left out where its score is at
    the threshold, or at the score of the last object of an image with the largest number of objects: there the last
    digit decides whether it is predicted."""
    max_error: float
    """Largest difference of scores between same objects."""
    mean_error: float
    """Mean difference of scores between same objects."""
    agreement: float
    """Fraction of the objects that both find; 1 where neither finds any."""
    mask_iou: float | None
    """Mean IoU of the masks of same objects; None without masks."""

    def failures(self, precision: Precision) -> list[str]:
        """One line for each bound that is not kept; none means proven."""
        if precision != "fp32":
            return [f"{precision} has no bound on its detections; it is bounded by the drop of the score"]
        found: list[str] = []
        if not self.agreement >= MIN_AGREEMENT:
            found.append(f"same objects {self.agreement:.4f} < {MIN_AGREEMENT}")
        if self.mask_iou is not None and not self.mask_iou >= MIN_MASK_IOU:
            found.append(f"mean IoU of masks {self.mask_iou:.4f} < {MIN_MASK_IOU}")
        return found


def compare_detections(
    reference: Sequence[Detections], other: Sequence[Detections], limits: DetectionLimits
) -> DetectionParity:
    """Match the objects of each image, the highest score first, each with the object of the same class that has the
    largest IoU.

    Args:
        reference: PyTorch's detections, for at least one image.
        other: those of the exported model, for the same images.
    """
    assert len(reference) == len(other) and len(reference), (len(reference), len(other))
    if not all(is_finite(each) for prediction in other for each in prediction.objects):
        objects = sum(len(prediction.objects) for prediction in other)
        return DetectionParity(
            images=len(other), objects=objects, max_error=math.inf, mean_error=math.inf, agreement=0.0, mask_iou=None
        )
    objects, same, errors, overlaps = 0, 0, [0.0], list[float]()
    for expected, got in zip(reference, other, strict=True):
        for first, second in match_detections(expected.objects, got.objects):
            if first is None or second is None:
                alone, least = (
                    (first, lowest_possible_score(got, limits))
                    if first
                    else (second, lowest_possible_score(expected, limits))
                )
                assert alone is not None
                objects += alone.score > least + MAX_SCORE_ERROR
                continue
            objects += 1
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


def lowest_possible_score(prediction: Detections, limits: DetectionLimits) -> float:
    """The score above which an object cannot be missing: the threshold, or on an image with the largest number of
    objects the lowest score of these."""
    if len(prediction.objects) < limits.detections:
        return limits.score_threshold
    return min(each.score for each in prediction.objects)


def is_finite(detection: Detection) -> bool:
    """Whether neither score nor box is NaN or infinite."""
    return all(map(math.isfinite, (detection.score, *detection.box)))


def match_detections(
    expected: Sequence[Detection], got: Sequence[Detection]
) -> list[tuple[Detection | None, Detection | None]]:
    """Pairs of the same object; an unmatched object is paired with None."""
    if not expected or not got:
        return [*((each, None) for each in expected), *((None, each) for each in got)]
    overlaps_EG = overlaps_of_matches(expected, got)
    alone = dict(enumerate(got))
    pairs: list[tuple[Detection | None, Detection | None]] = []
    for place in np.argsort([-each.score for each in expected], kind="stable").tolist():
        best = int(overlaps_EG[place].argmax())
        found = overlaps_EG[place, best] > 0
        pairs.append((expected[place], alone.pop(best) if found else None))
        if found:
            overlaps_EG[:, best] = 0
    return [*pairs, *((None, each) for each in alone.values())]


def overlaps_of_matches(expected: Sequence[Detection], got: Sequence[Detection]) -> NDArray[np.floating[Any]]:
    """IoU (E, G) of each two that are the same object; 0 for others."""
    boxes_E4, boxes_G4 = (np.array([each.box for each in side], np.float64) for side in (expected, got))
    coincide_EG = np.abs(boxes_E4[:, None] - boxes_G4).max(axis=2) <= SAME_PLACE_PX
    overlaps_EG = np.where(coincide_EG, 1.0, box_iou(boxes_E4, boxes_G4))
    scores_E, scores_G = (np.array([each.score for each in side]) for side in (expected, got))
    ids_E, ids_G = (np.array([each.category_id for each in side]) for side in (expected, got))
    near_EG = np.abs(scores_E[:, None] - scores_G) <= MAX_SCORE_ERROR
    return np.where((ids_E[:, None] == ids_G) & near_EG & (overlaps_EG >= MIN_IOU), overlaps_EG, 0.0)


def mask_overlap(first: RunLengths, second: RunLengths) -> float:
    """Intersection over union of two masks of one image; 1 where both are empty."""
    one, other = masks.decode(first), masks.decode(second)
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0
