"""Batches depend on seed, epoch and position alone."""

import time
import warnings
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nextvit.image.reading import ImageLike
from nextvit.image.resizing import Prepared, Preprocess
from nextvit.tasks.classification import balancing_weights
from nextvit.tasks.reading import read_dataset
from nextvit.views.annotated_source import AnnotatedSource
from nextvit.views.detection_view import DetectionView
from nextvit.views.evaluation_batches import evaluation_batches
from nextvit.views.settings import DetectionAugment
from nextvit.views.training_batches import (
    Batch,
    EpochSampler,
    TrainingSet,
    training_batches,
)
from tests.data.coco_by_hand import draw_objects
from tests.views.sources import labelled_source


def batches_of(root: Path, *, epoch: int, start: int = 0, workers: int = 0, seed: int = 0) -> list[Batch]:
    samples = read_dataset(root).split("train")
    dataset = TrainingSet(labelled_source(samples), seed=seed)
    sampler = EpochSampler(len(samples), batch_size=5, seed=seed)
    sampler.epoch, sampler.start = epoch, start
    return list(training_batches(dataset, sampler, workers=workers))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return all(torch.equal(a.images, b.images) and a.indices == b.indices for a, b in zip(one, other, strict=True))


def test_batches_are_full_uint8_images_of_the_input_size(shared_colours: Path):
    batches = batches_of(shared_colours, epoch=0)
    assert [len(batch.indices) for batch in batches] == [5, 5, 5, 5]  # 24 images: the last four wait
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


def test_epochs_of_so_many_steps_are_the_batches_of_passes_one_after_the_other():
    """Shorter than a pass, longer, and as long; and from any of their batches on."""
    passes = EpochSampler(23, batch_size=5, seed=1)
    flow: list[list[tuple[int, int]]] = []
    for number in range(8):
        passes.epoch = number
        flow += list(passes)
    for steps in (1, 3, 4, 7, 10):
        epochs = EpochSampler(23, batch_size=5, seed=1, steps=steps)
        assert len(epochs) == steps
        for epoch in range(3):
            for start in range(steps + 1):
                epochs.epoch, epochs.start = epoch, start
                assert list(epochs) == flow[epoch * steps + start : (epoch + 1) * steps]
    parts = [list(EpochSampler(23, batch_size=5, seed=1, steps=7, part=(part, 2))) for part in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == flow[:7]


def test_a_pass_that_starts_later_gives_the_rest_of_the_same_batches(shared_colours: Path):
    whole = batches_of(shared_colours, epoch=2)
    assert same(batches_of(shared_colours, epoch=2, start=3), whole[3:])
    assert batches_of(shared_colours, epoch=2, start=len(whole)) == []


def test_wide_and_high_images_come_in_batches_of_their_own():
    """All but one batch are of one kind, which kind comes first is open, and no image is left out in every epoch."""
    groups = np.arange(50) % 3 == 0
    sampler = EpochSampler(50, batch_size=6, seed=0, groups=groups)
    seen: set[int] = set()
    first: set[bool] = set()
    for sampler.epoch in range(12):
        batches = [[index for _, index in batch] for batch in sampler]
        assert len({index for batch in batches for index in batch}) == 48
        assert sum(len({bool(groups[index]) for index in batch}) > 1 for batch in batches) <= 1
        seen.update(index for batch in batches for index in batch)
        first.add(bool(groups[batches[0][0]]))
    assert seen == set(range(50)) and first == {True, False}
    sampler.start = 5
    assert [[index for _, index in batch] for batch in sampler] == batches[5:]


def test_the_next_batch_of_an_evaluation_is_read_while_one_is_answered(shared_colours: Path):
    samples = read_dataset(shared_colours).split("train")
    read: list[int] = []

    class Recording(Preprocess):
        def prepare(self, image: ImageLike) -> Prepared:
            read.append(1)
            return super().prepare(image)

    batches = evaluation_batches(samples, Recording(image_size=(32, 32)), batch_size=5, threads=1)
    next(batches)
    deadline = time.monotonic() + 30
    while len(read) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(read) == 10
    assert [len(batch.samples) for batch in batches] == [5, 5, 5, 4]
    assert list(evaluation_batches([], Preprocess(image_size=(32, 32)))) == []


def test_processes_share_each_batch_without_overlap():
    whole = list(EpochSampler(40, batch_size=9, seed=1))
    parts = [list(EpochSampler(40, batch_size=9, seed=1, part=(part, 3))) for part in range(3)]
    assert [list(chain(*shares)) for shares in zip(*parts, strict=True)] == whole


def test_unreadable_images_are_named_and_others_stand_in_for_them(colours: Path):
    broken = colours / "train" / "red" / "0.png"
    broken.write_bytes(b"no image")
    batches, again = batches_of(colours, epoch=0), batches_of(colours, epoch=0)
    [message] = [message for batch in batches for message in batch.unreadable]
    assert str(broken) in message
    assert same(batches, again)
    samples = read_dataset(colours).split("train")
    used = [samples[index].path for batch in batches for index in batch.indices]
    assert len(used) == 20 and broken not in used


def test_a_folder_of_nothing_but_broken_images_gives_a_message_instead_of_a_batch(colours: Path):
    for path in (colours / "train").rglob("*.png"):
        path.write_bytes(b"")
    for workers in (0, 1):
        assert "32 images in a row cannot be read" in (batches_of(colours, epoch=0, workers=workers)[0].failure or "")


def test_balanced_drawing_gives_classes_by_the_square_root_of_their_size():
    labels = np.repeat(np.arange(3, dtype=np.int32), (1600, 400, 100))
    sampler = EpochSampler(2100, batch_size=21, seed=0, weights=balancing_weights(labels, 3))
    drawn = np.zeros(3)
    for sampler.epoch in range(30):
        drawn += np.bincount(labels[[index for batch in sampler for _, index in batch]], minlength=3)
    expected = np.array([40, 20, 10]) / 70
    assert np.abs(drawn / drawn.sum() - expected).max() < 0.01


def test_evaluation_reads_every_image_in_order_as_serving_does(colours: Path):
    (colours / "val" / "green" / "1.png").write_bytes(b"no image")
    samples, spec = read_dataset(colours).split("val"), Preprocess(image_size=(32, 48))
    filters = list(warnings.filters)
    batches = list(evaluation_batches(samples, spec, batch_size=5))
    assert warnings.filters == filters  # its threads leave the process as it was
    read = [sample for batch in batches for sample in batch.samples]
    assert read == [sample for sample in samples if sample.path.name != "1.png" or sample.path.parent.name != "green"]
    expected = np.stack([spec(sample.path) for sample in read])
    assert np.array_equal(np.concatenate([batch.inputs["images"] for batch in batches]), expected)
    assert len([message for batch in batches for message in batch.unreadable]) == 1


def test_an_image_of_another_size_than_annotated_is_not_learnt_from(tmp_path: Path):
    root = draw_objects(tmp_path / "drawn", train=1, val=1)
    dataset = read_dataset(root)
    source = AnnotatedSource(
        dataset.split("train"), dataset.annotations["train"], DetectionView(DetectionAugment(), (64, 96))
    )
    assert TrainingSet(source, seed=0).__getitems__([(0, 0)]).failure is None
    Image.new("RGB", (48, 36)).save(root / "images" / "train" / "0.png")
    failure = TrainingSet(source, seed=0).__getitems__([(0, 0)]).failure
    assert failure is not None and "0.png: is 48x36 px, and was annotated as 96x72" in failure
