"""The measure of a detector's proof."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionFacts, DetectionLimits
from nextvit.image.masks import encode
from nextvit.image.resizing import Preprocess
from nextvit.predictions.detection_parity import DetectionParity, compare_detections
from nextvit.predictions.results import Detection, Detections
from nextvit.proof.verdict import failures

Box = tuple[float, float, float, float]
BOX: Box = (10.0, 10.0, 40.0, 30.0)


def card(most: int = 5) -> ModelCard:
    return ModelCard(
        task="detection",
        classes=("fig", "nut"),
        facts=DetectionFacts(category_ids=(1, 2)),
        input=Preprocess(image_size=(64, 64), resize="pad"),
        variant="by hand",
        architecture={},
        head={"score_threshold": 0.05, "detections": most, "masks": False, "iou": 0.5},
    )


def thing(score: float, box: Box = BOX, *, category_id: int = 1) -> Detection:
    return Detection(label="a thing", category_id=category_id, score=score, box=box)


def apart(count: int, *, score: float) -> list[Detection]:
    """So many that overlap none of the others."""
    return [thing(score, (100.0 * place, 0.0, 100.0 * place + 50, 50.0)) for place in range(1, count + 1)]


def compared(expected: list[Detection], got: list[Detection], *, most: int = 5) -> DetectionParity:
    first, second = (Detections(width=640, height=480, objects=tuple(each)) for each in (expected, got))
    return compare_detections([first], [second], DetectionLimits.of(card(most).head))


def test_the_same_objects_in_another_order_are_the_same():
    parity = compared([thing(0.9), *apart(2, score=0.5)], [*apart(2, score=0.5002), thing(0.9)])
    assert (parity.objects, parity.agreement) == (3, 1.0)
    assert parity.max_error == pytest.approx(2e-4) and parity.mean_error == pytest.approx(4e-4 / 3)
    assert parity.failures("fp32") == []


@pytest.mark.parametrize(
    "other",
    [
        thing(0.902),
        thing(0.9, (11.0, 10.0, 41.0, 30.0)),
        thing(0.9, category_id=2),
    ],
)
def test_another_score_box_or_class_is_another_object(other: Detection):
    parity = compared([thing(0.9)], [other])
    assert (parity.objects, parity.agreement) == (2, 0.0)
    assert "same objects 0.0000 < 0.999" in parity.failures("fp32")


def test_boxes_without_area_are_the_same_where_they_coincide():
    """On the image's edge, to which boxes are clipped."""
    edge: Box = (640.0, 10.0, 640.0, 40.0)
    assert compared([thing(0.9, edge)], [thing(0.9, edge)]).agreement == 1.0
    assert compared([thing(0.9, edge)], [thing(0.9, (639.995, 10.0, 640.0, 40.0))]).agreement == 1.0
    assert compared([thing(0.9, edge)], [thing(0.9, (640.0, 10.0, 640.0, 40.5))]).agreement == 0.0


def test_one_at_the_threshold_may_be_missing_on_either_side():
    assert compared([thing(0.0505)], []).objects == 0
    assert compared([], [thing(0.0505)]).agreement == 1.0
    assert compared([thing(0.0520)], []).agreement == 0.0


def test_of_a_full_image_one_like_the_last_may_be_missing():
    """Two of the same score compete for the last place, and the last digit decides."""
    full = apart(4, score=0.8)
    left, right = thing(0.3), thing(0.3005, (10.0, 100.0, 40.0, 130.0))
    parity = compared([*full, left], [*full, right])
    assert (parity.objects, parity.agreement) == (4, 1.0)
    better = thing(0.4, (10.0, 100.0, 40.0, 130.0))
    assert compared([*full, left], [*full, better]).agreement == 4 / 5
    assert compared([*full, left], [*full, right], most=6).agreement == 4 / 6  # there was a place for both


def test_images_without_objects_agree():
    parity = compared([], [])
    assert (parity.objects, parity.agreement, parity.max_error, parity.mask_iou) == (0, 1.0, 0.0, None)


def test_images_without_objects_prove_nothing():
    """Golden examples may be such, a proof may not: a broken file finds nothing, too."""
    nothing, something = compared([], []), compared([thing(0.9)], [thing(0.9)])
    [failure] = failures(asdict(nothing), nothing, "fp32", None)
    assert failure.startswith("no object was found on these images")
    assert failures(asdict(something), something, "fp32", None) == nothing.failures("fp32") == []


@pytest.mark.parametrize("wrong", [thing(math.nan), thing(0.9, (0.0, 0.0, math.inf, 1.0))])
def test_what_is_no_number_never_passes(wrong: Detection):
    parity = compared(apart(4, score=0.5), [*apart(4, score=0.5), wrong])
    assert parity.agreement == 0.0 and math.isinf(parity.max_error)
    assert parity.failures("fp32")


def test_masks_of_same_objects_are_compared():
    small, large = (np.zeros((480, 640), np.bool_) for _ in range(2))
    small[10:30, 10:39], large[10:30, 10:40] = True, True
    first, second = (
        Detection(label="fig", category_id=1, score=0.9, box=BOX, mask=encode(each)) for each in (small, large)
    )
    parity = compared([first], [second])
    assert parity.mask_iou == pytest.approx(29 / 30)
    assert parity.failures("fp32") == ["mean IoU of masks 0.9667 < 0.99"]
