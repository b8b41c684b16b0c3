"""The exam on pictures with masks: the same scores as counted by hand, from what a predict function answers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nextvit.card import ModelCard
from nextvit.data.folder import read_dataset
from nextvit.errors import InputError
from nextvit.masks import IGNORED
from nextvit.metrics.bootstrap import resample_counts
from nextvit.models.segmentation import Lesson
from nextvit.postprocess import TO_ANSWERS
from nextvit.preprocess import Prepared, Preprocess
from nextvit.results import ClassMap
from nextvit.tasks import task_for
from nextvit.tasks.answers import PackedMap
from nextvit.tasks.segmentation import SegmentationTask
from nextvit.tasks.task import Loss
from tests.data.masks_by_hand import CLASSES, draw_masked, repaint

CARD = ModelCard(
    task="segmentation",
    classes=CLASSES,
    input=Preprocess(image_size=(72, 120), resize="fit"),
    variant="nextvit_nano",
    architecture={},
)


def by_colour(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Red is the square, blue the disc; beyond the pictures is nothing."""
    red, green, blue = np.moveaxis(inputs["images"].astype(int), 3, 0)
    classes = np.where((red > 170) & (blue < 90) & (green < 90), 1, np.where((blue > 170) & (red < 90), 2, 0))
    for each, (height, width) in zip(classes, inputs["sizes"], strict=True):
        each[height:] = IGNORED
        each[:, width:] = IGNORED
    return {"classes": classes.astype(np.uint8)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The last pictures of val have an unlabelled top."""
    root = draw_masked(tmp_path / "drawn")
    for only in (2, 3):
        repaint(
            root,
            lambda mask: np.where(np.arange(36)[:, None] < 9, IGNORED, mask).astype(np.uint8),
            split="val",
            only=only,
        )
    return root


def task_at(root: Path) -> SegmentationTask:
    task = task_for(read_dataset(root), CARD)
    assert isinstance(task, SegmentationTask)
    return task


def test_the_scores_are_those_of_all_pixels_at_the_pictures_own_size(root: Path):
    task = task_at(root)
    evaluation = task.evaluate(by_colour)
    hits, union, right, labelled = np.zeros(3), np.zeros(3), 0, 0
    for sample, mask in zip(task.dataset.split("val"), task.dataset.masks["val"], strict=True):
        prepared = CARD.input.prepare(sample.path)
        outputs = by_colour(CARD.input.network_inputs([prepared.pixels]))
        [answer] = TO_ANSWERS["segmentation"](outputs, [prepared], CARD)
        assert isinstance(answer, ClassMap) and answer.labels.shape == mask.shape == (36, 48)
        for label in range(3):
            told, true = answer.labels == label, mask == label
            hits[label] += (told & true).sum()
            union[label] += ((told | true) & (mask != IGNORED)).sum()
        right += (answer.labels == mask).sum()
        labelled += (mask != IGNORED).sum()
    assert evaluation.details["class_scores"] == pytest.approx(100 * hits / union)
    assert evaluation.scores["mean_iou_score"] == pytest.approx(100 * (hits / union).mean())
    assert evaluation.scores["pixel_accuracy_score"] == pytest.approx(100 * right / labelled)
    assert evaluation.main_score == "mean_iou_score" and evaluation.images == 4
    assert 50 < evaluation.interval_95[0] <= evaluation.scores["mean_iou_score"] <= evaluation.interval_95[1] < 100


def test_resamples_are_those_of_the_interval(root: Path):
    task = task_at(root)
    samples = list(task.dataset.split("val"))
    maps = [PackedMap.pack(np.full((18, 24), 0, np.uint8), (36, 48)) for _ in samples]
    counts = resample_counts(4)
    scores = task.resampled(samples, maps, counts)
    assert scores.shape == (1000,)
    once = np.ones((4, 1), np.int32)
    assert task.resampled(samples, maps, once)[0] == pytest.approx(task.judge(samples, maps).scores["mean_iou_score"])


def test_packed_maps_are_small_and_come_back(root: Path):
    classes = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((200, 200), np.uint8))
    packed = PackedMap.pack(classes, (30, 40))
    assert len(packed.packed) < classes.size / 50
    assert np.array_equal(packed.classes(), classes) and packed.original == (30, 40)


def test_a_mask_of_another_size_is_told_by_its_picture(root: Path):
    repaint(root, lambda mask: mask[:30], split="val", only=1)
    with pytest.raises(InputError, match=r"1\.png: is 48x36 px, its mask 48x30; see nextvit check"):
        task_at(root).evaluate(by_colour)


def test_a_split_without_labels_cannot_be_scored(root: Path):
    repaint(root, lambda mask: np.full_like(mask, IGNORED), split="val")
    with pytest.raises(InputError, match="no pixel of these images has a label"):
        task_at(root).evaluate(by_colour)


def test_a_model_of_other_classes_is_refused(root: Path):
    with pytest.raises(InputError, match="the model knows 2 classes"):
        task_for(read_dataset(root), replace(CARD, classes=("background", "square")))


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (np.zeros((1, 64), np.uint8), "answers uint8"),
        (np.zeros((2, 64, 96), np.uint8), "for 1 images of 90x60 px"),
        (np.zeros((1, 32, 96), np.uint8), "for 1 images of 90x60 px"),
        (np.full((1, 64, 96), 3, np.uint8), "answers classes up to 3; its card has 3 classes"),
        (np.zeros((1, 64, 96), np.float32), "answers classes up to 0"),
    ],
)
def test_what_is_no_map_of_these_images_is_refused(classes: NDArray[Any], words: str):
    image = Prepared(np.zeros((60, 90, 3), np.uint8), (30, 45))
    with pytest.raises(InputError, match=words):
        TO_ANSWERS["segmentation"]({"classes": classes}, [image], CARD)


def test_balance_weighs_classes_by_their_training_pixels(root: Path):
    taught: list[Lesson] = []

    class Pupil(torch.nn.Module):
        def forward(self, images: torch.Tensor, lesson: Lesson) -> dict[str, torch.Tensor]:
            taught.append(lesson)
            return {}

    masks = [np.array(Image.open(path)) for path in sorted((root / "masks" / "train").iterdir())]
    shares = np.array([sum(int((mask == label).sum()) for mask in masks) for label in range(3)], np.float64)
    shares /= shares.sum()
    batch = torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, 32, 32, dtype=torch.uint8)
    for balance in (0.0, 0.5):
        task_for(read_dataset(root), CARD, loss=Loss(balance=balance)).losses(Pupil(), *batch)
    plain, balanced = (lesson.weights for lesson in taught)
    assert plain is None
    assert balanced is not None
    expected = shares**-0.5 / (shares * shares**-0.5).sum()
    assert balanced.numpy() == pytest.approx(expected, rel=1e-6)
