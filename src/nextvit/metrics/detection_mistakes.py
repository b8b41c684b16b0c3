"""Where a detector is wrong at an overlap of 0.5: from which score on to believe it, what is taken for what, and the worst."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from nextvit.image.boxes import iou
from nextvit.metrics.detection_matches import NONE, ClassMatches
from nextvit.metrics.detection_scores import AT_50, Annotated
from nextvit.predictions.results import Detections

# D answers of a class in all pictures, K classes

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Kind = Literal["twice", "class", "place", "nothing"]
Mistake = TypeVar("Mistake")

OVERLAP = 0.5
TOUCHING = 0.1
"""Overlap from which on a wrong answer was about an object, only not in its place."""
WITHOUT_ANSWERS = 0.5


@dataclass(frozen=True, kw_only=True)
class FalsePositive:
    """An answer that is wrong."""

    picture: int
    place: int
    """Which of the picture's answers it is."""
    score: float
    kind: Kind
    """"twice": its object was found by a surer answer; "class": there is an object of another class; "place": there is one of
    the class, elsewhere; "nothing"."""
    object: int | None
    """The picture's object that it is about; None with "nothing"."""


@dataclass(frozen=True, kw_only=True)
class Miss:
    """An object that was not found."""

    picture: int
    object: int
    area: float
    found_at: float | None
    """The score of the answer that finds it below the threshold; None where none does."""


def best_threshold(matches: Sequence[ClassMatches]) -> float:
    """The score from which on answers are believed where the F1 of all classes together is highest; 0.5 without answers.

    Chosen on the pictures that are judged, so nothing that is told at it can be taken for a promise: it is for looking on.
    """
    judged = [~each.ignored_TD[AT_50] for each in matches]
    scores = np.concatenate([each.scores_D[kept] for each, kept in zip(matches, judged, strict=True)])
    right = np.concatenate([each.right[AT_50][kept] for each, kept in zip(matches, judged, strict=True)])
    if not len(scores):
        return WITHOUT_ANSWERS
    order = np.argsort(-scores, kind="stable")
    objects = sum(int(each.objects_N.sum()) for each in matches)
    f1 = 2 * np.cumsum(right[order]) / (np.arange(1, len(order) + 1) + objects)
    f1[:-1][np.diff(scores[order]) == 0] = -1  # equal scores are believed together
    return float(scores[order][f1.argmax()])


def shares_at(matches: ClassMatches, threshold: float) -> tuple[float | None, float | None]:
    """Precision and recall of a class in percent; None where it is never answered, or has no objects."""
    kept = (matches.scores_D >= threshold) & ~matches.ignored_TD[AT_50]
    right, objects = int((matches.right[AT_50] & kept).sum()), int(matches.objects_N.sum())
    precision = 100 * right / int(kept.sum()) if kept.any() else None
    return precision, 100 * right / objects if objects else None


def confusion_with_background(
    matches: Sequence[ClassMatches],
    answers: Sequence[Detections],
    annotations: Sequence[Annotated],
    *,
    threshold: float,
) -> Integers:
    """Counts (K + 1, K + 1) of answers from a score on: row is the true class, column the answered one, the last of each
    is nothing. Right answers come first; of the others, the surest first, each is paired with the object that it overlaps
    with most."""
    classes = len(matches)
    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    wrong: dict[int, list[tuple[float, int, int]]] = {}
    missed = [~annotated.crowd for annotated in annotations]
    for label, each in enumerate(matches):
        for index in np.flatnonzero((each.scores_D >= threshold) & ~each.ignored_TD[AT_50]):
            picture, found = int(each.pictures_D[index]), int(each.objects_TD[AT_50, index])
            if found == NONE:
                wrong.setdefault(picture, []).append((float(each.scores_D[index]), label, int(each.places_D[index])))
            else:
                confusion[label, label] += 1
                missed[picture][found] = False
    for picture, listed in wrong.items():
        annotated, left = annotations[picture], missed[picture]
        for _, label, place in sorted(listed, reverse=True):
            overlap = np.where(left, overlap_with(answers[picture], place, annotated), 0.0)
            taken = int(overlap.argmax()) if overlap.max(initial=0.0) >= OVERLAP else None
            confusion[classes if taken is None else annotated.labels[taken], label] += 1
            if taken is not None:
                left[taken] = False
    for annotated, left in zip(annotations, missed, strict=True):
        confusion[:, classes] += np.bincount(annotated.labels[left], minlength=classes + 1)
    return confusion


def overlap_with(answer: Detections, place: int, annotated: Annotated) -> Floats:
    """The overlap of one of a picture's answers with each of its objects."""
    return iou(np.array([answer.objects[place].box]), annotated.boxes)[0]


def false_positives(
    matches: Sequence[ClassMatches],
    answers: Sequence[Detections],
    annotations: Sequence[Annotated],
    *,
    threshold: float,
) -> list[FalsePositive]:
    """Wrong answers from a score on, the surest first."""
    listed: list[FalsePositive] = []
    for label, each in enumerate(matches):
        wrong = (each.scores_D >= threshold) & ~each.ignored_TD[AT_50] & ~each.right[AT_50]
        for index in np.flatnonzero(wrong):
            picture, place = int(each.pictures_D[index]), int(each.places_D[index])
            annotated = annotations[picture]
            kind, about = kind_of(overlap_with(answers[picture], place, annotated), annotated, label)
            score = float(each.scores_D[index])
            listed.append(FalsePositive(picture=picture, place=place, score=score, kind=kind, object=about))
    return sorted(listed, key=lambda each: -each.score)


def kind_of(overlap: Floats, annotated: Annotated, label: int) -> tuple[Kind, int | None]:
    """What is wrong with an answer, and which object it is about."""
    own = np.where((annotated.labels == label) & ~annotated.crowd, overlap, 0.0)
    other = np.where((annotated.labels != label) & ~annotated.crowd, overlap, 0.0)
    if own.max(initial=0.0) >= OVERLAP:
        return "twice", int(own.argmax())
    if other.max(initial=0.0) >= OVERLAP:
        return "class", int(other.argmax())
    if own.max(initial=0.0) >= TOUCHING:
        return "place", int(own.argmax())
    return "nothing", None


def misses(matches: Sequence[ClassMatches], annotations: Sequence[Annotated], *, threshold: float) -> list[Miss]:
    """Objects that no answer from a score on finds: those that none finds at all first, and of them the largest."""
    found_at: dict[tuple[int, int], float] = {}
    for each in matches:
        for index in np.flatnonzero(each.right[AT_50]):
            found_at[int(each.pictures_D[index]), int(each.objects_TD[AT_50, index])] = float(each.scores_D[index])
    listed = [
        Miss(picture=picture, object=index, area=float(annotated.areas[index]), found_at=found_at.get((picture, index)))
        for picture, annotated in enumerate(annotations)
        for index in np.flatnonzero(~annotated.crowd).tolist()
        if found_at.get((picture, index), -1.0) < threshold
    ]
    return sorted(listed, key=lambda each: (each.found_at or 0.0, -each.area))


def few_of_each(
    listed: Iterable[Mistake], picture_of: Callable[[Mistake], int], *, each: int, limit: int
) -> list[Mistake]:
    """The first of a list, at most some of each picture, so that one bad picture does not hide all others."""
    seen: Counter[int] = Counter()
    chosen: list[Mistake] = []
    for mistake in listed:
        seen[picture_of(mistake)] += 1
        if seen[picture_of(mistake)] <= each and len(chosen) < limit:
            chosen.append(mistake)
    return chosen
