"""The exam and the losses for images with objects."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionFacts
from nextvit.bundle.manifest import Arrays
from nextvit.data.dataset import Dataset
from nextvit.data.object_masks import rasterize_mask
from nextvit.data.objects import Targets
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.detection import LIGHT_MASK_RCNN
from nextvit.tasks.detection import DetectionTask
from nextvit.tasks.detection_evaluation import DetectionEvaluator
from nextvit.tasks.predict_split import predict_split
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.settings import DetectionLoss, DetectionSettings
from nextvit.tasks.task import WHOLE, Objective, Shard, make_evaluator
from nextvit.views.annotated_source import ObjectTargets
from tests.data.coco_by_hand import HEIGHT, WIDTH, draw_objects, spoil
from tests.tasks.cards import card

SIDE = 28


def detection_card(**changes: object) -> ModelCard:
    facts = {
        "task": "detection",
        "classes": ("square", "disc"),
        "facts": DetectionFacts(category_ids=(3, 7)),
        "input": Preprocess(image_size=(64, 107), resize="pad"),
        "head": to_plain(LIGHT_MASK_RCNN),
    }
    return card(**{**facts, **changes})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(draw_objects(tmp_path_factory.mktemp("exam") / "drawn"))


def evaluator(dataset: Dataset, **changes: object) -> DetectionEvaluator:
    return DetectionEvaluator(dataset, detection_card(**changes))


def objective(dataset: Dataset, samples: int) -> Objective:
    loss = DetectionLoss(proposal_samples=samples, region_samples=samples)
    return DetectionTask().objective(dataset, detection_card(), DetectionSettings(loss=loss), torch.device("cpu"))


def all_knowing(
    dataset: Dataset, split: str, *, indices: Sequence[int] | None = None, shift: float = 0.0
) -> Callable[[Arrays], Arrays]:
    """A predict function that has the annotations, and is asked for the images in their order; boxes may be off by a
    shift in pixels."""
    order = iter(indices if indices is not None else range(len(dataset.split(split))))

    def predict(inputs: Arrays) -> Arrays:
        count = len(inputs["images"])
        outputs = {
            "boxes": np.zeros((count, 5, 4), np.float32),
            "scores": np.zeros((count, 5), np.float32),
            "labels": np.zeros((count, 5), np.int64),
            "masks": np.zeros((count, 5, SIDE, SIDE), np.float32),
        }
        for number, (height, width) in enumerate(inputs["sizes"].tolist()):
            objects = dataset.annotations[split][next(order)]
            scale = np.array([width / WIDTH, height / HEIGHT] * 2, np.float32)
            for place, (box, label) in enumerate(zip(objects.boxes, objects.labels, strict=True)):
                outputs["boxes"][number, place] = (box + shift) * scale
                outputs["scores"][number, place] = 0.9 - 0.1 * place
                outputs["labels"][number, place] = label
                whole = rasterize_mask(objects.segmentations[place], HEIGHT, WIDTH)
                x1, y1, x2, y2 = box.round().astype(int).tolist()
                part = Image.fromarray(whole[y1:y2, x1:x2].astype(np.uint8) * 255)
                outputs["masks"][number, place] = np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) / 255
        return outputs

    return predict


def test_the_evaluation_takes_any_predict_function(dataset: Dataset):
    evaluation = evaluator(dataset).evaluate(all_knowing(dataset, "val"), split="val")
    assert (evaluation.main_score, evaluation.images) == ("box_ap_score", 4)
    assert evaluation.scores["box_ap_score"] == pytest.approx(100)
    assert evaluation.scores["mask_ap_score"] > 80
    assert evaluation.interval_95 == pytest.approx((100, 100))
    assert evaluation.details["classes"] == ["square", "disc"]
    assert evaluation.details["detection"]["class_objects"] == [4, 4]
    assert evaluation.unreadable == []


def test_the_training_split_can_be_judged_too(dataset: Dataset):
    evaluation = evaluator(dataset).evaluate(all_knowing(dataset, "train"), split="train")
    assert evaluation.images == 12 and evaluation.scores["box_ap_score"] == pytest.approx(100)


def test_predictions_give_back_the_datasets_own_numbers_and_pixels(dataset: Dataset):
    samples, given, _ = predict_split(all_knowing(dataset, "val"), dataset, detection_card(), split="val", shard=WHOLE)
    assert len(samples) == 4
    for index, answer in enumerate(given):
        assert (answer.width, answer.height) == (WIDTH, HEIGHT)
        assert [each.category_id for each in answer.objects] == [3, 7]
        got = np.array([each.box for each in answer.objects])
        assert np.abs(got - dataset.annotations["val"][index].boxes).max() < 1e-3


def test_a_model_for_boxes_alone_is_judged_by_its_boxes(dataset: Dataset):
    def without_masks(inputs: Arrays) -> Arrays:
        return {name: each for name, each in knows(inputs).items() if name != "masks"}

    knows = all_knowing(dataset, "val")
    evaluation = evaluator(dataset, head=to_plain(replace(LIGHT_MASK_RCNN, masks=False))).evaluate(
        without_masks, split="val"
    )
    assert evaluation.scores["box_ap_score"] == pytest.approx(100)
    assert not any(name.startswith("mask") for name in evaluation.scores)


def test_several_processes_share_an_evaluation(dataset: Dataset):
    parts: list[object] = []
    for index in range(2):
        keep = Shard(index=index, count=2, gather=lambda value: parts.append(value) or [value])
        own = range(2 * index, 2 * index + 2)
        evaluator(dataset).evaluate(all_knowing(dataset, "val", indices=own, shift=1.5), split="val", shard=keep)
    share = Shard(index=1, count=2, gather=lambda value: parts)
    whole = evaluator(dataset).evaluate(all_knowing(dataset, "val", indices=range(2, 4)), split="val", shard=share)
    assert whole == evaluator(dataset).evaluate(all_knowing(dataset, "val", shift=1.5), split="val")
    assert whole.scores["box_ap_score"] < 100


def test_a_resample_that_takes_each_image_once_has_the_exams_score(dataset: Dataset):
    judged = evaluator(dataset)
    samples, given, _ = predict_split(
        all_knowing(dataset, "val", shift=1.5), dataset, judged.card, split="val", shard=WHOLE
    )
    once = judged.resampled_scores(samples, given, np.ones((4, 1), np.int32))
    assert once == pytest.approx([judged.score(samples, given).scores["box_ap_score"]])


def test_an_image_of_another_size_than_annotated_is_named(tmp_path: Path):
    root = draw_objects(tmp_path / "drawn", train=2, val=2)
    path = root / "images" / "val" / "1.png"
    Image.open(path).resize((48, 36)).save(path)
    spoilt = read_dataset(root)
    with pytest.raises(InputError, match=r"1\.png: is 48x36 px, and was annotated as 96x72; see nextvit check"):
        evaluator(spoilt).evaluate(all_knowing(spoilt, "val"), split="val")


def test_a_model_with_masks_is_scored_by_its_boxes_where_there_are_boxes_alone(tmp_path: Path):
    root = draw_objects(tmp_path / "drawn", train=2, val=2)
    drawn = read_dataset(root)
    for split in ("train", "val"):
        spoil(root, lambda content: [each.pop("segmentation") for each in content["annotations"]], split=split)
    scorer = evaluator(read_dataset(root))
    evaluation = scorer.evaluate(all_knowing(drawn, "val"), split="val")
    assert evaluation.scores["box_ap_score"] == pytest.approx(100) and scorer.further_scores == ()
    assert not any(name.startswith("mask") for name in evaluation.scores)


def test_a_model_of_another_task_is_refused(dataset: Dataset, shared_colours: Path):
    with pytest.raises(
        InputError, match=r"the model was trained for classification, the dataset .* is one for detection"
    ):
        make_evaluator(dataset, card(classes=("square", "disc")))
    with pytest.raises(InputError, match=r"trained for detection, the dataset .* is one for classification"):
        make_evaluator(read_dataset(shared_colours), detection_card())


def test_the_losses_are_named_and_take_the_settings(dataset: Dataset):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 64, 96)).float()
    found = Targets(
        boxes=np.array([[4, 4, 40, 40]], np.float32),
        labels=np.array([1]),
        masks=np.ones((1, 64, 85), np.bool_),
    )
    framed = ObjectTargets(torch.tensor([[64, 85], [64, 85]]), [found, found])
    named: list[dict[str, float]] = []
    for samples in (256, 8):
        torch.manual_seed(0)
        model = DetectionTask().build(detection_card()).train()
        losses = objective(dataset, samples).losses(model, images, framed)
        named.append({name: float(loss.detach()) for name, loss in losses.items()})
    assert list(named[0]) == ["objectness", "proposal_box", "class", "box", "mask"]
    assert all(np.isfinite(value) for value in named[0].values())
    assert named[0]["class"] != named[1]["class"] and named[0]["objectness"] != named[1]["objectness"]


def test_what_lies_beyond_an_image_does_not_matter(dataset: Dataset):
    """Frames are filled with black, another filling gives the same loss."""
    nothing = Targets(
        boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64), masks=np.zeros((0, 50, 60), bool)
    )
    framed = ObjectTargets(torch.tensor([[50, 60]] * 2), [nothing] * 2)
    judged = objective(dataset, 10_000)
    torch.manual_seed(0)
    model, images = DetectionTask().build(detection_card()).eval(), torch.randint(0, 256, (2, 3, 64, 64)).float()
    other = images.clone()
    other[:, :, 50:], other[:, :, :, 60:] = 255, 255
    one, two = (judged.losses(model, each, framed) for each in (images, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
