"""The exam on images with masks: the same scores as counted by hand, from what a predict function answers."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nextvit.errors import InputError
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.resizing import Prepared, Preprocess
from nextvit.metrics.bootstrap import resample_counts
from nextvit.models.segmentation import SegmentationTargets
from nextvit.predictions.kind import kind_of
from nextvit.predictions.packed_class_map import PackedClassMap
from nextvit.predictions.results import ClassMap
from nextvit.predictions.segmentation import defect_probabilities, with_scores
from nextvit.runtime.predictor import make_predictor
from nextvit.runtime.tiled_session import Tiling
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.segmentation import SegmentationTask
from nextvit.tasks.segmentation_evaluation import SegmentationEvaluator
from nextvit.tasks.settings import SegmentationLoss, SegmentationSettings
from nextvit.tasks.task import Shard, make_evaluator
from nextvit.views.masked_source import MaskTargets
from tests.data.masks_by_hand import draw_masked, read_mask, repaint
from tests.tasks.by_colour import CARD, by_colour, find_task


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The last images of val have an unlabelled top."""
    root = draw_masked(tmp_path / "drawn")
    for only in (2, 3):
        repaint(
            root,
            lambda mask: np.where(np.arange(36)[:, None] < 9, IGNORE_INDEX, mask).astype(np.uint8),
            split="val",
            only=only,
        )
    return root


def test_the_scores_are_those_of_all_pixels_at_the_images_own_size(root: Path):
    task = find_task(root)
    evaluation = task.evaluate(by_colour)
    hits, union, right, labelled = np.zeros(3), np.zeros(3), 0, 0
    for sample, mask in zip(task.dataset.split("val"), task.dataset.masks["val"], strict=True):
        prepared = CARD.input.prepare(sample.path)
        outputs = by_colour(CARD.input.network_inputs([prepared.pixels]))
        [answer] = kind_of(CARD).read(outputs, [prepared])
        assert isinstance(answer, ClassMap) and answer.labels.shape == mask.shape == (36, 48)
        for label in range(3):
            told, true = answer.labels == label, mask == label
            hits[label] += (told & true).sum()
            union[label] += ((told | true) & (mask != IGNORE_INDEX)).sum()
        right += (answer.labels == mask).sum()
        labelled += (mask != IGNORE_INDEX).sum()
    assert evaluation.details["class_scores"] == pytest.approx(100 * hits / union)
    assert evaluation.scores["mean_iou_score"] == pytest.approx(100 * (hits / union).mean())
    assert evaluation.scores["pixel_accuracy_score"] == pytest.approx(100 * right / labelled)
    assert evaluation.main_score == "mean_iou_score" and evaluation.images == 4
    assert 50 < evaluation.interval_95[0] <= evaluation.scores["mean_iou_score"] <= evaluation.interval_95[1] < 100


def test_resamples_are_those_of_the_interval(root: Path):
    task = find_task(root)
    samples = list(task.dataset.split("val"))
    maps = [PackedClassMap.pack(np.full((18, 24), 0, np.uint8), (36, 48)) for _ in samples]
    counts = resample_counts(4)
    scores = task.resampled_scores(samples, maps, counts)
    assert scores.shape == (1000,)
    once = np.ones((4, 1), np.int32)
    assert task.resampled_scores(samples, maps, once)[0] == pytest.approx(
        task.score(samples, maps).scores["mean_iou_score"]
    )


def test_packed_maps_are_small_and_come_back(root: Path):
    classes = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((200, 200), np.uint8))
    packed = PackedClassMap.pack(classes, (30, 40))
    assert len(packed.packed) < classes.size / 50
    assert np.array_equal(packed.classes(), classes) and packed.original == (30, 40)


def test_a_mask_of_another_size_is_told_by_its_image(root: Path):
    repaint(root, lambda mask: mask[:30], split="val", only=1)
    with pytest.raises(InputError, match=r"1\.png: is 48x36 px, its mask 48x30; see nextvit check"):
        find_task(root).evaluate(by_colour)


def test_a_split_without_labels_cannot_be_scored(root: Path):
    repaint(root, lambda mask: np.full_like(mask, IGNORE_INDEX), split="val")
    with pytest.raises(InputError, match="no pixel of these images has a label"):
        find_task(root).evaluate(by_colour)


def test_a_model_of_other_classes_is_refused(root: Path):
    with pytest.raises(InputError, match="the model has 2 classes"):
        make_evaluator(read_dataset(root), replace(CARD, classes=("background", "square")))


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (np.zeros((1, 64), np.uint8), "puts out uint8"),
        (np.zeros((2, 64, 96), np.uint8), "for 1 images of 90x60 px"),
        (np.zeros((1, 32, 96), np.uint8), "for 1 images of 90x60 px"),
        (np.full((1, 64, 96), 3, np.uint8), "puts out classes from 3 to 3; its card has 3 classes"),
        (np.full((1, 64, 96), -1, np.int64), "puts out classes from -1 to -1"),
        (np.zeros((1, 64, 96), np.float32), "puts out classes from 0.0 to 0.0"),
    ],
)
def test_what_is_no_map_of_these_images_is_refused(classes: NDArray[Any], words: str):
    image = Prepared(np.zeros((60, 90, 3), np.uint8), (30, 45))
    with pytest.raises(InputError, match=words):
        kind_of(CARD).read({"classes": classes}, [image])


def test_balance_weighs_classes_by_their_training_pixels(root: Path):
    received: list[SegmentationTargets] = []

    class RecordingModel(torch.nn.Module):
        def forward(self, images: torch.Tensor, targets: SegmentationTargets) -> dict[str, torch.Tensor]:
            received.append(targets)
            return {}

    masks = [np.array(Image.open(path)) for path in sorted((root / "masks" / "train").iterdir())]
    shares = np.array([sum(int((mask == label).sum()) for mask in masks) for label in range(3)], np.float64)
    shares /= shares.sum()
    targets = MaskTargets(torch.zeros(1, 32, 32, dtype=torch.uint8))
    for balance in (0.0, 0.5):
        settings = SegmentationSettings(loss=SegmentationLoss(balance=balance))
        objective = SegmentationTask().objective(read_dataset(root), CARD, settings, torch.device("cpu"))
        objective.losses(RecordingModel(), torch.zeros(1, 3, 32, 32, dtype=torch.uint8), targets)
    plain, balanced = (targets.class_weights_C for targets in received)
    assert plain is None
    assert balanced is not None
    expected = shares**-0.5 / (shares * shares**-0.5).sum()
    assert balanced.numpy() == pytest.approx(expected, rel=1e-6)


SOUND = replace(CARD, classes=("sound", "square"), input=Preprocess(image_size=(32, 64), resize="pad"))


@pytest.fixture
def sound_root(root: Path) -> Path:
    """Only squares are defects, and two images of val have none."""
    (root / "classes.txt").write_text("sound\nsquare\n")
    for split, count in (("train", 12), ("val", 4)):
        for only in range(count):
            sound = split == "val" and only in (1, 2)
            repaint(
                root,
                lambda mask, sound=sound: np.where(mask == 2, 0, np.where((mask == 1) & sound, 0, mask)).astype(
                    np.uint8
                ),
                split=split,
                only=only,
            )
    return root


def reddish(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The redder a cell of 4 px, the more of a defect; the classes are told by the enlarged scores, as in a network's
    graph."""
    images = inputs["images"].astype(float)
    count, height, width, _ = images.shape
    cells = images.reshape(count, height // 4, 4, width // 4, 4, 3).mean(axis=(2, 4))
    score = (cells[..., 0] - cells[..., 1:].mean(axis=3)) / 50 - 1
    logits = np.stack([-score / 2, score / 2], axis=1).astype(np.float32)
    classes = np.array([[[enlarged(s, y, x) > 0 for x in range(width)] for y in range(height)] for s in score])
    return {"classes": classes.astype(np.uint8), "logits": logits}


def enlarged(cells: NDArray[Any], y: float, x: float) -> float:
    """The score at a pixel between the middles of the cells, bilinear."""
    down, across = ((place + 0.5) / 4 - 0.5 for place in (y, x))
    down, across = min(max(down, 0), len(cells) - 1), min(max(across, 0), len(cells[0]) - 1)
    top, left = int(down), int(across)
    below, right = min(top + 1, len(cells) - 1), min(left + 1, len(cells[0]) - 1)
    upper = cells[top, left] * (1 - across + left) + cells[top, right] * (across - left)
    lower = cells[below, left] * (1 - across + left) + cells[below, right] * (across - left)
    return upper * (1 - down + top) + lower * (down - top)


def probabilities_by_hand(task: SegmentationTask) -> tuple[list[float], list[bool], list[float], list[bool]]:
    """Of all labelled pixels, and of the images, how probable a defect is and whether there is one: pixel by pixel."""
    pixels, defects, images, bad = [], [], [], []
    for sample, mask in zip(task.dataset.split("val"), task.dataset.masks["val"], strict=True):
        prepared = task.card.input.prepare(sample.path)
        logits = reddish(task.card.input.network_inputs([prepared.pixels]))["logits"][0].astype(float)
        of_image = []
        for y in range(36):
            for x in range(48):
                if mask[y, x] != IGNORE_INDEX:
                    seen_y, seen_x = (
                        int((at + 0.5) * to / of) for at, to, of in zip((y, x), prepared.size, (36, 48), strict=True)
                    )
                    of_image.append(1 / (1 + np.exp(-enlarged(logits[1] - logits[0], seen_y, seen_x))))
                    defects.append(bool(mask[y, x]))
        pixels += of_image
        images.append(max(of_image))
        bad.append(bool(defects[-len(of_image) :].count(True)))
    return pixels, defects, images, bad


def area(scores: list[float], defect: list[bool]) -> float:
    """How often a defect scores higher than what is sound, in percent."""
    scores_N, defect_N = np.array(scores).round(4), np.array(defect)
    higher = scores_N[defect_N][:, None] - scores_N[~defect_N]
    return 100 * float(np.mean((higher > 0) + 0.5 * (higher == 0)))


def test_defects_are_judged_as_by_hand_and_the_other_scores_stay(sound_root: Path):
    task = make_evaluator(read_dataset(sound_root), SOUND)
    assert isinstance(task, SegmentationEvaluator)
    evaluation = task.evaluate(reddish, false_alarms=5)
    found = evaluation.details["segmentation"]["defects"]
    pixels, defects, images, bad = probabilities_by_hand(task)
    assert bad == [True, False, False, True]
    assert found["pixel_auroc"] == pytest.approx(area(pixels, defects), abs=0.05) and 50 < found["pixel_auroc"] < 100
    assert found["image_auroc"] == area(images, bad)
    for name, scores, truth in (("pixel", pixels, defects), ("image", images, bad)):
        miss = found[f"{name}_miss"]
        threshold = np.inf if miss["threshold"] is None else miss["threshold"] - 1e-5
        alarms, is_defect = np.array(scores) >= threshold, np.array(truth)
        assert miss["false_alarm_rate"] == pytest.approx(100 * alarms[~is_defect].mean(), abs=0.05)
        assert miss["false_alarm_rate"] <= 5
        assert miss["miss_rate"] == pytest.approx(100 * (~alarms[is_defect]).mean(), abs=0.5)
    assert found["false_alarms"] == 5

    def without(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {"classes": reddish(inputs)["classes"]}

    plain = task.evaluate(without)
    assert "defects" not in plain.details["segmentation"]
    assert (plain.scores, plain.interval_95) == (evaluation.scores, evaluation.interval_95)


def test_a_pixel_is_answered_as_a_defect_where_that_is_the_more_probable(sound_root: Path):
    for spec in (SOUND.input, Preprocess(image_size=(64, 32), resize="stretch")):
        card = replace(SOUND, input=spec)
        prepared = spec.prepare(sound_root / "images" / "val" / "0.png")
        outputs = reddish(spec.network_inputs([prepared.pixels]))
        [answer], [probability] = kind_of(card).read(outputs, [prepared]), defect_probabilities(outputs, [prepared])
        sure = np.abs(probability - 0.5) > 1e-6
        assert probability.shape == (36, 48) and np.array_equal((probability > 0.5)[sure], answer.labels[sure] == 1)


def test_several_processes_judge_defects_together(sound_root: Path):
    task = make_evaluator(read_dataset(sound_root), SOUND)
    both, slots = threading.Barrier(2), [None, None]

    def share_of(index: int) -> Shard:
        def gather(value: Any) -> list[Any]:
            slots[index] = value
            both.wait()
            found = list(slots)
            both.wait()
            return found

        return Shard(index=index, count=2, gather=gather)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda index: task.evaluate(reddish, split="val", shard=share_of(index)), range(2))
    alone = task.evaluate(reddish, split="val")
    assert first.details == second.details == alone.details and "defects" in alone.details["segmentation"]


def test_where_nothing_is_sound_or_nothing_a_defect_nothing_is_told_of_them(sound_root: Path):
    repaint(sound_root, lambda mask: np.zeros_like(mask), split="val")
    found = (
        make_evaluator(read_dataset(sound_root), SOUND)
        .evaluate(reddish, split="val")
        .details["segmentation"]["defects"]
    )
    assert found == {
        "pixel_auroc": None, "image_auroc": None, "pixel_miss": None, "image_miss": None, "false_alarms": 1.0,
    }  # fmt: skip


def test_scores_of_other_classes_are_refused(sound_root: Path):
    def three(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        outputs = reddish(inputs)
        return {**outputs, "logits": np.concatenate([outputs["logits"], outputs["logits"][:, :1]], axis=1)}

    with pytest.raises(InputError, match=r"the model puts out scores \(4, 3, 8, 16\) for 4 images of 2 classes"):
        make_evaluator(read_dataset(sound_root), SOUND).evaluate(three, split="val")


def test_in_views_the_defects_are_those_of_the_views(sound_root: Path):
    task = make_evaluator(read_dataset(sound_root), SOUND)
    plain = task.evaluate(reddish, split="val").details["segmentation"]["defects"]

    class Session:
        def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            return reddish(inputs)

        def facts(self) -> dict[str, Any]:
            return {}

    for tiling in (Tiling(window_px=32), Tiling(flip=True)):
        predictor = make_predictor(Session(), with_scores(SOUND, True), tiling, scores=True)
        evaluator = make_evaluator(read_dataset(sound_root), predictor.card)
        found = evaluator.evaluate(predictor.session.run, split="val")
        defects = found.details["segmentation"]["defects"]
        assert found.images == 4 and defects["pixel_auroc"] == pytest.approx(plain["pixel_auroc"], abs=5)


def blurred(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Class 1 where a pixel is brighter than the mean of its frame: the blank part has a say, as in a network."""
    grey = inputs["images"].astype(float).mean(axis=3)
    return {"classes": (grey > grey.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)}


def test_an_image_is_answered_alike_whatever_its_batch(tmp_path: Path):
    root, seen = draw_masked(tmp_path / "drawn"), list[tuple[int, ...]]()
    for split, only in (("val", 1), ("val", 2)):  # two low ones between two of 48x36 px
        for kind in ("images", "masks"):
            path = root / kind / split / f"{only}.png"
            Image.open(path).crop((0, 0, 48, 12)).save(path)

    class Session:
        def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            seen.append(inputs["images"].shape)
            return blurred(inputs)

        def facts(self) -> dict[str, Any]:
            return {}

    card = replace(CARD, input=Preprocess(image_size=(64, 64), resize="pad"))
    paths = [root / "images" / "val" / f"{index}.png" for index in range(4)]
    predictor = make_predictor(Session(), card, None)
    together, alone = predictor(paths), [predictor([path])[0] for path in paths]
    assert seen[:3] == [(1, 64, 64, 3), (2, 32, 64, 3), (1, 64, 64, 3)]
    for first, second in zip(together, alone, strict=True):
        assert isinstance(first, ClassMap) and isinstance(second, ClassMap)
        assert np.array_equal(first.labels, second.labels) and len(np.unique(first.labels)) == 2
    seen.clear()
    evaluation = make_evaluator(read_dataset(root), card).evaluate(Session().run, split="val")
    assert seen == [(1, 64, 64, 3), (2, 32, 64, 3), (1, 64, 64, 3)] and evaluation.images == 4
    truth = [read_mask(root / "masks" / "val" / f"{index}.png") for index in range(4)]
    told = [answer.labels for answer in alone if isinstance(answer, ClassMap)]
    right = sum(int((mask == each).sum()) for mask, each in zip(truth, told, strict=True))
    assert evaluation.scores["pixel_accuracy_score"] == pytest.approx(100 * right / sum(mask.size for mask in truth))
