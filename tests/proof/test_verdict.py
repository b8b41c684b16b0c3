"""Which bounds an export must keep."""

import math
from dataclasses import replace
from typing import Any

import pytest

from nextvit.bundle.manifest import Precision
from nextvit.predictions.detection_parity import DetectionParity
from nextvit.predictions.logits_parity import LogitsParity
from nextvit.proof.verdict import allowed_drop, beyond_tolerances, failures, way_out

PARITY = DetectionParity(images=4, objects=40, max_error=1e-6, mean_error=1e-7, agreement=1.0, mask_iou=1.0)


def record(*, box_ap: float, mask_ap: float | None) -> dict[str, Any]:
    """A proof on labelled images, on which PyTorch has 60 box AP and 50 mask AP."""
    masks = {} if mask_ap is None else {"further": {"mask_ap_score": {"before": 50.0, "after": mask_ap}}}
    return {
        "objects": 40,
        "before": {"metric": "box_ap_score", "score": 60.0},
        "after": {"metric": "box_ap_score", "score": box_ap},
        "drop": 60.0 - box_ap,
        **masks,
    }


BOXES = "the score fell from 60.00 to 58.00, more than --max-drop 1"
MASKS = "mask AP fell from 50.00 to 48.00, more than --max-drop 1"


@pytest.mark.parametrize(
    ("box_ap", "mask_ap", "expected"),
    [
        (60.0, 50.0, []),
        (59.0, 49.0, []),
        (61.0, 51.0, []),
        (58.0, None, [BOXES]),
        (60.0, 48.0, [MASKS]),
        (58.0, 50.0, [BOXES]),
        (58.0, 48.0, [BOXES, MASKS]),
        (60.0, float("nan"), ["mask AP fell from 50.00 to nan, more than --max-drop 1"]),
    ],
)
def test_the_allowed_drop_bounds_masks_as_well_as_boxes(box_ap: float, mask_ap: float | None, expected: list[str]):
    assert failures(record(box_ap=box_ap, mask_ap=mask_ap), PARITY, "fp32", 1.0) == expected


def test_without_an_allowed_drop_no_score_is_bounded():
    assert failures(record(box_ap=10.0, mask_ap=5.0), PARITY, "fp32", None) == []


NEAR = LogitsParity(images=900, max_error=1e-6, mean_error=1e-7, cosine=1.0, agreement=1.0)
FAR = replace(NEAR, max_error=0.4, mean_error=0.02, cosine=0.993, agreement=0.985)
"""Outputs further from PyTorch's than fp16 or bf16 may be without labels."""


def scored(drop: float) -> dict[str, Any]:
    """A proof on labelled images, on which PyTorch has 84.1 % top-1."""
    return {
        "before": {"metric": "top1_score", "score": 84.1},
        "after": {"metric": "top1_score", "score": 84.1 - drop},
        "drop": drop,
    }


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "w8", "w6"])
def test_with_labels_an_export_is_accepted_by_what_it_costs(precision: Precision):
    assert failures(scored(0.2), FAR, precision, None) == []
    assert failures(scored(0.9), FAR, precision, None) == [
        "the score fell from 84.10 to 83.20, more than --max-drop 0.5"
    ]
    assert failures(scored(0.9), FAR, precision, 1.0) == []
    assert failures(scored(0.0), replace(FAR, max_error=math.inf), precision, None) == ["it puts out NaN or infinity"]
    assert allowed_drop(precision, None, labelled=True) == 0.5
    assert way_out(scored(0.91), FAR, precision) == "--max-drop 1 accepts it"


@pytest.mark.parametrize(("precision", "bounds"), [("fp16", 2), ("bf16", 3)])
def test_what_the_score_decides_on_is_reported_beside_it(precision: Precision, bounds: int):
    assert len(beyond_tolerances(FAR, precision)) == bounds
    assert beyond_tolerances(NEAR, precision) == []
    assert failures({}, FAR, precision, None) == beyond_tolerances(FAR, precision)
    assert failures({}, NEAR, precision, None) == []
    assert allowed_drop(precision, None, labelled=False) is None
    assert way_out({}, FAR, precision) == "labelled images let the score decide, within --max-drop (--data DATASET)"


def test_fp32_is_held_to_its_outputs_whatever_the_score_says():
    assert len(failures(scored(0.0), FAR, "fp32", None)) == 2
    assert failures(scored(0.9), NEAR, "fp32", None) == []
    assert allowed_drop("fp32", None, labelled=True) is None
    assert way_out(scored(0.9), FAR, "fp32") is None


def test_a_way_out_counts_every_main_score_and_is_none_where_no_flag_helps():
    assert way_out(record(box_ap=59.5, mask_ap=47.96), PARITY, "fp16") == "--max-drop 2.1 accepts it"
    assert way_out(record(box_ap=59.5, mask_ap=float("nan")), PARITY, "fp16") is None
    assert way_out({"objects": 0}, PARITY, "int8") is None
    assert way_out(scored(0.9), replace(FAR, max_error=math.inf), "int8") is None
    assert way_out({}, FAR, "int8") == (
        "--max-drop 1.6 accepts it, or labelled images let the score decide, within --max-drop (--data DATASET)"
    )
