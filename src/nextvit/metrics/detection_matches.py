"""Which answer found which object, and the box AP of many resamples of the pictures, from matches that are made once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.boxes import to_xywh
from nextvit.metrics.detection_scores import MOST_ANSWERS, RECALLS_R, THRESHOLDS_T, Annotated, run_lengths
from nextvit.predictions.results import Detections

# N pictures, D answers of a class in all pictures, G objects of a class in a picture, T thresholds of the overlap,
# P right answers, S resamples

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]

NONE = -1
AT_ONCE = 128
"""Resamples whose running sums are in memory together."""


@dataclass(frozen=True, kw_only=True)
class ClassMatches:
    """The answers of one class in all pictures, the surest first."""

    scores_D: Floats
    pictures_D: Integers
    """Which picture each answer is about."""
    places_D: Integers
    """Which of the picture's answers it is."""
    objects_TD: Integers
    """Which of the picture's objects it found at each threshold, -1 for none."""
    ignored_TD: Booleans
    """Whether what it found is a crowd, so that it is neither right nor wrong."""
    objects_N: Integers
    """How many objects of the class each picture has; crowds are none."""

    @property
    def right(self) -> Booleans:
        """Which answers are right at each threshold (T, D)."""
        return (self.objects_TD != NONE) & ~self.ignored_TD


def match_boxes(
    answers: Sequence[Detections], annotations: Sequence[Annotated], classes: Sequence[str]
) -> list[ClassMatches]:
    """The matches of each class, by COCO's rule, of answers and annotations of the same pictures."""
    labels = {name: label for label, name in enumerate(classes)}
    objects_KN = np.zeros((len(classes), len(answers)), np.int64)
    found: list[list[PictureMatches]] = [[] for _ in classes]
    for number, (answer, annotated) in enumerate(zip(answers, annotations, strict=True)):
        objects_KN[:, number] = np.bincount(annotated.labels[~annotated.crowd], minlength=len(classes))
        labels_A = np.array([labels[each.label] for each in answer.objects], np.int64)
        scores_A = np.array([each.score for each in answer.objects])
        boxes_A4 = np.array([each.box for each in answer.objects]).reshape(-1, 4)
        for label in np.unique(labels_A).tolist():
            places = np.flatnonzero(labels_A == label)
            places = places[np.argsort(-scores_A[places], kind="stable")[:MOST_ANSWERS]]
            own = np.flatnonzero(annotated.labels == label)
            found[label].append(match_picture(number, places, scores_A[places], boxes_A4[places], own, annotated))
    return [joined(parts, objects_N) for parts, objects_N in zip(found, objects_KN, strict=True)]


PictureMatches = tuple[Floats, Integers, Integers, Integers, Booleans]
"""The first five fields of `ClassMatches`, of one picture."""


def match_picture(
    number: int, places_D: Integers, scores_D: Floats, boxes_D4: Floats, own_G: Integers, annotated: Annotated
) -> PictureMatches:
    """What the answers of one class, the surest first, found among the objects `own_G` of their class on a picture."""
    pictures_D = np.full(len(places_D), number)
    if not len(own_G):
        nothing_TD = np.full((len(THRESHOLDS_T), len(places_D)), NONE)
        return scores_D, pictures_D, places_D, nothing_TD, nothing_TD != NONE
    crowd_G = annotated.crowd[own_G]
    found_TD = matched(overlaps(boxes_D4, annotated.boxes[own_G], crowd_G), crowd_G)
    is_found_TD = found_TD != NONE
    objects_TD = np.where(is_found_TD, own_G[found_TD], NONE)
    return scores_D, pictures_D, places_D, objects_TD, is_found_TD & crowd_G[found_TD]


def joined(parts: Sequence[PictureMatches], objects_N: Integers) -> ClassMatches:
    """The matches of a class from those of the pictures that have answers of it."""
    none_T0 = np.zeros((len(THRESHOLDS_T), 0), np.int64)
    nothing: PictureMatches = (np.zeros(0), none_T0[0], none_T0[0], none_T0, none_T0.astype(np.bool_))
    scores_D, pictures_D, places_D, objects_TD, ignored_TD = (
        np.concatenate(each, axis=-1) for each in zip(nothing, *parts, strict=True)
    )
    order = np.argsort(-scores_D, kind="stable")
    return ClassMatches(
        scores_D=scores_D[order],
        pictures_D=pictures_D[order],
        places_D=places_D[order],
        objects_TD=objects_TD[:, order],
        ignored_TD=ignored_TD[:, order],
        objects_N=objects_N,
    )


def overlaps(boxes_D4: Floats, objects_G4: Floats, crowd_G: Booleans) -> Floats:
    """How much each answer overlaps with each object (D, G): of a crowd, the part of the answer that lies inside.

    By the function that judges the whole, so that both agree on overlaps that are a threshold exactly.
    """
    return np.asarray(run_lengths.iou(to_xywh(boxes_D4), to_xywh(objects_G4), crowd_G.astype(int).tolist()))


def matched(overlaps_DG: Floats, crowd_G: Booleans) -> Integers:
    """Which object each answer finds at each threshold (T, D), -1 for none; answers come with the surest first.

    COCO's rule: an answer takes the object that it overlaps with most of those that are free, the last of equal ones, and
    a crowd, which is never taken away, only where there is no such object.
    """
    limits_T1 = np.minimum(THRESHOLDS_T, 1 - 1e-10)[:, None]
    found_TD = np.full((len(THRESHOLDS_T), len(overlaps_DG)), NONE)
    free_TG = np.ones((len(THRESHOLDS_T), len(crowd_G)), np.bool_)
    for index, overlaps_G in enumerate(overlaps_DG):
        if overlaps_G.max(initial=0.0) < THRESHOLDS_T[0]:
            continue
        able_TG = free_TG & (overlaps_G >= limits_T1)
        plain_TG = able_TG & ~crowd_G
        able_TG = np.where(plain_TG.any(axis=1, keepdims=True), plain_TG, able_TG)
        best_T = len(crowd_G) - 1 - np.where(able_TG, overlaps_G, -1.0)[:, ::-1].argmax(axis=1)
        rows = np.flatnonzero(able_TG.any(axis=1))
        found_TD[rows, index] = best_T[rows]
        free_TG[rows, best_T[rows]] = crowd_G[best_T[rows]]
    return found_TD


def resampled_box_ap(matches: Sequence[ClassMatches], counts_NS: Integers) -> Floats:
    """The box AP in percent of resamples (S,) in which picture n stands `counts_NS[n, s]` times; nan without objects.

    A picture that stands several times has equal scores, whose order is open: here each answer's copies follow each other.
    """
    parts = [
        mean_average_precision(matches, counts_NS[:, start : start + AT_ONCE])
        for start in range(0, counts_NS.shape[1], AT_ONCE)
    ]
    return 100 * np.concatenate(parts)


def mean_average_precision(matches: Sequence[ClassMatches], counts_NS: Integers) -> Floats:
    """The mean over the classes that a resample has objects of (S,), 0 to 1; nan where it has none at all."""
    precision_KS = np.stack([average_precision(each, counts_NS) for each in matches])
    there_KS = ~np.isnan(precision_KS)
    with np.errstate(invalid="ignore"):
        return np.where(there_KS, precision_KS, 0).sum(axis=0) / there_KS.sum(axis=0)


def average_precision(matches: ClassMatches, counts_NS: Integers) -> Floats:
    """One class's mean over all thresholds (S,), 0 to 1; nan where a resample has no object of it."""
    weights_DS = counts_NS[matches.pictures_D]
    objects_S = matches.objects_N @ counts_NS
    total_S = np.zeros(len(objects_S))
    judged_D, judged_DS = None, weights_DS
    for right_D, ignored_D in zip(matches.right, matches.ignored_TD, strict=True):
        if judged_D is None or (judged_D == ignored_D).any():  # mostly there are no crowds, and one sum serves all
            judged_D = ~ignored_D
            judged_DS = np.cumsum(weights_DS * judged_D[:, None], axis=0, dtype=np.int32)
        total_S += area_under(weights_DS[right_D], judged_DS[right_D], objects_S)
    return np.where(objects_S > 0, total_S / len(THRESHOLDS_T), np.nan)


def area_under(right_PS: Integers, judged_PS: Integers, objects_S: Integers) -> Floats:
    """The mean precision over COCO's 101 recalls (S,), of right answers, the surest first.

    The precision at a recall is the best one at that or any higher recall, and 0 beyond the last right answer. So only
    right answers matter, each for the recalls that it is the first to reach.

    Args:
        right_PS: how often each stands.
        judged_PS: how many answers are as sure or surer, itself included.
        objects_S: how many there are to be found.
    """
    true_PS = np.cumsum(right_PS, axis=0, dtype=np.int32)
    precision_PS = true_PS / np.maximum(judged_PS, 1)
    best_PS = np.maximum.accumulate(precision_PS[::-1], axis=0)[::-1]
    reached_PS = np.searchsorted(RECALLS_R, true_PS / np.maximum(objects_S, 1), side="right")
    return (np.diff(reached_PS, axis=0, prepend=0) * best_PS).sum(axis=0) / len(RECALLS_R)
