"""A detector's mistakes at an IoU of 0.5: the best score threshold, the confusion matrix, false positives and
misses."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from nextvit.image.boxes import box_iou
from nextvit.metrics.detection_matches import NONE, ClassMatches
from nextvit.metrics.detection_scores import AT_50, ImageAnnotations
from nextvit.predictions.results import Detections

# D detections of a class on all images, K classes

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Kind = Literal["twice", "class", "place", "nothing"]
Mistake = TypeVar("Mistake")

OVERLAP = 0.5
MIN_OVERLAP = 0.1
"""The IoU from which on a false positive counts as a badly localised object, as in TIDE (arXiv:2008.08115)."""
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class FalsePositive:
    """A detection that matches no object."""

    image: int
    detection: int
    """Its index among the image's detections."""
    score: float
    kind: Kind
    """"twice": its object was matched by a detection of higher confidence; "class": it overlaps an object of another
    class; "place": it overlaps an object of its class too little; "nothing": there is no object (in TIDE's words
    duplicate, classification, localisation and background error)."""
    object: int | None
    """The index of the image's object that it overlaps; None with "nothing"."""


@dataclass(frozen=True, kw_only=True)
class Miss:
    """An object that no detection matches (false negative)."""

    image: int
    object: int
    area: float
    found_at: float | None
    """The score of the detection below the threshold that matches it; None where none does."""


def find_best_threshold(matches: Sequence[ClassMatches]) -> float:
    """The score threshold at which the F1 of all classes together is highest; 0.5 without detections.

    It is chosen on the evaluated images themselves, so scores at this threshold are optimistic: it is for looking at
    mistakes, not a promise about other images.
    """
    counted = [~each.ignored_TD[AT_50] for each in matches]
    scores = np.concatenate([each.scores_D[kept] for each, kept in zip(matches, counted, strict=True)])
    correct = np.concatenate([each.is_true_positive[AT_50][kept] for each, kept in zip(matches, counted, strict=True)])
    if not len(scores):
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    objects = sum(int(each.objects_N.sum()) for each in matches)
    f1 = 2 * np.cumsum(correct[order]) / (np.arange(1, len(order) + 1) + objects)
    f1[:-1][np.diff(scores[order]) == 0] = -1  # a threshold cannot separate equal scores
    return float(scores[order][f1.argmax()])


def precision_and_recall(matches: ClassMatches, threshold: float) -> tuple[float | None, float | None]:
    """Precision and recall of a class in percent; None where it is never predicted, or has no objects."""
    kept = (matches.scores_D >= threshold) & ~matches.ignored_TD[AT_50]
    correct, objects = int((matches.is_true_positive[AT_50] & kept).sum()), int(matches.objects_N.sum())
    precision = 100 * correct / int(kept.sum()) if kept.any() else None
    return precision, 100 * correct / objects if objects else None


def confusion_with_background(
    matches: Sequence[ClassMatches],
    predictions: Sequence[Detections],
    annotations: Sequence[ImageAnnotations],
    *,
    threshold: float,
) -> Integers:
    """The confusion matrix of the detections whose score reaches the threshold.

    True positives are paired first. Each other detection, in the order of confidence, is paired with the object that it
    overlaps most among those still free.

    Returns:
        Counts (K + 1, K + 1): row is the true class, column the predicted one, the last of each is the background.
    """
    classes = len(matches)
    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    # 1. True positives
    wrong: dict[int, list[tuple[float, int, int]]] = {}
    missed = [~annotated.crowd for annotated in annotations]
    for label, each in enumerate(matches):
        for index in np.flatnonzero((each.scores_D >= threshold) & ~each.ignored_TD[AT_50]):
            image, found = int(each.images_D[index]), int(each.objects_TD[AT_50, index])
            if found == NONE:
                wrong.setdefault(image, []).append((float(each.scores_D[index]), label, int(each.indices_D[index])))
            else:
                confusion[label, label] += 1
                missed[image][found] = False
    # 2. False positives: another class, or background
    for image, listed in wrong.items():
        annotated, left = annotations[image], missed[image]
        for _, label, detection in sorted(listed, reverse=True):
            overlap = np.where(left, overlap_with_objects(predictions[image], detection, annotated), 0.0)
            taken = int(overlap.argmax()) if overlap.max(initial=0.0) >= OVERLAP else None
            confusion[classes if taken is None else annotated.labels[taken], label] += 1
            if taken is not None:
                left[taken] = False
    # 3. Misses
    for annotated, left in zip(annotations, missed, strict=True):
        confusion[:, classes] += np.bincount(annotated.labels[left], minlength=classes + 1)
    return confusion


def overlap_with_objects(prediction: Detections, detection: int, annotated: ImageAnnotations) -> Floats:
    """The IoU of one of an image's detections with each of the image's objects."""
    return box_iou(np.array([prediction.objects[detection].box]), annotated.boxes)[0]


def find_false_positives(
    matches: Sequence[ClassMatches],
    predictions: Sequence[Detections],
    annotations: Sequence[ImageAnnotations],
    *,
    threshold: float,
) -> list[FalsePositive]:
    """The false positives whose score reaches the threshold, highest confidence first."""
    listed: list[FalsePositive] = []
    for label, each in enumerate(matches):
        wrong = (each.scores_D >= threshold) & ~each.ignored_TD[AT_50] & ~each.is_true_positive[AT_50]
        for index in np.flatnonzero(wrong):
            image, detection = int(each.images_D[index]), int(each.indices_D[index])
            annotated = annotations[image]
            overlap = overlap_with_objects(predictions[image], detection, annotated)
            kind, found = classify_false_positive(overlap, annotated, label)
            score = float(each.scores_D[index])
            listed.append(FalsePositive(image=image, detection=detection, score=score, kind=kind, object=found))
    return sorted(listed, key=lambda each: -each.score)


def classify_false_positive(overlap: Floats, annotated: ImageAnnotations, label: int) -> tuple[Kind, int | None]:
    """The kind of a false positive of class `label`, and the object that it overlaps."""
    own = np.where((annotated.labels == label) & ~annotated.crowd, overlap, 0.0)
    other = np.where((annotated.labels != label) & ~annotated.crowd, overlap, 0.0)
    if own.max(initial=0.0) >= OVERLAP:
        return "twice", int(own.argmax())
    if other.max(initial=0.0) >= OVERLAP:
        return "class", int(other.argmax())
    if own.max(initial=0.0) >= MIN_OVERLAP:
        return "place", int(own.argmax())
    return "nothing", None


def find_misses(
    matches: Sequence[ClassMatches], annotations: Sequence[ImageAnnotations], *, threshold: float
) -> list[Miss]:
    """Objects that no detection at the threshold matches.

    Those that are not detected at any score come first, the largest before the smaller.
    """
    found_at: dict[tuple[int, int], float] = {}
    for each in matches:
        for index in np.flatnonzero(each.is_true_positive[AT_50]):
            found_at[int(each.images_D[index]), int(each.objects_TD[AT_50, index])] = float(each.scores_D[index])
    listed = [
        Miss(image=image, object=index, area=float(annotated.areas[index]), found_at=found_at.get((image, index)))
        for image, annotated in enumerate(annotations)
        for index in np.flatnonzero(~annotated.crowd).tolist()
        if found_at.get((image, index), -1.0) < threshold
    ]
    return sorted(listed, key=lambda each: (each.found_at or 0.0, -each.area))


def limit_per_image(
    mistakes: Iterable[Mistake], image_of: Callable[[Mistake], int], *, per_image: int, limit: int
) -> list[Mistake]:
    """The first `limit` mistakes with at most `per_image` of each image, so that one bad image does not hide all
    others."""
    seen: Counter[int] = Counter()
    chosen: list[Mistake] = []
    for mistake in mistakes:
        seen[image_of(mistake)] += 1
        if seen[image_of(mistake)] <= per_image and len(chosen) < limit:
            chosen.append(mistake)
    return chosen
