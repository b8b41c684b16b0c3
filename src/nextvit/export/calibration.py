"""The images that ranges are measured on: from the training split, every class its part."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.data.image_files import list_images
from nextvit.data.reading import is_dataset
from nextvit.data.samples import Sample, Samples
from nextvit.errors import InputError
from nextvit.image.resizing import INPUT_NAME
from nextvit.tasks.reading import read_split
from nextvit.views.evaluation_batches import evaluation_batches

COUNT = 300


def calibration_images(data: Path, card: ModelCard, *, count: int = COUNT, seed: int = 0) -> NDArray[np.uint8]:
    """Real images (N, H, W, 3) at the card's size, N at most `count`.

    Of a dataset they come from the training split, so that the proof on val stays honest, as many of each class as it
    gives; of a plain folder, from all its images.

    Raises:
        InputError: no image can be read.
    """
    if is_dataset(data):
        samples = read_split(data, "train", allow_errors=True).split("train")
    else:
        samples = Samples.pack((path, ()) for path in list_images(data))
    chosen = stratified(samples, count, seed=seed)
    batches = [batch.inputs[INPUT_NAME] for batch in evaluation_batches(chosen, card.input) if batch.samples]
    if not batches:
        raise InputError(f"{data}: no image can be read, and int8 is calibrated on real ones")
    return np.concatenate(batches)


def stratified(samples: Samples, count: int, *, seed: int = 0) -> list[Sample]:
    """`count` samples in a random order, taken from the classes in turn; an image of several classes counts for its
    first. All of them where there are no more."""
    order = np.random.default_rng(seed).permutation(len(samples))
    turns: dict[int, int] = {}
    ranked: list[tuple[int, int, int]] = []
    for position, index in enumerate(order):
        label = next(iter(samples[int(index)].labels), -1)
        turns[label] = turns.get(label, 0) + 1
        ranked.append((turns[label], position, int(index)))
    return [samples[index] for _, _, index in sorted(ranked)[:count]]
