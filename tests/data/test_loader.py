"""Batches depend on seed, epoch and position alone."""

import warnings
from pathlib import Path

import numpy as np
import torch

from nextvit.data.augment import Augment
from nextvit.data.folder import read_dataset
from nextvit.data.inputs import evaluation_batches
from nextvit.data.loader import Batch, EpochSampler, TrainingSet, training_batches
from nextvit.preprocess import Preprocess


def batches_of(root: Path, *, epoch: int, workers: int = 0, seed: int = 0) -> list[Batch]:
    samples = read_dataset(root).split("train")
    dataset = TrainingSet(samples, Augment(), image_size=(32, 32), seed=seed)
    sampler = EpochSampler(len(samples), batch_size=5, seed=seed)
    sampler.epoch = epoch
    return list(training_batches(dataset, sampler, workers=workers))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in zip(one, other, strict=True)
    )


def test_batches_are_full_uint8_images_of_the_input_size(shared_colours: Path):
    batches = batches_of(shared_colours, epoch=0)
    assert [len(batch.labels) for batch in batches] == [5, 5, 5, 5]  # 24 images: the last four wait
    assert batches[0].images.shape == (5, 3, 32, 32)
    assert batches[0].images.dtype == torch.uint8


def test_workers_do_not_change_the_batches(shared_colours: Path):
    assert same(batches_of(shared_colours, epoch=3), batches_of(shared_colours, epoch=3, workers=2))


def test_epochs_and_seeds_change_the_batches(shared_colours: Path):
    first = batches_of(shared_colours, epoch=0)
    assert not same(first, batches_of(shared_colours, epoch=1))
    assert not same(first, batches_of(shared_colours, epoch=0, seed=1))


def test_loading_leaves_the_global_generator_alone(shared_colours: Path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    batches_of(shared_colours, epoch=0)
    assert torch.equal(torch.rand(3), expected)


def test_a_pass_takes_every_image_at_most_once():
    sampler = EpochSampler(23, batch_size=5, seed=0)
    indices = [index for batch in sampler for _, index in batch]
    assert len(indices) == len(set(indices)) == 20
    assert len(list(EpochSampler(3, batch_size=32, seed=0))) == 1


def test_unreadable_images_are_named_and_left_out(colours: Path):
    broken = colours / "train" / "red" / "0.png"
    broken.write_bytes(b"no image")
    batches = batches_of(colours, epoch=0)
    [message] = [message for batch in batches for message in batch.unreadable]
    assert str(broken) in message
    assert sum(len(batch.labels) for batch in batches) == 19


def test_evaluation_reads_every_image_in_order_as_serving_does(colours: Path):
    (colours / "val" / "green" / "1.png").write_bytes(b"no image")
    samples, spec = read_dataset(colours).split("val"), Preprocess(image_size=(32, 48))
    filters = list(warnings.filters)
    batches = list(evaluation_batches(samples, spec, batch_size=5))
    assert warnings.filters == filters  # its threads leave the process as it was
    read = [sample for batch in batches for sample in batch.samples]
    assert read == [sample for sample in samples if sample.path.name != "1.png" or sample.path.parent.name != "green"]
    expected = np.stack([spec(sample.path) for sample in read])
    assert np.array_equal(np.concatenate([batch.pixels_NHWC for batch in batches]), expected)
    assert len([message for batch in batches for message in batch.unreadable]) == 1
