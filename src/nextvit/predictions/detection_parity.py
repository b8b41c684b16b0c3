"""How far the objects that an exported detector finds are from those that PyTorch finds."""

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
"""Two answers are the same object where their boxes overlap so far, their scores differ by no more, and their class is
one."""
SAME_PLACE_PX = 0.01
"""Boxes whose corners are no further apart overlap wholly: one that lies on the picture's edge may have no area, or
next to none, and by area it would not even overlap itself."""
MIN_AGREEMENT = 0.999
"""Least share of same objects: one of a thousand may lie so near to a threshold that the last digit decides."""
MIN_MASK_IOU = 0.99
"""Least overlap of the masks of same objects, in the mean: small masks change by whole pixels."""


@dataclass(frozen=True, kw_only=True)
class DetectionParity:
    """How two lists of detections on the same images compare."""

    images: int
    objects: int
    """Found by either, each pair once; but for those alone whose score lies at the threshold, or at that of the last
    object of a picture that has as many as there may be: the last digit decides whether they are answered."""
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
            return [f"{precision} has no bound on its detections; it is bounded by the drop of the score"]
        found: list[str] = []
        if not self.agreement >= MIN_AGREEMENT:
            found.append(f"same objects {self.agreement:.4f} < {MIN_AGREEMENT}")
        if self.mask_iou is not None and not self.mask_iou >= MIN_MASK_IOU:
            found.append(f"overlap of masks {self.mask_iou:.4f} < {MIN_MASK_IOU}")
        return found


def compare_detections(
    reference: Sequence[Detections], other: Sequence[Detections], limits: DetectionLimits
) -> DetectionParity:
    """Pair the objects of each image, the most certain first, each with the one of the same class that it overlaps
    most."""
    assert len(reference) == len(other) and len(reference), (len(reference), len(other))
    if not all(is_number(each) for answer in other for each in answer.objects):
        objects = sum(len(answer.objects) for answer in other)
        return DetectionParity(
            images=len(other), objects=objects, max_error=math.inf, mean_error=math.inf, agreement=0.0, mask_iou=None
        )
    objects, same, errors, overlaps = 0, 0, [0.0], list[float]()
    for expected, got in zip(reference, other, strict=True):
        for first, second in paired(expected.objects, got.objects):
            if first is None or second is None:
                alone, least = (first, least_score(got, limits)) if first else (second, least_score(expected, limits))
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


def least_score(answer: Detections, limits: DetectionLimits) -> float:
    """The score above which an object cannot be missing: where a picture has as many as there may be, that of the
    last."""
    if len(answer.objects) < limits.detections:
        return limits.score_threshold
    return min(each.score for each in answer.objects)


def is_number(detection: Detection) -> bool:
    """Whether score and box are numbers."""
    return all(map(math.isfinite, (detection.score, *detection.box)))


def paired(expected: Sequence[Detection], got: Sequence[Detection]) -> list[tuple[Detection | None, Detection | None]]:
    """Pairs of the same object, and those that have no other."""
    if not expected or not got:
        return [*((each, None) for each in expected), *((None, each) for each in got)]
    overlaps_EG = overlaps_of_same(expected, got)
    alone = dict(enumerate(got))
    pairs: list[tuple[Detection | None, Detection | None]] = []
    for place in np.argsort([-each.score for each in expected], kind="stable").tolist():
        best = int(overlaps_EG[place].argmax())
        found = overlaps_EG[place, best] > 0
        pairs.append((expected[place], alone.pop(best) if found else None))
        if found:
            overlaps_EG[:, best] = 0
    return [*pairs, *((None, each) for each in alone.values())]


def overlaps_of_same(expected: Sequence[Detection], got: Sequence[Detection]) -> NDArray[np.floating[Any]]:
    """How far each two (E, G) overlap that are the same object; 0 of others."""
    boxes_E4, boxes_G4 = (np.array([each.box for each in side], np.float64) for side in (expected, got))
    coincide_EG = np.abs(boxes_E4[:, None] - boxes_G4).max(axis=2) <= SAME_PLACE_PX
    overlaps_EG = np.where(coincide_EG, 1.0, box_iou(boxes_E4, boxes_G4))
    scores_E, scores_G = (np.array([each.score for each in side]) for side in (expected, got))
    ids_E, ids_G = (np.array([each.category_id for each in side]) for side in (expected, got))
    near_EG = np.abs(scores_E[:, None] - scores_G) <= MAX_SCORE_ERROR
    return np.where((ids_E[:, None] == ids_G) & near_EG & (overlaps_EG >= MIN_IOU), overlaps_EG, 0.0)


def mask_overlap(first: RunLengths, second: RunLengths) -> float:
    """Intersection over union of two masks of one picture; 1 for two that are empty."""
    one, other = masks.decode(first), masks.decode(second)
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0
