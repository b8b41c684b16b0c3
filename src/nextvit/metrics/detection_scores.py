"""COCO's average precision of boxes and masks, by faster-coco-eval: equal to pycocotools to 1e-12 percent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nextvit.errors import InputError, MissingDependency
from nextvit.image.boxes import box_areas, to_xywh
from nextvit.predictions.results import Detection, Detections

try:
    from faster_coco_eval import COCO, COCOeval_faster
    from faster_coco_eval.core import mask as run_lengths
except ImportError as error:
    raise MissingDependency("faster-coco-eval", extra="train") from error

# T IoU thresholds, R recalls, K classes

Floats = NDArray[np.floating[Any]]
Kind = Literal["box", "mask"]

IOU_THRESHOLDS_T = np.linspace(0.5, 0.95, 10)
RECALLS_R = np.linspace(0.0, 1.0, 101)
AT_50, AT_75 = 0, 5
"""The indices of the IoU thresholds 0.5 and 0.75."""
SIZES = ("small", "medium", "large")
MAX_DETECTIONS = 100
"""COCO's maxDets: so many detections of each class and image count, those of highest confidence."""


class ImageAnnotations(Protocol):
    """The annotated objects of an image, such as `nextvit.data.objects.Objects`."""

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
    """The results of COCO's evaluation; scores are percentages."""

    scores: dict[str, float]
    """`box_ap_score`, `box_ap50_score`, `box_ap75_score` and, for the sizes that occur, `box_ap_small_score`, ...;
    the same names with "mask" for masks."""
    class_scores: list[float | None]
    """AP of each class; None for a class without objects."""
    class_scores_50: list[float | None]
    """AP50, at an IoU of 0.5, of each class; None for a class without objects."""
    precision_TRK: Floats
    """Precision, 0 to 1, at each IoU threshold and recall, of each class; -1 where there are no objects."""


def average_precisions(
    predictions: Sequence[Detections], annotations: Sequence[ImageAnnotations], classes: Sequence[str], *, kind: Kind
) -> AveragePrecisions:
    """Average precision of the detections on images.

    Masks are small, medium or large by the area of the mask, as in MMDetection and Detectron2.

    Args:
        predictions: one for each image, in the order of the annotations.

    Raises:
        InputError: no object is annotated (crowds do not count), so nothing can be scored.
    """
    if not any((~each.crowd).any() for each in annotations):
        raise InputError("no object is annotated on any of these images, so nothing can be scored")
    truth = to_coco_dataset(predictions, annotations, classes, kind=kind)
    found = to_coco_results(predictions, classes, kind=kind)
    evaluation = COCOeval_faster(to_coco_index(truth), to_coco_index({**truth, "annotations": found}), iou_type(kind))
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[
        ..., -1
    ]  # T, R, K, sizes; the last of the maxDets is the largest
    of_all_sizes = precision[..., 0]
    scores = {
        f"{kind}_ap_score": of_all_sizes,
        f"{kind}_ap50_score": of_all_sizes[AT_50],
        f"{kind}_ap75_score": of_all_sizes[AT_75],
    }
    scores |= {f"{kind}_ap_{name}_score": precision[..., size] for size, name in enumerate(SIZES, start=1)}
    means = {name: mean_of_defined(values) for name, values in scores.items()}
    return AveragePrecisions(
        scores={name: mean for name, mean in means.items() if mean is not None},
        class_scores=[mean_of_defined(of_all_sizes[..., label]) for label in range(len(classes))],
        class_scores_50=[mean_of_defined(of_all_sizes[AT_50][..., label]) for label in range(len(classes))],
        precision_TRK=of_all_sizes,
    )


def mean_of_defined(precision: Floats) -> float | None:
    """The mean in percent of the entries that are defined (not -1); None where none is."""
    defined = precision[precision > -1]
    return float(100 * defined.mean()) if len(defined) else None


def iou_type(kind: Kind) -> Literal["bbox", "segm"]:
    return "bbox" if kind == "box" else "segm"


def to_coco_index(dataset: dict[str, Any]) -> COCO:
    """A dataset in COCO's format, as faster-coco-eval's indexed object."""
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def to_coco_dataset(
    predictions: Sequence[Detections], annotations: Sequence[ImageAnnotations], classes: Sequence[str], *, kind: Kind
) -> dict[str, Any]:
    """The annotations in COCO's format. Images, classes and objects are numbered from 1: COCO takes 0 for no match."""
    images = [
        {"id": number, "height": prediction.height, "width": prediction.width}
        for number, prediction in enumerate(predictions, start=1)
    ]
    objects: list[dict[str, Any]] = []
    for image, annotated in zip(images, annotations, strict=True):
        for index, box in enumerate(to_xywh(annotated.boxes).tolist()):
            entry = {
                "id": len(objects) + 1,
                "image_id": image["id"],
                "category_id": int(annotated.labels[index]) + 1,
                "bbox": box,
                "area": float(annotated.areas[index]),
                "iscrowd": int(annotated.crowd[index]),
            }
            objects.append(entry | annotated_mask(annotated, index) if kind == "mask" else entry)
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return {"images": images, "annotations": objects, "categories": categories}


def annotated_mask(annotated: ImageAnnotations, index: int) -> dict[str, Any]:
    """An object's mask, as fields of a COCO annotation.

    An object that is annotated with a box alone counts as a crowd: its outline is not known, so a predicted mask can be
    neither right nor wrong there.
    """
    segmentation = annotated.segmentations[index]
    if segmentation:
        return {"segmentation": segmentation}
    return {"segmentation": [box_polygon(annotated.boxes[index])], "iscrowd": 1}


def box_polygon(box: NDArray[np.floating[Any]]) -> list[float]:
    """A box x1, y1, x2, y2 as a COCO polygon: x and y of each corner."""
    x1, y1, x2, y2 = box.tolist()
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def to_coco_results(predictions: Sequence[Detections], classes: Sequence[str], *, kind: Kind) -> list[dict[str, Any]]:
    """The detections in the format of COCO's results."""
    labels = {name: label for label, name in enumerate(classes)}
    found: list[dict[str, Any]] = []
    for number, prediction in enumerate(predictions, start=1):
        for each in prediction.objects:
            entry = {
                "id": len(found) + 1,
                "image_id": number,
                "category_id": labels[each.label] + 1,
                "score": each.score,
                "iscrowd": 0,
            }
            found.append(entry | predicted_shape(each, kind))
    return found


def predicted_shape(found: Detection, kind: Kind) -> dict[str, Any]:
    """A detection's box or mask, and its area, as fields of a COCO result.

    Raises:
        InputError: `kind` is "mask", but the detection has none.
    """
    if kind == "box":
        box = np.array(found.box)
        return {"bbox": to_xywh(box).tolist(), "area": float(box_areas(box))}
    if found.mask is None:
        raise InputError("a detection without a mask cannot be scored by mask AP")
    # a copy: faster-coco-eval changes its arguments
    mask = dict(found.mask)
    return {"segmentation": mask, "area": float(run_lengths.area([mask])[0])}
