"""Evaluation of detections: scores, and plain details for reports.

The details are JSON:

```text
classes           names
class_scores      box AP of each class in percent, null for one without objects
detection
  threshold         the score threshold of what follows
  class_objects     how many objects each class has
  class_box_ap50, class_mask_ap, class_mask_ap50    in percent or null, the latter two of models with masks
  class_precisions, class_recalls                   at the threshold and an IoU of 0.5, in percent or null
  curves            recall (101 values), precision_50 and precision_75: for each class as many, or null
  confusion         (classes + 1) x (classes + 1) counts at the threshold: row true, column predicted, last background
  false_positives   [{path, kind, truth, answer: SHAPE, objects: [SHAPE]}], highest confidence first
  misses            [{path, found_at, object: SHAPE, answers: [SHAPE]}], the clearest first
  examples          [{path, objects: [SHAPE], answers: [SHAPE]}], whole images
SHAPE             {label, class_index, box: [x1, y1, x2, y2], mask: run lengths or null, score: only of answers}
```

An answer is a predicted detection. `kind` is "twice", "class", "place" or "nothing" (see `FalsePositive`), and
`truth` the label of the object that the false positive is assigned to, or null. `found_at` is the score of a
detection below the threshold that matches the object, or null.
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
    confusion_with_background,
    find_best_threshold,
    find_false_positives,
    find_misses,
    limit_per_image,
    precision_and_recall,
)
from nextvit.metrics.detection_scores import (
    AT_50,
    AT_75,
    RECALLS_R,
    AveragePrecisions,
    ImageAnnotations,
    average_precisions,
    run_lengths,
)
from nextvit.predictions.results import Detections

MISTAKES_SHOWN = 24
EXAMPLES_SHOWN = 6
MISTAKES_PER_IMAGE = 2
MAX_NEARBY = 12
"""How many nearby shapes a mistake lists."""

Details = dict[str, Any]


def evaluate_detections(
    predictions: Sequence[Detections],
    annotations: Sequence[ImageAnnotations],
    classes: Sequence[str],
    *,
    paths: Sequence[str | Path],
    masks: bool,
    matches: Sequence[ClassMatches] | None = None,
) -> tuple[dict[str, float], Details]:
    """COCO's average precision, and what a report shows of the mistakes.

    Args:
        predictions: one for each image; `annotations` and `paths` are in the same order.
        masks: compute the mask AP, too.
        matches: the result of `match_boxes` for the same images, where the caller has it already.

    Returns:
        Scores in percent, the box AP first, and the details described at the top of this file.

    Raises:
        InputError: no object is annotated on any of the images.
    """
    # 1. Score
    boxes = average_precisions(predictions, annotations, classes, kind="box")
    by_mask = average_precisions(predictions, annotations, classes, kind="mask") if masks else None
    matches = match_boxes(predictions, annotations, classes) if matches is None else matches
    threshold = find_best_threshold(matches)
    at_threshold = [precision_and_recall(each, threshold) for each in matches]
    # 2. Find the mistakes
    writer = DetailsWriter(predictions, annotations, classes, [str(path) for path in paths], threshold)
    wrong = find_false_positives(matches, predictions, annotations, threshold=threshold)
    missed = find_misses(matches, annotations, threshold=threshold)
    confusion = confusion_with_background(matches, predictions, annotations, threshold=threshold)
    # 3. Write the details
    detection: Details = {
        "threshold": threshold,
        "class_objects": [int(each.objects_N.sum()) for each in matches],
        "class_box_ap50": boxes.class_scores_50,
        **({"class_mask_ap": by_mask.class_scores, "class_mask_ap50": by_mask.class_scores_50} if by_mask else {}),
        "class_precisions": [precision for precision, _ in at_threshold],
        "class_recalls": [recall for _, recall in at_threshold],
        "curves": list_curves(boxes),
        "confusion": confusion.tolist(),
        "false_positives": [
            writer.describe_false_positive(each)
            for each in limit_per_image(
                wrong, lambda each: each.image, per_image=MISTAKES_PER_IMAGE, limit=MISTAKES_SHOWN
            )
        ],
        "misses": [
            writer.describe_miss(each)
            for each in limit_per_image(
                missed, lambda each: each.image, per_image=MISTAKES_PER_IMAGE, limit=MISTAKES_SHOWN
            )
        ],
        "examples": [writer.describe_image(image) for image in choose_evenly(len(predictions), EXAMPLES_SHOWN)],
    }
    scores = boxes.scores | (by_mask.scores if by_mask else {})
    return scores, {"classes": list(classes), "class_scores": boxes.class_scores, "detection": detection}


def list_curves(found: AveragePrecisions) -> Details:
    """The precision-recall curves of each class at an IoU of 0.5 and of 0.75."""
    return {
        "recall": RECALLS_R.round(2).tolist(),
        **{
            name: [None if each[0] < 0 else each.round(4).tolist() for each in found.precision_TRK[threshold].T]
            for name, threshold in (("precision_50", AT_50), ("precision_75", AT_75))
        },
    }


def choose_evenly(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` indices, evenly from first to last."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(limit, count)).round()})


class DetailsWriter:
    """Turns predictions, annotations and mistakes into the plain details of a report.

    An image is given by its index, a detection and an object by their index on the image.
    """

    def __init__(
        self,
        predictions: Sequence[Detections],
        annotations: Sequence[ImageAnnotations],
        classes: Sequence[str],
        paths: Sequence[str],
        threshold: float,
    ) -> None:
        self.predictions, self.annotations, self.classes, self.paths = predictions, annotations, classes, paths
        self.threshold = threshold

    def describe_false_positive(self, wrong: FalsePositive) -> Details:
        """A false positive, and the annotated objects near it."""
        detection = self.describe_detection(wrong.image, wrong.detection)
        truth = None
        if wrong.object is not None:
            truth = self.classes[int(self.annotations[wrong.image].labels[wrong.object])]
        nearby = self.find_nearby_objects(wrong.image, detection["box"])
        return {
            "path": self.paths[wrong.image],
            "kind": wrong.kind,
            "truth": truth,
            "answer": detection,
            "objects": [self.describe_object(wrong.image, index) for index in nearby],
        }

    def describe_miss(self, missed: Miss) -> Details:
        """An object that was not detected, and the detections near it."""
        shape = self.describe_object(missed.image, missed.object)
        detections = self.describe_detections(missed.image)
        boxes = np.array([each["box"] for each in detections]).reshape(-1, 4)
        nearby = [detections[index] for index in find_nearby_boxes(boxes, shape["box"])]
        return {"path": self.paths[missed.image], "found_at": missed.found_at, "object": shape, "answers": nearby}

    def describe_image(self, image: int) -> Details:
        """A whole image: its annotated objects, and its detections."""
        objects = [self.describe_object(image, index) for index in range(len(self.annotations[image].labels))]
        return {"path": self.paths[image], "objects": objects, "answers": self.describe_detections(image)}

    def describe_detections(self, image: int) -> list[Details]:
        """The detections whose score reaches the threshold."""
        found = self.predictions[image].objects
        return [
            self.describe_detection(image, index) for index, each in enumerate(found) if each.score >= self.threshold
        ]

    def find_nearby_objects(self, image: int, box: Sequence[float]) -> list[int]:
        """The objects near a box; crowds are left out."""
        annotated = self.annotations[image]
        return [index for index in find_nearby_boxes(annotated.boxes, box) if not annotated.crowd[index]]

    def describe_detection(self, image: int, detection: int) -> Details:
        found = self.predictions[image].objects[detection]
        label = self.classes.index(found.label)
        shape = {"label": found.label, "class_index": label, "box": list(found.box), "mask": found.mask}
        return {**shape, "score": found.score}

    def describe_object(self, image: int, index: int) -> Details:
        annotated, prediction = self.annotations[image], self.predictions[image]
        label = int(annotated.labels[index])
        segmentation = annotated.segmentations[index] if annotated.segmentations else None
        mask = to_run_lengths(segmentation, size=(prediction.height, prediction.width)) if segmentation else None
        return {
            "label": self.classes[label],
            "class_index": label,
            "box": annotated.boxes[index].tolist(),
            "mask": mask,
        }


def find_nearby_boxes(boxes_K4: NDArray[np.floating[Any]], box: Sequence[float]) -> list[int]:
    """The indices of the boxes that overlap a box enlarged to three times its sides, the nearest first, at most 12."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    left, top, right, bottom = boxes_K4.T
    near = (left < x2 + width) & (right > x1 - width) & (top < y2 + height) & (bottom > y1 - height)
    distance = np.hypot((left + right) / 2 - (x1 + x2) / 2, (top + bottom) / 2 - (y1 + y2) / 2)
    order = np.argsort(distance, kind="stable")
    return order[near[order]][:MAX_NEARBY].tolist()


def to_run_lengths(segmentation: Any, *, size: tuple[int, int]) -> RunLengths:
    """Polygons or run lengths of either form, on an image of `size` (height, width), as run lengths for JSON."""
    height, width = size
    counts = run_lengths.segmToRle(segmentation, width, height)["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
