"""What a predict function answers to the images of a split, and what is refused before anything is scored."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle import INPUT_NAME, Predict
from nextvit.card import ModelCard
from nextvit.data.folder import Dataset
from nextvit.data.inputs import evaluation_batches
from nextvit.data.samples import Sample
from nextvit.errors import InputError
from nextvit.tasks.task import Share


def check_classes(dataset: Dataset, card: ModelCard) -> None:
    """Raise InputError where the dataset has other classes than the model."""
    if card.classes != dataset.classes:
        raise InputError(
            f"the model knows {describe(card.classes)}, the dataset {dataset.root} has {describe(dataset.classes)}"
        )


def answers(
    predict: Predict, dataset: Dataset, card: ModelCard, *, split: str, share: Share
) -> tuple[list[Sample], NDArray[np.floating[Any]], list[str]]:
    """The samples that could be read, their logits (N, classes), and messages about the others.

    Of several processes each asks for its share of the images, and all get all answers.

    Raises:
        InputError: no image of the split can be read, or a logit is no number.
    """
    samples = dataset.split(split)
    start, end = (len(samples) * index // share.count for index in (share.index, share.index + 1))
    read: list[Sample] = []
    logits: list[NDArray[Any]] = []
    unreadable: list[str] = []
    for batch in evaluation_batches(samples[start:end], card.input):
        unreadable += batch.unreadable
        if batch.samples:
            read += batch.samples
            logits.append(predict({INPUT_NAME: batch.pixels_NHWC})["logits"])
    parts = share.gather((read, logits, unreadable))
    read, logits, unreadable = (list(chain(*part)) for part in zip(*parts, strict=True))
    if not read:
        raise InputError(f"{dataset.root}: no readable image in {split}; first: {unreadable[0]}")
    joined = np.concatenate(logits)
    if not np.isfinite(joined).all():
        raise InputError("the model's answers are no numbers; it diverged: train again with a lower --optim.lr")
    return read, joined, unreadable


def describe(classes: tuple[str, ...]) -> str:
    """A short word for a set of classes."""
    shown = ", ".join(classes[:4])
    return f"{len(classes)} classes ({shown}{', ...' if len(classes) > 4 else ''})"
