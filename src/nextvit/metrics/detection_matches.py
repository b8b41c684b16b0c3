"""Which detection matches which object, by COCO's rule, and the box AP of many bootstrap resamples of the images.

The matches are made once; each resample only counts images anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.boxes import to_xywh
from nextvit.metrics.detection_scores import (
    IOU_THRESHOLDS_T,
    MAX_DETECTIONS,
    RECALLS_R,
    ImageAnnotations,
    run_lengths,
)
from nextvit.predictions.results import Detections

# N images, A detections of an image, D detections of a class on all images, G objects of a class on an image,
# T IoU thresholds, K classes, P true positives, S resamples

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]

NONE = -1
RESAMPLES_PER_CHUNK = 128
"""Resamples whose cumulative sums are in memory together."""


@dataclass(frozen=True, kw_only=True)
class ClassMatches:
    """The detections of one class on all images, highest confidence first."""

    scores_D: Floats
    images_D: Integers
    """The index of each detection's image."""
    indices_D: Integers
    """The index of each detection among those of its image."""
    objects_TD: Integers
    """The index of the image's object that each detection matches at each threshold, -1 for none."""
    ignored_TD: Booleans
    """Whether the matched object is a crowd: the detection is then neither a true nor a false positive."""
    objects_N: Integers
    """How many objects of the class each image has, without crowds."""

    @property
    def is_true_positive(self) -> Booleans:
        """Whether each detection is a true positive at each threshold (T, D)."""
        return (self.objects_TD != NONE) & ~self.ignored_TD


def match_boxes(
    predictions: Sequence[Detections], annotations: Sequence[ImageAnnotations], classes: Sequence[str]
) -> list[ClassMatches]:
    """Match the detections of each class with the objects of the same image, by COCO's rule (see `assign_objects`)."""
    labels = {name: label for label, name in enumerate(classes)}
    objects_KN = np.zeros((len(classes), len(predictions)), np.int64)
    found: list[list[ImageMatches]] = [[] for _ in classes]
    for image, (prediction, annotated) in enumerate(zip(predictions, annotations, strict=True)):
        objects_KN[:, image] = np.bincount(annotated.labels[~annotated.crowd], minlength=len(classes))
        labels_A = np.array([labels[each.label] for each in prediction.objects], np.int64)
        scores_A = np.array([each.score for each in prediction.objects])
        boxes_A4 = np.array([each.box for each in prediction.objects]).reshape(-1, 4)
        for label in np.unique(labels_A).tolist():
            indices = np.flatnonzero(labels_A == label)
            indices = indices[np.argsort(-scores_A[indices], kind="stable")[:MAX_DETECTIONS]]
            own = np.flatnonzero(annotated.labels == label)
            found[label].append(match_image(image, indices, scores_A[indices], boxes_A4[indices], own, annotated))
    return [merge_matches(parts, objects_N) for parts, objects_N in zip(found, objects_KN, strict=True)]


ImageMatches = tuple[Floats, Integers, Integers, Integers, Booleans]
"""The first five fields of `ClassMatches`, of one image."""


def match_image(
    image: int, indices_D: Integers, scores_D: Floats, boxes_D4: Floats, own_G: Integers, annotated: ImageAnnotations
) -> ImageMatches:
    """Match the detections of one class, highest confidence first, with the objects `own_G` of their class on an
    image."""
    images_D = np.full(len(indices_D), image)
    if not len(own_G):
        nothing_TD = np.full((len(IOU_THRESHOLDS_T), len(indices_D)), NONE)
        return scores_D, images_D, indices_D, nothing_TD, nothing_TD != NONE
    crowd_G = annotated.crowd[own_G]
    found_TD = assign_objects(compute_overlaps(boxes_D4, annotated.boxes[own_G], crowd_G), crowd_G)
    is_found_TD = found_TD != NONE
    objects_TD = np.where(is_found_TD, own_G[found_TD], NONE)
    return scores_D, images_D, indices_D, objects_TD, is_found_TD & crowd_G[found_TD]


def merge_matches(parts: Sequence[ImageMatches], objects_N: Integers) -> ClassMatches:
    """The matches of a class from those of the images that have detections of it."""
    none_T0 = np.zeros((len(IOU_THRESHOLDS_T), 0), np.int64)
    nothing: ImageMatches = (np.zeros(0), none_T0[0], none_T0[0], none_T0, none_T0.astype(np.bool_))
    scores_D, images_D, indices_D, objects_TD, ignored_TD = (
        np.concatenate(each, axis=-1) for each in zip(nothing, *parts, strict=True)
    )
    order = np.argsort(-scores_D, kind="stable")
    return ClassMatches(
        scores_D=scores_D[order],
        images_D=images_D[order],
        indices_D=indices_D[order],
        objects_TD=objects_TD[:, order],
        ignored_TD=ignored_TD[:, order],
        objects_N=objects_N,
    )


def compute_overlaps(boxes_D4: Floats, objects_G4: Floats, crowd_G: Booleans) -> Floats:
    """The overlap (D, G) of each detection with each object: the IoU; with a crowd, the fraction of the detection
    inside it.

    By the same function as COCO's evaluation, so that both agree on overlaps that equal a threshold exactly.
    """
    return np.asarray(run_lengths.iou(to_xywh(boxes_D4), to_xywh(objects_G4), crowd_G.astype(int).tolist()))


def assign_objects(overlaps_DG: Floats, crowd_G: Booleans) -> Integers:
    """The object that each detection matches at each threshold (T, D), -1 for none.

    COCO's rule: a detection takes the object of highest overlap among those that are still free, the last of equal
    ones. It matches a crowd only where there is no such object; a crowd stays free for further detections.

    Args:
        overlaps_DG: see `compute_overlaps`; the detections are sorted by descending confidence.
    """
    limits_T1 = np.minimum(IOU_THRESHOLDS_T, 1 - 1e-10)[:, None]
    found_TD = np.full((len(IOU_THRESHOLDS_T), len(overlaps_DG)), NONE)
    free_TG = np.ones((len(IOU_THRESHOLDS_T), len(crowd_G)), np.bool_)
    for index, overlaps_G in enumerate(overlaps_DG):
        if overlaps_G.max(initial=0.0) < IOU_THRESHOLDS_T[0]:
            continue
        candidates_TG = free_TG & (overlaps_G >= limits_T1)
        without_crowds_TG = candidates_TG & ~crowd_G
        candidates_TG = np.where(without_crowds_TG.any(axis=1, keepdims=True), without_crowds_TG, candidates_TG)
        best_T = len(crowd_G) - 1 - np.where(candidates_TG, overlaps_G, -1.0)[:, ::-1].argmax(axis=1)
        rows = np.flatnonzero(candidates_TG.any(axis=1))
        found_TD[rows, index] = best_T[rows]
        free_TG[rows, best_T[rows]] = crowd_G[best_T[rows]]
    return found_TD


def resampled_box_ap(matches: Sequence[ClassMatches], counts_NS: Integers) -> Floats:
    """The box AP in percent of each resample (S,); NaN for a resample without objects.

    The copies of an image in a resample have equal scores, whose order COCO leaves open: here the copies of each
    detection follow each other.

    Args:
        counts_NS: how often each image occurs in each resample.
    """
    parts = [
        mean_average_precision(matches, counts_NS[:, start : start + RESAMPLES_PER_CHUNK])
        for start in range(0, counts_NS.shape[1], RESAMPLES_PER_CHUNK)
    ]
    return 100 * np.concatenate(parts)


def mean_average_precision(matches: Sequence[ClassMatches], counts_NS: Integers) -> Floats:
    """The mean AP (S,), 0 to 1, over the classes that a resample has objects of; NaN where it has no objects at all."""
    precision_KS = np.stack([average_precision(each, counts_NS) for each in matches])
    has_objects_KS = ~np.isnan(precision_KS)
    with np.errstate(invalid="ignore"):
        return np.where(has_objects_KS, precision_KS, 0).sum(axis=0) / has_objects_KS.sum(axis=0)


def average_precision(matches: ClassMatches, counts_NS: Integers) -> Floats:
    """One class's AP, the mean over all IoU thresholds (S,), 0 to 1; NaN where a resample has no object of the
    class."""
    weights_DS = counts_NS[matches.images_D]
    objects_S = matches.objects_N @ counts_NS
    total_S = np.zeros(len(objects_S))
    counted_D, counted_DS = None, weights_DS
    for true_positives_D, ignored_D in zip(matches.is_true_positive, matches.ignored_TD, strict=True):
        # Mostly there are no crowds, and one cumulative sum serves all thresholds.
        if counted_D is None or (counted_D == ignored_D).any():
            counted_D = ~ignored_D
            counted_DS = np.cumsum(weights_DS * counted_D[:, None], axis=0, dtype=np.int32)
        total_S += average_precision_at_recalls(weights_DS[true_positives_D], counted_DS[true_positives_D], objects_S)
    return np.where(objects_S > 0, total_S / len(IOU_THRESHOLDS_T), np.nan)


def average_precision_at_recalls(weights_PS: Integers, detections_PS: Integers, objects_S: Integers) -> Floats:
    """The mean precision over COCO's 101 recalls (S,), from the true positives, sorted by descending confidence.

    The precision at a recall is the highest one at that or any higher recall, and 0 beyond the last true positive. So
    only true positives matter, each for the recalls that it is the first to reach.

    Args:
        weights_PS: how often each true positive occurs.
        detections_PS: how many detections have the same or a higher confidence, itself included.
        objects_S: how many objects there are.
    """
    true_PS = np.cumsum(weights_PS, axis=0, dtype=np.int32)
    precision_PS = true_PS / np.maximum(detections_PS, 1)
    best_PS = np.maximum.accumulate(precision_PS[::-1], axis=0)[::-1]
    reached_PS = np.searchsorted(RECALLS_R, true_PS / np.maximum(objects_S, 1), side="right")
    return (np.diff(reached_PS, axis=0, prepend=0) * best_PS).sum(axis=0) / len(RECALLS_R)
