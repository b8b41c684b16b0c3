"""Detection: any number of objects on each image, as boxes and perhaps masks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionFacts, DetectionLimits
from nextvit.errors import InputError
from nextvit.image.masks import MASK_THRESHOLD, RunLengths, paste_mask
from nextvit.image.reading import Size
from nextvit.image.resizing import Prepared
from nextvit.predictions.detection_parity import DetectionParity, compare_detections
from nextvit.predictions.draw_detections import draw_detections
from nextvit.predictions.kind import Comparison, Outputs, refuse_export_options
from nextvit.predictions.results import Detection, Detections

Floats = NDArray[np.floating[Any]]
WHOLE_IMAGES = 4
"""Images in a run of the graph: they are not cropped, and larger than a classifier's."""
MASK_SIDE = 28
"""Side of the masks that a mask head puts out, in cells."""


class DetectionKind:
    """Objects, the highest score first."""

    batch_size, own_canvas, can_be_tiled = WHOLE_IMAGES, False, False
    min_score: float | None = 0.3
    columns = ("prediction", "best score")
    same = "same objects"
    max_error_note = "of scores, 0 to 1"
    parity_note = (
        "Two objects are the same where class and box (intersection over union of at least 0.99) agree, and scores, "
        "which are 0 to 1, to a thousandth."
    )

    def __init__(self, card: ModelCard) -> None:
        assert isinstance(card.facts, DetectionFacts)
        self.card, self.category_ids, self.limits = card, card.facts.category_ids, DetectionLimits.of(card.head)

    def output_meanings(self, *, classes_type: str = "uint8") -> dict[str, str]:
        most, threshold = self.limits.detections, self.limits.score_threshold
        nothing = "0 where there is no further object"
        meanings = {
            "boxes": f"(N, {most}, 4) float32: x1, y1, x2, y2 of at most {most} objects, "
            f"in pixels of the scaled image; {nothing}",
            "scores": f"(N, {most}) float32: probability of each object's class, "
            f"above {threshold:g} and falling; {nothing}",
            "labels": f"(N, {most}) int64: class of each object, as its index in the card's classes",
        }
        if self.limits.masks:
            meanings["masks"] = (
                f"(N, {most}, {MASK_SIDE}, {MASK_SIDE}) float32: probability that each part of the object's box "
                f"belongs to it, which it does from {MASK_THRESHOLD:g} on"
            )
        return meanings

    def exported_with(self, *, scores: bool, fixed_size: Size | None) -> ModelCard:
        return refuse_export_options(self.card, scores=scores, fixed_size=fixed_size)

    def exported_like(self, other: ModelCard) -> ModelCard:
        return self.card

    def reduce(self, outputs: Outputs, images: Sequence[Prepared]) -> list[Detections]:
        self.check(outputs, images)
        return to_detections(
            outputs,
            sizes=[each.original for each in images],
            resized=[each.size for each in images],
            classes=self.card.classes,
            category_ids=self.category_ids,
        )

    read = reduce

    def join(self, parts: Sequence[list[Detections]]) -> list[Detections]:
        return list(chain(*parts))

    def check(self, outputs: Outputs, images: Sequence[Prepared]) -> None:
        """Raise InputError unless these are the outputs of a detector with the card's classes."""
        shapes = {name: array.shape for name, array in outputs.items()}
        first = (len(images), *shapes.get("scores", ())[1:])
        rest = {"boxes": (4,), "masks": shapes.get("masks", ())[-2:]}
        expected = {name: (*first, *rest.get(name, ())) for name in self.output_meanings()}
        if len(first) != 2 or shapes != expected:
            raise InputError(f"the model puts out {shapes} for {len(images)} images; expected {expected}")
        labels = outputs["labels"]
        if labels.dtype.kind != "i" or (labels < 0).any() or (labels >= len(self.card.classes)).any():
            raise InputError(
                f"the model puts out labels from {labels.min(initial=0)} to {labels.max(initial=0)}; its card has "
                f"{len(self.card.classes)} classes"
            )

    def comparison(self) -> Comparison:
        return Comparison(self)

    def compare(self, expected: Sequence[Detections], got: Sequence[Detections]) -> DetectionParity:
        return compare_detections(expected, got, self.limits)

    def parity_rows(self, record: dict[str, Any]) -> list[tuple[str, str]]:
        rows = [
            ("same objects", f"{float(record['agreement']):.2%} of {record['objects']}"),
            ("largest difference of scores", f"{float(record['max_error']):.2e}"),
        ]
        if record["mask_iou"] is not None:
            rows.append(("mean IoU of masks", f"{float(record['mask_iou']):.5f}"))
        return rows

    def parity_line(self, record: dict[str, Any]) -> str:
        found = f"{record['objects']} objects on {record['images']} images"
        return f"{found}, largest difference of scores {record['max_error']:.1e}"

    def card_rows(self) -> dict[str, Any]:
        limits = self.limits
        what = "boxes and masks" if limits.masks else "boxes"
        suppression = f"of two of a class whose IoU is above {limits.iou:g} the one of the higher score"
        masks = f"; a mask's pixels from {MASK_THRESHOLD:g} on" if limits.masks else ""
        return {
            "predicts": f"{what} of at most {limits.detections} objects, of scores above {limits.score_threshold:g}; "
            f"{suppression}{masks}",
            "category ids": list(self.category_ids),
        }

    def summary(self, prediction: Detections) -> tuple[str, ...]:
        counts = Counter(each.label for each in prediction.objects).most_common()
        best = f"{prediction.objects[0].score:.1%}" if counts else ""
        return ", ".join(f"{count} {label}" for label, count in counts) or "none", best

    def filter(self, prediction: Detections, min_score: float) -> Detections:
        return replace(prediction, objects=tuple(each for each in prediction.objects if each.score >= min_score))

    def draw(self, image: Image.Image, prediction: Detections) -> Image.Image:
        return draw_detections(image, prediction, classes=self.card.classes)

    def draw_indices(self, prediction: Detections) -> Image.Image | None:
        return None


def to_detections(
    outputs: Outputs,
    *,
    sizes: Sequence[Size],
    resized: Sequence[Size],
    classes: tuple[str, ...],
    category_ids: tuple[int, ...],
) -> list[Detections]:
    """The objects of each of N images.

    Args:
        outputs: `boxes` (N, D, 4) x1, y1, x2, y2 in pixels of the resized images; `scores` (N, D), descending, 0 where
            there is no object; `labels` (N, D), indices of classes; of models with masks `masks` (N, D, M, M),
            probabilities inside the boxes.
        sizes: of the original images, in whose pixels the predictions are.
        resized: of the images as the network saw them, without padding.
        classes: names in the order of the labels.
        category_ids: the id of each class in the annotations.
    """
    predictions: list[Detections] = []
    for index, ((height, width), (resized_height, resized_width)) in enumerate(zip(sizes, resized, strict=True)):
        count = int((~(outputs["scores"][index] <= 0)).sum())  # NaN counts as an object, to be seen
        scale = np.array([width / resized_width, height / resized_height] * 2)
        boxes: Floats = outputs["boxes"][index, :count].astype(np.float64) * scale
        boxes = np.minimum(np.maximum(boxes, 0), [width, height, width, height])
        masks = paste_masks(outputs["masks"][index], boxes, (height, width)) if "masks" in outputs else [None] * count
        labels: list[int] = outputs["labels"][index, :count].tolist()
        scores: list[float] = outputs["scores"][index, :count].tolist()
        objects = tuple(
            Detection(label=classes[label], category_id=category_ids[label], score=score, box=plain_box(box), mask=mask)
            for label, score, box, mask in zip(labels, scores, boxes, masks, strict=True)
        )
        predictions.append(Detections(width=width, height=height, objects=objects))
    return predictions


def paste_masks(probabilities_DMM: Floats, boxes_K4: Floats, size: Size) -> list[RunLengths]:
    """The masks of the first K objects in an image of `size`."""
    return [paste_mask(each, box.tolist(), size=size) for each, box in zip(probabilities_DMM, boxes_K4, strict=False)]


def plain_box(box: Floats) -> tuple[float, float, float, float]:
    """A box (4,) as plain numbers."""
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
