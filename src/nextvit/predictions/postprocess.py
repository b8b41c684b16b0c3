"""From the network's outputs to answers: the one definition, in numpy, for every runtime."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard, TaskName
from nextvit.errors import InputError
from nextvit.image.masks import RunLengths, paste
from nextvit.image.resizing import Prepared, Size
from nextvit.predictions.multi_scale import sampled
from nextvit.predictions.results import Answer, Classification, ClassMap, Detection, Detections, Guess, MultiLabel

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]
Outputs = Mapping[str, NDArray[Any]]


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis, in float64: (..., classes) -> (..., classes)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: Floats) -> Floats:
    """The probability of each value alone, in float64."""
    small = np.exp(-np.abs(logits.astype(np.float64)))  # never overflows
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def present(logits: Floats, thresholds: Sequence[float]) -> Booleans:
    """Which classes are answered, of logits (N, classes) with a threshold of the probability for each class."""
    return sigmoid(logits) >= np.asarray(thresholds)


def to_classifications(logits: Floats, *, classes: tuple[str, ...], top: int = 5) -> list[Classification]:
    """One answer for each row of (N, classes); equal probabilities keep the order of the classes."""
    answers: list[Classification] = []
    for row in softmax(logits):
        best: list[int] = np.argsort(-row, kind="stable")[:top].tolist()
        guesses = tuple(Guess(label=classes[index], probability=float(row[index])) for index in best)
        answers.append(Classification(top=guesses))
    return answers


def to_multi_labels(logits: Floats, *, classes: tuple[str, ...], thresholds: Sequence[float]) -> list[MultiLabel]:
    """One answer for each row of (N, classes); equal probabilities keep the order of the classes."""
    answers: list[MultiLabel] = []
    for row, is_present in zip(sigmoid(logits), present(logits, thresholds), strict=True):
        parts: dict[bool, list[Guess]] = {True: [], False: []}
        order: list[int] = np.argsort(-row, kind="stable").tolist()
        for index in order:
            parts[bool(is_present[index])].append(Guess(label=classes[index], probability=float(row[index])))
        answers.append(MultiLabel(present=tuple(parts[True]), absent=tuple(parts[False])))
    return answers


def to_detections(
    outputs: Mapping[str, NDArray[Any]],
    *,
    sizes: Sequence[Size],
    resized: Sequence[Size],
    classes: tuple[str, ...],
    category_ids: tuple[int, ...],
) -> list[Detections]:
    """One answer for each of N pictures.

    Args:
        outputs: `boxes` (N, D, 4) x1, y1, x2, y2 in pixels of the resized pictures; `scores` (N, D), descending, 0 where
            there is no object; `labels` (N, D), indices of classes; of models with masks `masks` (N, D, M, M),
            probabilities inside the boxes.
        sizes: of the pictures as they are, in whose pixels the answers are.
        resized: of the pictures as the network saw them, without what was laid around them.
        classes: names in the order of the labels.
        category_ids: the number of each class in the annotations.
    """
    answers: list[Detections] = []
    for index, ((height, width), (resized_height, resized_width)) in enumerate(zip(sizes, resized, strict=True)):
        there = int((~(outputs["scores"][index] <= 0)).sum())  # what is no number shows as an answer
        scale = np.array([width / resized_width, height / resized_height] * 2)
        boxes: Floats = outputs["boxes"][index, :there].astype(np.float64) * scale
        boxes = np.minimum(np.maximum(boxes, 0), [width, height, width, height])
        masks = masks_of(outputs["masks"][index], boxes, (height, width)) if "masks" in outputs else [None] * there
        labels: list[int] = outputs["labels"][index, :there].tolist()
        scores: list[float] = outputs["scores"][index, :there].tolist()
        objects = tuple(
            Detection(label=classes[label], category_id=category_ids[label], score=score, box=plain_box(box), mask=mask)
            for label, score, box, mask in zip(labels, scores, boxes, masks, strict=True)
        )
        answers.append(Detections(width=width, height=height, objects=objects))
    return answers


def masks_of(probabilities_DMM: Floats, boxes_K4: Floats, size: Size) -> list[RunLengths]:
    """The masks in a picture of `size` of its first K objects."""
    return [paste(each, box.tolist(), size=size) for each, box in zip(probabilities_DMM, boxes_K4, strict=False)]


def plain_box(box: Floats) -> tuple[float, float, float, float]:
    """A box (4,) as plain numbers."""
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2


def logits_of(outputs: Outputs, images: Sequence[Prepared], card: ModelCard) -> Floats:
    """The logits (N, classes) among a classifier's outputs.

    Raises:
        InputError: they are of another shape.
    """
    logits = outputs["logits"]
    if logits.shape != (len(images), len(card.classes)):
        raise InputError(
            f"the model answers {logits.dtype} {logits.shape} for {len(images)} images; "
            f"its card has {len(card.classes)} classes"
        )
    return logits


def detections_of(outputs: Outputs, images: Sequence[Prepared], card: ModelCard) -> list[Detections]:
    """The objects on each image.

    Raises:
        InputError: the outputs are not those of a detector of so many classes.
    """
    check_detections(outputs, images, card)
    return to_detections(
        outputs,
        sizes=[each.original for each in images],
        resized=[each.size for each in images],
        classes=card.classes,
        category_ids=card.category_ids,
    )


def check_detections(outputs: Outputs, images: Sequence[Prepared], card: ModelCard) -> None:
    """Raise InputError where the outputs are not those of a detector of the card's classes."""
    shapes = {name: array.shape for name, array in outputs.items()}
    first = (len(images), *shapes.get("scores", ())[1:])
    rest = {"boxes": (4,), "masks": shapes.get("masks", ())[-2:]}
    expected = {name: (*first, *rest.get(name, ())) for name in card.outputs}
    if len(first) != 2 or shapes != expected:
        raise InputError(f"the model answers {shapes} for {len(images)} images; expected {expected}")
    labels = outputs["labels"]
    if labels.dtype.kind != "i" or (labels < 0).any() or (labels >= len(card.classes)).any():
        raise InputError(
            f"the model answers labels from {labels.min(initial=0)} to {labels.max(initial=0)}; its card has "
            f"{len(card.classes)} classes"
        )


def class_maps_of(outputs: Outputs, images: Sequence[Prepared], card: ModelCard) -> list[ClassMap]:
    """The class of each pixel of the images as they were before they were resized.

    Raises:
        InputError: the outputs are not those of a segmentation model of so many classes.
    """
    maps = small_maps_of(outputs, images, card)
    return [
        ClassMap(classes=card.classes, labels=resized_map(each, image.original))
        for each, image in zip(maps, images, strict=True)
    ]


def small_maps_of(outputs: Outputs, images: Sequence[Prepared], card: ModelCard) -> list[NDArray[np.uint8]]:
    """The classes (height, width) of each image's pixels as the network saw it, without what was laid around it.

    Raises:
        InputError: as `class_maps_of`.
    """
    classes_NHW = outputs["classes"]
    sides = tuple(max(each.size[axis] for each in images) for axis in (0, 1))
    shape = classes_NHW.shape
    if len(shape) != 3 or shape[0] != len(images) or shape[1] < sides[0] or shape[2] < sides[1]:
        raise InputError(
            f"the model answers {classes_NHW.dtype} {shape} for {len(images)} images of {sides[1]}x{sides[0]} px"
        )
    found = [classes_HW[: each.size[0], : each.size[1]] for classes_HW, each in zip(classes_NHW, images, strict=True)]
    if classes_NHW.dtype.kind not in "iu" or any((each >= len(card.classes)).any() for each in found):
        largest = max(each.max() for each in found)
        raise InputError(f"the model answers classes up to {largest}; its card has {len(card.classes)} classes")
    return [each.astype(np.uint8, copy=False) for each in found]


def defect_probabilities(outputs: Outputs, images: Sequence[Prepared], card: ModelCard) -> Iterator[Floats]:
    """Of a model with two classes and their scores, how probable the second is at each pixel (height, width) of each image as
    it was before it was resized: above 0.5 where it is answered.

    Raises:
        InputError: the outputs are not those of such a model.
    """
    logits_NCHW, classes_NHW = outputs["logits"], outputs["classes"]
    if logits_NCHW.ndim != 4 or logits_NCHW.shape[:2] != (len(images), 2):
        raise InputError(f"the model answers scores {logits_NCHW.shape} for {len(images)} images of 2 classes")
    for logits_CHW, image in zip(logits_NCHW, images, strict=True):
        places = [
            (lies_under(new, seen) + 0.5) * (cells / covered) - 0.5
            for new, seen, cells, covered in zip(
                image.original, image.size, logits_CHW.shape[1:], classes_NHW.shape[1:], strict=True
            )
        ]
        [defect_HW] = sampled(logits_CHW[1:] - logits_CHW[:1], *places)
        yield sigmoid(defect_HW)


def lies_under(new: int, old: int) -> Integers:
    """Of a side at its new length, which old pixel lies under the middle of each (new,)."""
    return ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)


def resized_map(classes_HW: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """A map of classes at another size: each pixel has the class that lies under its middle."""
    if classes_HW.shape == size:
        return classes_HW
    rows, columns = (lies_under(new, old) for new, old in zip(size, classes_HW.shape, strict=True))
    return classes_HW[rows[:, None], columns]


TO_ANSWERS: dict[TaskName, Callable[[Outputs, Sequence[Prepared], ModelCard], Sequence[Answer]]] = {
    "classification": lambda outputs, images, card: to_classifications(
        logits_of(outputs, images, card), classes=card.classes
    ),
    "multilabel": lambda outputs, images, card: to_multi_labels(
        logits_of(outputs, images, card), classes=card.classes, thresholds=card.thresholds
    ),
    "detection": detections_of,
    "segmentation": class_maps_of,
}
"""From the outputs of a graph by name, for these images, to an answer for each."""
