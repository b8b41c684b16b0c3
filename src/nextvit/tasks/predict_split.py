"""Predict the images of a split, for scoring."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Arrays, Predict
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Sample
from nextvit.errors import InputError
from nextvit.image.resizing import Prepared
from nextvit.predictions.kind import Scorable, check_finite, kind_of
from nextvit.tasks.task import Shard
from nextvit.views.evaluation_batches import EvaluationBatch, evaluation_batches

Watch = Callable[[Sequence[Sample], Arrays, Sequence[Prepared]], None]
"""Called with the samples, outputs and images of a batch."""


def predict_split(
    predict: Predict, dataset: Dataset, card: ModelCard, *, split: str, shard: Shard, watch: Watch | None = None
) -> tuple[list[Sample], Scorable, list[str]]:
    """Predict the images of a split. Each of several processes predicts its shard, and all get the whole result.

    Args:
        watch: called with the samples, outputs and images of each batch of this process.

    Returns:
        The samples that could be read, their reduced outputs (`PredictionKind.reduce`), and messages about the others.

    Raises:
        InputError: no image of the split can be read, or an output is NaN, infinite or of the wrong shape.
    """
    samples = dataset.split(split)
    start, end = (len(samples) * index // shard.count for index in (shard.index, shard.index + 1))
    kind = kind_of(card)
    read: list[Sample] = []
    found: list[Scorable] = []
    unreadable: list[str] = []
    for batch in make_batches(samples[start:end], card):
        unreadable += batch.unreadable
        if batch.samples:
            read += batch.samples
            outputs = predict(batch.inputs)
            check_finite(outputs)
            if watch:
                watch(batch.samples, outputs, batch.images)
            found.append(kind.reduce(outputs, batch.images))
    parts = shard.gather((read, found, unreadable))
    read, found, unreadable = (list(chain(*part)) for part in zip(*parts, strict=True))
    if not read:
        raise InputError(f"{dataset.root}: no readable image in {split}; first: {unreadable[0]}")
    return read, kind.join(found), unreadable


def make_batches(samples: Sequence[Sample], card: ModelCard) -> Iterator[EvaluationBatch]:
    """Batches of samples, preprocessed for the model of a card."""
    kind = kind_of(card)
    size = card.input.max_batch or kind.batch_size
    return evaluation_batches(samples, card.input, batch_size=size, own_canvas=kind.own_canvas)
