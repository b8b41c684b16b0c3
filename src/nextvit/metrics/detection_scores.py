"""COCO's average precision of boxes and masks, by faster-coco-eval: equal to pycocotools to the last digits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nextvit.errors import InputError, MissingDependency
from nextvit.image.boxes import areas, to_xywh
from nextvit.predictions.results import Detection, Detections

try:
    from faster_coco_eval import COCO, COCOeval_faster
    from faster_coco_eval.core import mask as run_lengths
except ImportError as error:
    raise MissingDependency("faster-coco-eval", extra="train") from error

# T thresholds of the overlap, R recalls, K classes

Floats = NDArray[np.floating[Any]]
Kind = Literal["box", "mask"]

THRESHOLDS_T = np.linspace(0.5, 0.95, 10)
RECALLS_R = np.linspace(0.0, 1.0, 101)
AT_50, AT_75 = 0, 5
SIZES = ("small", "medium", "large")
MOST_ANSWERS = 100
"""The surest so many of each class and picture count."""


class Annotated(Protocol):
    """What is annotated on a picture, such as `nextvit.data.objects.Objects`."""

    @property
    def boxes(self) -> NDArray[np.float32]: ...
    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def crowd(self) -> NDArray[np.bool_]: ...
    @property
    def areas(self) -> NDArray[np.float64]: ...
    @property
    def segmentations(self) -> tuple[Any, ...]: ...


@dataclass(frozen=True, kw_only=True)
class AveragePrecisions:
    """What COCO's evaluation gives; scores are percentages."""

    scores: dict[str, float]
    """`box_ap_score`, `box_ap50_score`, `box_ap75_score` and, of the sizes that occur, `box_ap_small_score`, ...; or with
    "mask"."""
    class_scores: list[float | None]
    """AP of each class; None for a class without objects."""
    class_scores_50: list[float | None]
    """At an overlap of 0.5."""
    precision_TRK: Floats
    """0 to 1, at each threshold and recall, of each class; -1 where there are no objects."""


def average_precisions(
    answers: Sequence[Detections], annotations: Sequence[Annotated], classes: Sequence[str], *, kind: Kind
) -> AveragePrecisions:
    """Average precision of answers about pictures, one for each, in their order.

    The areas by which masks are small, medium or large are those of the masks, as MMDetection and Detectron2 have it.

    Raises:
        InputError: no object is annotated (crowds are none), so nothing can be scored.
    """
    if not any((~each.crowd).any() for each in annotations):
        raise InputError("no object is annotated on any of these pictures, so nothing can be scored")
    truth, found = truth_of(answers, annotations, classes, kind=kind), found_of(answers, classes, kind=kind)
    evaluation = COCOeval_faster(as_coco(truth), as_coco({**truth, "annotations": found}), iou_type(kind))
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[..., -1]  # T, R, K, sizes; the most answers come last
    every = precision[..., 0]
    scores = {f"{kind}_ap_score": every, f"{kind}_ap50_score": every[AT_50], f"{kind}_ap75_score": every[AT_75]}
    scores |= {f"{kind}_ap_{name}_score": precision[..., place] for place, name in enumerate(SIZES, start=1)}
    means = {name: mean_there(values) for name, values in scores.items()}
    return AveragePrecisions(
        scores={name: mean for name, mean in means.items() if mean is not None},
        class_scores=[mean_there(every[..., label]) for label in range(len(classes))],
        class_scores_50=[mean_there(every[AT_50][..., label]) for label in range(len(classes))],
        precision_TRK=every,
    )


def mean_there(precision: Floats) -> float | None:
    """The mean in percent of what is there; None where nothing is."""
    there = precision[precision > -1]
    return float(100 * there.mean()) if len(there) else None


def iou_type(kind: Kind) -> Literal["bbox", "segm"]:
    return "bbox" if kind == "box" else "segm"


def as_coco(dataset: dict[str, Any]) -> COCO:
    """A dataset in COCO's form, with its index."""
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def truth_of(
    answers: Sequence[Detections], annotations: Sequence[Annotated], classes: Sequence[str], *, kind: Kind
) -> dict[str, Any]:
    """The annotations in COCO's form. Pictures, classes and objects are numbered from 1: COCO takes 0 for no match."""
    pictures = [
        {"id": number, "height": answer.height, "width": answer.width} for number, answer in enumerate(answers, start=1)
    ]
    objects: list[dict[str, Any]] = []
    for picture, annotated in zip(pictures, annotations, strict=True):
        for index, box in enumerate(to_xywh(annotated.boxes).tolist()):
            entry = {
                "id": len(objects) + 1,
                "image_id": picture["id"],
                "category_id": int(annotated.labels[index]) + 1,
                "bbox": box,
                "area": float(annotated.areas[index]),
                "iscrowd": int(annotated.crowd[index]),
            }
            objects.append(entry | truth_mask(annotated, index) if kind == "mask" else entry)
    named = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return {"images": pictures, "annotations": objects, "categories": named}


def truth_mask(annotated: Annotated, index: int) -> dict[str, Any]:
    """An object's mask. One annotated with a box alone counts as a crowd: where it lies exactly is not known, so no mask
    can be judged by it."""
    segmentation = annotated.segmentations[index]
    if segmentation:
        return {"segmentation": segmentation}
    return {"segmentation": [box_polygon(annotated.boxes[index])], "iscrowd": 1}


def box_polygon(box: NDArray[np.floating[Any]]) -> list[float]:
    """The corners of a box x1, y1, x2, y2."""
    x1, y1, x2, y2 = box.tolist()
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def found_of(answers: Sequence[Detections], classes: Sequence[str], *, kind: Kind) -> list[dict[str, Any]]:
    """The answers in COCO's form."""
    labels = {name: label for label, name in enumerate(classes)}
    found: list[dict[str, Any]] = []
    for number, answer in enumerate(answers, start=1):
        for each in answer.objects:
            entry = {
                "id": len(found) + 1,
                "image_id": number,
                "category_id": labels[each.label] + 1,
                "score": each.score,
                "iscrowd": 0,
            }
            found.append(entry | found_shape(each, kind))
    return found


def found_shape(found: Detection, kind: Kind) -> dict[str, Any]:
    """Where an answer's object is, and its area."""
    if kind == "box":
        box = np.array(found.box)
        return {"bbox": to_xywh(box).tolist(), "area": float(areas(box))}
    if found.mask is None:
        raise InputError("an answer without mask cannot be judged by its mask")
    # faster-coco-eval writes into what it is given
    mask = dict(found.mask)
    return {"segmentation": mask, "area": float(run_lengths.area([mask])[0])}
