"""What a predict function answers to the images of a split, and what is refused before anything is scored."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Arrays, Predict
from nextvit.data.reading import Dataset
from nextvit.data.samples import Sample
from nextvit.errors import InputError
from nextvit.image.resizing import WHOLE_PICTURES, Prepared, Size
from nextvit.predictions.postprocess import TO_ANSWERS, small_maps_of
from nextvit.tasks.task import Share
from nextvit.views.evaluation_batches import EvaluationBatch, evaluation_batches

Answers = Any
"""One answer for each image, in order, as a task judges it: logits (N, classes) of a classifier, a list with the `Detections`
of each image, or one with its `PackedMap`."""


@dataclass(frozen=True)
class PackedMap:
    """The classes of an image's pixels as the network saw it: packed, for those of a whole split are kept at once."""

    packed: bytes
    shape: Size
    original: Size
    """Of the image before it was resized."""

    @classmethod
    def pack(cls, classes_HW: NDArray[np.uint8], original: Size) -> "PackedMap":
        height, width = classes_HW.shape
        return cls(zlib.compress(classes_HW.tobytes(), level=1), (height, width), original)

    def classes(self) -> NDArray[np.uint8]:
        """The index of the class of each pixel, of `shape`."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.shape)


def check_classes(dataset: Dataset, card: ModelCard) -> None:
    """Raise InputError where the dataset has other classes than the model."""
    if card.classes != dataset.classes:
        raise InputError(
            f"the model knows {describe(card.classes)}, the dataset {dataset.root} has {describe(dataset.classes)}"
        )


def answers(
    predict: Predict,
    dataset: Dataset,
    card: ModelCard,
    *,
    split: str,
    share: Share,
    watch: Callable[[Sequence[Sample], Arrays, Sequence[Prepared]], None] | None = None,
) -> tuple[list[Sample], Answers, list[str]]:
    """The samples that could be read, the answers to them, and messages about the others.

    Of several processes each asks for its share of the images, and all get all answers. `watch` is told the outputs for each
    batch of this process.

    Raises:
        InputError: no image of the split can be read, or an answer is no number.
    """
    samples = dataset.split(split)
    start, end = (len(samples) * index // share.count for index in (share.index, share.index + 1))
    read: list[Sample] = []
    found: list[Answers] = []
    unreadable: list[str] = []
    for batch in batches(samples[start:end], card):
        unreadable += batch.unreadable
        if batch.samples:
            read += batch.samples
            outputs = predict(batch.inputs)
            refuse_no_numbers(outputs)
            if watch:
                watch(batch.samples, outputs, batch.images)
            found.append(judged_part(outputs, batch.images, card))
    parts = share.gather((read, found, unreadable))
    read, found, unreadable = (list(chain(*part)) for part in zip(*parts, strict=True))
    if not read:
        raise InputError(f"{dataset.root}: no readable image in {split}; first: {unreadable[0]}")
    return read, joined(found), unreadable


def batches(samples: Sequence[Sample], card: ModelCard) -> Iterator[EvaluationBatch]:
    """The samples as a model is asked about them."""
    return evaluation_batches(samples, card.input, batch_size=batch_size(card), in_own_frames=card.in_own_frames)


def batch_size(card: ModelCard) -> int:
    """Images that are asked about at once: few of those that are taken whole, or answered pixel by pixel; one of those that
    keep their size."""
    if card.input.resize == "keep":
        return 1
    return WHOLE_PICTURES if card.task in ("detection", "segmentation") else 32


def refuse_no_numbers(outputs: Arrays) -> None:
    """Raise InputError where an output holds what is no number."""
    if not all(np.isfinite(each).all() for each in outputs.values()):
        raise InputError("the model's answers are no numbers; it diverged: train again with a lower --optim.lr")


def judged_part(outputs: Arrays, images: Sequence[Prepared], card: ModelCard) -> Answers:
    """Of a graph's outputs for these images what a task judges."""
    if card.task == "segmentation":
        maps = small_maps_of(outputs, images, card)
        return [PackedMap.pack(each, image.original) for each, image in zip(maps, images, strict=True)]
    return TO_ANSWERS[card.task](outputs, images, card) if card.task == "detection" else outputs["logits"]


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers of several batches, at least one, in order."""
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else list(chain(*parts))


def describe(classes: tuple[str, ...]) -> str:
    """A short word for a set of classes."""
    shown = ", ".join(classes[:4])
    return f"{len(classes)} classes ({shown}{', ...' if len(classes) > 4 else ''})"
