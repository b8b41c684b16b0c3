"""From logits to answers."""

import json
import math
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionFacts
from nextvit.errors import InputError
from nextvit.image.masks import decode
from nextvit.image.resizing import Prepared, Preprocess
from nextvit.predictions.activations import sigmoid, softmax
from nextvit.predictions.classification import to_classifications
from nextvit.predictions.detection import to_detections
from nextvit.predictions.kind import kind_of
from nextvit.predictions.multilabel import is_present, to_multi_labels


def test_softmax_sums_to_one_and_survives_large_values():
    probabilities = softmax(np.array([[1000.0, 1000.0], [0.0, -1e30]]))
    assert probabilities.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_predictions_come_best_first_with_their_names():
    [answer] = to_classifications(np.log([[0.2, 0.5, 0.3]]), classes=("a", "b", "c"), top=2)
    assert [guess.label for guess in answer.top] == ["b", "c"]
    assert answer.label == "b"
    assert answer.probability == pytest.approx(0.5)


def test_equal_values_keep_the_order_of_the_classes():
    [answer] = to_classifications(np.zeros((1, 3)), classes=("a", "b", "c"))
    assert [guess.label for guess in answer.top] == ["a", "b", "c"]


def test_sigmoid_survives_large_values_and_keeps_small_ones():
    probabilities = sigmoid(np.array([[-1e30, -700.0, 0.0, 700.0, 1e30]], np.float32))[0]
    assert probabilities.tolist() == [0.0, pytest.approx(math.exp(-700.0), rel=1e-12), 0.5, 1.0, 1.0]


def test_a_class_is_answered_from_its_own_threshold_on():
    logits = np.log(np.array([[0.5, 0.5, 0.2, 0.8]]) / np.array([[0.5, 0.5, 0.8, 0.2]]))
    assert is_present(logits, (0.5, 0.6, 0.1, 0.9)).tolist() == [[True, False, True, False]]


def test_each_class_is_present_or_absent_the_most_probable_first():
    logits = np.array([[1.0, -2.0, 3.0, -1.0], [-1.0, -1.0, -5.0, -1.0]])
    both, none = to_multi_labels(logits, classes=("a", "b", "c", "d"), thresholds=(0.5,) * 4)
    assert both.labels == ("c", "a")
    assert [guess.label for guess in both.absent] == ["d", "b"]
    assert both.present[1].probability == pytest.approx(1 / (1 + math.exp(-1)))
    assert none.labels == () and [guess.label for guess in none.absent] == ["a", "b", "d", "c"]
    assert none.to_dict()["present"] == ()


BOXES = np.array([[[10, 20, 50, 60], [0, 0, 80, 40], [0, 0, 0, 0]], [[8, 8, 16, 16], [0, 0, 0, 0], [0, 0, 0, 0]]])
OUTPUTS = {
    "boxes": BOXES.astype(np.float32),
    "scores": np.array([[0.9, 0.25, 0.0], [0.5, 0.0, 0.0]], np.float32),
    "labels": np.array([[1, 0, 0], [0, 0, 0]], np.int64),
}
PICTURES = {"sizes": [(80, 200), (30, 30)], "resized": [(40, 80), (60, 60)]}
CLASSES = {"classes": ("cat", "dog"), "category_ids": (18, 3)}


def test_objects_are_answered_in_the_images_pixels_with_their_own_ids():
    first, second = to_detections(OUTPUTS, **PICTURES, **CLASSES)
    assert (first.width, first.height, second.width, second.height) == (200, 80, 30, 30)
    assert [(each.label, each.category_id) for each in first.objects] == [("dog", 3), ("cat", 18)]
    assert [each.score for each in first.objects] == pytest.approx([0.9, 0.25])
    assert first.objects[0].box == (25.0, 40.0, 125.0, 80.0)  # twice as high, two and a half times as wide, and clipped
    assert [each.box for each in second.objects] == [(4.0, 4.0, 8.0, 8.0)]
    assert first.objects[0].mask is None


def test_masks_are_pasted_in_the_images_pixels_and_survive_json():
    masks = np.zeros((2, 3, 28, 28), np.float32)
    masks[0, 0, :, :14] = 1.0  # the left half
    masks[1, 0] = 1.0
    first, second = to_detections({**OUTPUTS, "masks": masks}, **PICTURES, **CLASSES)
    expected = np.zeros((80, 200), np.bool_)
    expected[40:80, 25:75] = True
    [left, empty] = json.loads(json.dumps(first.to_dict()))["objects"]
    assert (decode(left["mask"]) == expected).all() and not decode(empty["mask"]).any()
    assert left["mask"]["size"] == [80, 200] and left["box"] == [25, 40, 125, 80] and left["category_id"] == 3
    assert second.objects[0].mask and decode(second.objects[0].mask).sum() == 16


def test_an_image_without_objects_is_answered_with_none():
    none = {**OUTPUTS, "scores": np.zeros((2, 3), np.float32)}
    assert [each.objects for each in to_detections(none, **PICTURES, **CLASSES)] == [(), ()]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_pycocotools_reads_the_masks_of_predictions():
    masks = np.random.default_rng(0).random((2, 3, 28, 28)).astype(np.float32)
    for answer in to_detections({**OUTPUTS, "masks": masks}, **PICTURES, **CLASSES):
        for found in json.loads(json.dumps(answer.to_dict()))["objects"]:
            assert (coco.decode(found["mask"]) == decode(found["mask"])).all()
            assert coco.area(found["mask"]) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array([[0, 2]])}, "labels from 0 to 2; its card has 2 classes"),
        ({"labels": np.array([[0, -1]])}, "labels from -1 to 0"),
        ({"labels": np.array([[0.0, 1.0]])}, "its card has 2 classes"),
        (
            {"boxes": np.zeros((1, 2, 5))},
            r"puts out .*'boxes': \(1, 2, 5\).* for 1 images; expected .*'boxes': \(1, 2, 4\)",
        ),
        ({"scores": np.zeros((2, 2))}, "for 1 images"),
        ({"masks": np.zeros((1, 2, 28, 28))}, "for 1 images"),
    ],
)
def test_outputs_that_are_no_detections_of_these_classes_are_refused(changes: dict[str, Any], message: str):
    card = ModelCard(
        task="detection",
        classes=("fig", "nut"),
        facts=DetectionFacts(category_ids=(1, 5)),
        input=Preprocess(image_size=(32, 32), resize="pad"),
        variant="by hand",
        architecture={},
        head={"masks": False, "detections": 2, "score_threshold": 0.05, "iou": 0.5},
    )
    images = [Prepared(np.zeros((32, 32, 3), np.uint8), (32, 32))]
    outputs = {"boxes": np.ones((1, 2, 4)), "scores": np.array([[0.9, 0.8]]), "labels": np.array([[0, 1]])}
    assert len(kind_of(card).read(outputs, images)[0].objects) == 2
    with pytest.raises(InputError, match=message):
        kind_of(card).read(outputs | changes, images)
