"""Semantic segmentation: a class for each pixel."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import SegmentationFacts
from nextvit.errors import InputError
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.reading import Size
from nextvit.image.resizing import Prepared
from nextvit.predictions.activations import sigmoid
from nextvit.predictions.draw_class_map import as_percent, draw_class_map, index_image
from nextvit.predictions.kind import Comparison, Outputs
from nextvit.predictions.packed_class_map import PackedClassMap
from nextvit.predictions.results import ClassMap
from nextvit.predictions.sampling import nearest_indices, resize_class_map, sample_bilinear
from nextvit.predictions.segmentation_parity import LogitsDifference, SegmentationParity, compare_maps

Floats = NDArray[np.floating[Any]]
WHOLE_IMAGES = 4
HEADS = {"fpn": "Semantic FPN", "uper": "UperNet"}


class SegmentationKind:
    """A map of classes as large as the image."""

    batch_size, can_be_tiled = WHOLE_IMAGES, True
    min_score: float | None = None
    columns = ("prediction",)
    same = "same pixels"
    max_error_note = "the largest fraction of an image's pixels"
    parity_note = (
        "Pixels are those of the images as the network saw them; where two classes are equally probable the last digit "
        "decides."
    )

    def __init__(self, card: ModelCard) -> None:
        assert isinstance(card.facts, SegmentationFacts)
        self.card, self.scores, self.own_canvas = card, card.facts.scores, card.input.padded

    def output_meanings(self, *, classes_type: str = "uint8") -> dict[str, str]:
        beyond = f", and {IGNORE_INDEX} beyond the image" if self.card.input.padded else ""
        meanings = {
            "classes": (
                f"(N, H, W) {classes_type}: the class of each pixel, as its index in the card's classes{beyond}"
            ),
        }
        if self.scores:
            meanings["logits"] = (
                "(N, classes, H / 4, W / 4), rounded up, float32: one value for each class at each fourth pixel, in "
                "the card's order; enlarged to H and W (bilinear, corners not aligned), the largest gives the class, "
                "and softmax probabilities"
            )
        return meanings

    def exported_with(self, *, scores: bool, fixed_size: Size | None) -> ModelCard:
        card = with_scores(self.card, scores)
        if fixed_size is None:
            return card
        return replace(card, input=replace(card.input, image_size=fixed_size, resize="stretch"))

    def exported_like(self, other: ModelCard) -> ModelCard:
        if not isinstance(other.facts, SegmentationFacts):
            return self.card
        fixed_size = None if other.input.padded else other.input.image_size
        return self.exported_with(scores=other.facts.scores, fixed_size=fixed_size)

    def reduce(self, outputs: Outputs, images: Sequence[Prepared]) -> list[PackedClassMap]:
        maps = class_maps_of_input(outputs, images, len(self.card.classes))
        return [PackedClassMap.pack(each, image.original) for each, image in zip(maps, images, strict=True)]

    def join(self, parts: Sequence[list[PackedClassMap]]) -> list[PackedClassMap]:
        return list(chain(*parts))

    def read(self, outputs: Outputs, images: Sequence[Prepared]) -> list[ClassMap]:
        maps = class_maps_of_input(outputs, images, len(self.card.classes))
        return [
            ClassMap(classes=self.card.classes, labels=resize_class_map(each, image.original))
            for each, image in zip(maps, images, strict=True)
        ]

    def comparison(self) -> Comparison:
        return SegmentationComparison(self)

    def compare(self, expected: Sequence[PackedClassMap], got: Sequence[PackedClassMap]) -> SegmentationParity:
        return compare_maps(expected, got)

    def parity_rows(self, record: dict[str, Any]) -> list[tuple[str, str]]:
        rows = [
            ("same class", f"{float(record['agreement']):.4%} of {record['pixels']} pixels"),
            ("largest fraction of an image that differs", f"{float(record['max_error']):.2e}"),
        ]
        if record.get("least_overlap") is not None:
            rows.append(("least IoU of a class", f"{float(record['least_overlap']):.4f}"))
        if record["logits_error"] is not None:
            rows.append(("largest difference of logits / standard deviation", f"{float(record['logits_error']):.2e}"))
        return rows

    def parity_line(self, record: dict[str, Any]) -> str:
        return f"{record['pixels']} pixels on {record['images']} images, {record['agreement']:.3%} of the same class"

    def card_rows(self) -> dict[str, Any]:
        head = self.card.head
        what = "the class of each pixel" + (", and the scores of all" if self.scores else "")
        if "head" not in head:
            return {"predicts": what}
        return {
            "predicts": f"{what}, by {HEADS.get(str(head['head']), head['head'])} of {head.get('head_width')} channels"
        }

    def summary(self, prediction: ClassMap) -> tuple[str, ...]:
        return (", ".join(f"{label} {as_percent(fraction)}" for label, fraction in prediction.shares.items()),)

    def filter(self, prediction: ClassMap, min_score: float) -> ClassMap:
        return prediction

    def draw(self, image: Image.Image, prediction: ClassMap) -> Image.Image:
        return draw_class_map(image, prediction)

    def draw_indices(self, prediction: ClassMap) -> Image.Image | None:
        return index_image(prediction)


class SegmentationComparison(Comparison):
    """Keeps class maps and compares them at the end, but compares logits batch by batch: those of all images would not
    fit into memory."""

    def __init__(self, kind: SegmentationKind) -> None:
        super().__init__(kind)
        self.difference = LogitsDifference()

    def add(self, expected: Outputs, got: Outputs, images: Sequence[Prepared]) -> None:
        super().add(expected, got, images)
        if "logits" in expected:
            self.difference.add(expected["logits"], got["logits"])

    def parity(self) -> SegmentationParity:
        return compare_maps(self.expected, self.got, logits_error=self.difference.error)


def with_scores(card: ModelCard, scores: bool) -> ModelCard:
    """The card of a segmentation model with or without its logits as an output."""
    return replace(card, facts=SegmentationFacts(scores=scores))


def class_maps_of_input(outputs: Outputs, images: Sequence[Prepared], num_classes: int) -> list[NDArray[np.uint8]]:
    """The classes (height, width) of each image's pixels as the network saw it, without padding.

    Raises:
        InputError: they are not the outputs of a segmentation model with `num_classes` classes.
    """
    if "classes" not in outputs:
        raise InputError(f"the model puts out {', '.join(outputs)}; a segmentation model puts out classes")
    classes_NHW = outputs["classes"]
    sides = tuple(max(each.size[axis] for each in images) for axis in (0, 1))
    shape = classes_NHW.shape
    if len(shape) != 3 or shape[0] != len(images) or shape[1] < sides[0] or shape[2] < sides[1]:
        raise InputError(
            f"the model puts out {classes_NHW.dtype} {shape} for {len(images)} images of {sides[1]}x{sides[0]} px"
        )
    found = [classes_HW[: each.size[0], : each.size[1]] for classes_HW, each in zip(classes_NHW, images, strict=True)]
    if classes_NHW.dtype.kind not in "iu" or any(((each < 0) | (each >= num_classes)).any() for each in found):
        smallest, largest = min(each.min() for each in found), max(each.max() for each in found)
        raise InputError(f"the model puts out classes from {smallest} to {largest}; its card has {num_classes} classes")
    return [each.astype(np.uint8, copy=False) for each in found]


def defect_probabilities(outputs: Outputs, images: Sequence[Prepared]) -> Iterator[Floats]:
    """Yield the probability of the second of two classes at each pixel (height, width) of each original image; it is
    above 0.5 where that class is predicted.

    Args:
        outputs: of a model with two classes and with logits.

    Raises:
        InputError: they are not the outputs of such a model.
    """
    logits_NCHW, classes_NHW = outputs["logits"], outputs["classes"]
    if logits_NCHW.ndim != 4 or logits_NCHW.shape[:2] != (len(images), 2):
        raise InputError(f"the model puts out scores {logits_NCHW.shape} for {len(images)} images of 2 classes")
    for logits_CHW, image in zip(logits_NCHW, images, strict=True):
        positions = [
            (nearest_indices(new, seen) + 0.5) * (cells / covered) - 0.5
            for new, seen, cells, covered in zip(
                image.original, image.size, logits_CHW.shape[1:], classes_NHW.shape[1:], strict=True
            )
        ]
        [defect_HW] = sample_bilinear(logits_CHW[1:] - logits_CHW[:1], *positions)
        yield sigmoid(defect_HW)
