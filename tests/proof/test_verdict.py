"""Which bounds an export must keep."""

from typing import Any

import pytest

from nextvit.predictions.detection_parity import DetectionParity
from nextvit.proof.verdict import failures

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
