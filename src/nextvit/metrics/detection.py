"""What answers about objects are worth, as scores and as plain details for reports.

The details are JSON:

```text
classes           names
class_scores      box AP of each class in percent, null for one without objects
detection
  threshold         the score from which on answers are believed below
  class_objects     how many of each class there are
  class_box_ap50, class_mask_ap, class_mask_ap50    in percent or null, the latter two of models with masks
  class_precisions, class_recalls                   at the threshold and an overlap of 0.5, in percent or null
  curves            recall (101 values), precision_50 and precision_75: for each class as many, or null
  confusion         (classes + 1) x (classes + 1) counts at the threshold: row true, column answered, the last is nothing
  false_positives   [{path, kind, truth, answer: SHAPE, objects: [SHAPE]}], the surest first
  misses            [{path, found_at, object: SHAPE, answers: [SHAPE]}], the clearest first
  examples          [{path, objects: [SHAPE], answers: [SHAPE]}], whole pictures
SHAPE             {label, class_index, box: [x1, y1, x2, y2], mask: run lengths or null, score: only of answers}
```

`kind` is "twice", "class", "place" or "nothing", and `truth` the label of the object that the answer is about, or null.
`found_at` is the score of an answer below the threshold that finds the object, or null.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.masks import RunLengths
from nextvit.metrics.detection_matches import ClassMatches, match_boxes
from nextvit.metrics.detection_mistakes import (
    FalsePositive,
    Miss,
    best_threshold,
    confusion_with_background,
    false_positives,
    few_of_each,
    misses,
    shares_at,
)
from nextvit.metrics.detection_scores import (
    AT_50,
    AT_75,
    RECALLS_R,
    Annotated,
    AveragePrecisions,
    average_precisions,
    run_lengths,
)
from nextvit.predictions.results import Detections

WORST_SHOWN = 24
EXAMPLES_SHOWN = 6
OF_ONE_PICTURE = 2
MOST_AROUND = 12
"""Shapes that are told beside a mistake."""

Details = dict[str, Any]


def judge_detections(
    answers: Sequence[Detections],
    annotations: Sequence[Annotated],
    classes: Sequence[str],
    *,
    paths: Sequence[str | Path],
    masks: bool,
    matches: Sequence[ClassMatches] | None = None,
) -> tuple[dict[str, float], Details]:
    """Scores in percent, the box AP first, and details (see above) of answers about pictures, one for each, in their order.

    Args:
        masks: judge masks, too.
        matches: `match_boxes` of the same, where the caller has made them already.

    Raises:
        InputError: no object is annotated on any of the pictures.
    """
    boxes = average_precisions(answers, annotations, classes, kind="box")
    by_mask = average_precisions(answers, annotations, classes, kind="mask") if masks else None
    matches = match_boxes(answers, annotations, classes) if matches is None else matches
    threshold = best_threshold(matches)
    shares = [shares_at(each, threshold) for each in matches]
    judged = Judged(answers, annotations, classes, [str(path) for path in paths], threshold)
    wrong = false_positives(matches, answers, annotations, threshold=threshold)
    missed = misses(matches, annotations, threshold=threshold)
    detection: Details = {
        "threshold": threshold,
        "class_objects": [int(each.objects_N.sum()) for each in matches],
        "class_box_ap50": boxes.class_scores_50,
        **({"class_mask_ap": by_mask.class_scores, "class_mask_ap50": by_mask.class_scores_50} if by_mask else {}),
        "class_precisions": [precision for precision, _ in shares],
        "class_recalls": [recall for _, recall in shares],
        "curves": curves(boxes),
        "confusion": confusion_with_background(matches, answers, annotations, threshold=threshold).tolist(),
        "false_positives": [
            judged.false_positive(each)
            for each in few_of_each(wrong, lambda each: each.picture, each=OF_ONE_PICTURE, limit=WORST_SHOWN)
        ],
        "misses": [
            judged.miss(each)
            for each in few_of_each(missed, lambda each: each.picture, each=OF_ONE_PICTURE, limit=WORST_SHOWN)
        ],
        "examples": [judged.example(picture) for picture in spread(len(answers), EXAMPLES_SHOWN)],
    }
    scores = boxes.scores | (by_mask.scores if by_mask else {})
    return scores, {"classes": list(classes), "class_scores": boxes.class_scores, "detection": detection}


def curves(judged: AveragePrecisions) -> Details:
    """Precision over recall at two overlaps, of each class."""
    return {
        "recall": RECALLS_R.round(2).tolist(),
        **{
            name: [None if each[0] < 0 else each.round(4).tolist() for each in judged.precision_TRK[place].T]
            for name, place in (("precision_50", AT_50), ("precision_75", AT_75))
        },
    }


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` of so many pictures, evenly from first to last."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(limit, count)).round()})


class Judged:
    """Answers and annotations of pictures, and how single ones of them are told."""

    def __init__(
        self,
        answers: Sequence[Detections],
        annotations: Sequence[Annotated],
        classes: Sequence[str],
        paths: Sequence[str],
        threshold: float,
    ) -> None:
        self.answers, self.annotations, self.classes, self.paths = answers, annotations, classes, paths
        self.threshold = threshold

    def false_positive(self, wrong: FalsePositive) -> Details:
        """A wrong answer, and the objects around it."""
        answer = self.answer(wrong.picture, wrong.place)
        truth = None
        if wrong.object is not None:
            truth = self.classes[int(self.annotations[wrong.picture].labels[wrong.object])]
        around = self.near(wrong.picture, answer["box"])
        return {
            "path": self.paths[wrong.picture],
            "kind": wrong.kind,
            "truth": truth,
            "answer": answer,
            "objects": [self.object(wrong.picture, index) for index in around],
        }

    def miss(self, missed: Miss) -> Details:
        """An object that was not found, and the answers around it."""
        shape = self.object(missed.picture, missed.object)
        believed = self.believed(missed.picture)
        boxes = np.array([each["box"] for each in believed]).reshape(-1, 4)
        around = [believed[index] for index in touching(boxes, shape["box"])]
        return {"path": self.paths[missed.picture], "found_at": missed.found_at, "object": shape, "answers": around}

    def example(self, picture: int) -> Details:
        """A whole picture: what is there, and what was answered."""
        objects = [self.object(picture, index) for index in range(len(self.annotations[picture].labels))]
        return {"path": self.paths[picture], "objects": objects, "answers": self.believed(picture)}

    def believed(self, picture: int) -> list[Details]:
        """The answers from the threshold on."""
        found = self.answers[picture].objects
        return [self.answer(picture, place) for place, each in enumerate(found) if each.score >= self.threshold]

    def near(self, picture: int, box: Sequence[float]) -> list[int]:
        """The objects around a box, which are no crowds."""
        annotated = self.annotations[picture]
        return [index for index in touching(annotated.boxes, box) if not annotated.crowd[index]]

    def answer(self, picture: int, place: int) -> Details:
        found = self.answers[picture].objects[place]
        label = self.classes.index(found.label)
        shape = {"label": found.label, "class_index": label, "box": list(found.box), "mask": found.mask}
        return {**shape, "score": found.score}

    def object(self, picture: int, index: int) -> Details:
        annotated, answer = self.annotations[picture], self.answers[picture]
        label = int(annotated.labels[index])
        segmentation = annotated.segmentations[index] if annotated.segmentations else None
        mask = plain_mask(segmentation, size=(answer.height, answer.width)) if segmentation else None
        return {
            "label": self.classes[label],
            "class_index": label,
            "box": annotated.boxes[index].tolist(),
            "mask": mask,
        }


def touching(boxes_K4: NDArray[np.floating[Any]], box: Sequence[float]) -> list[int]:
    """The few boxes that a box of three times the sides touches, the nearest first."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    left, top, right, bottom = boxes_K4.T
    near = (left < x2 + width) & (right > x1 - width) & (top < y2 + height) & (bottom > y1 - height)
    distance = np.hypot((left + right) / 2 - (x1 + x2) / 2, (top + bottom) / 2 - (y1 + y2) / 2)
    order = np.argsort(distance, kind="stable")
    return order[near[order]][:MOST_AROUND].tolist()


def plain_mask(segmentation: Any, *, size: tuple[int, int]) -> RunLengths:
    """Polygons or run lengths of either form, in a picture of `size` (height, width), as run lengths for JSON."""
    height, width = size
    counts = run_lengths.segmToRle(segmentation, width, height)["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
