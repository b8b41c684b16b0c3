"""Areas and overlaps of boxes."""

import numpy as np
import pytest
from pycocotools import mask as coco

from nextvit.image.boxes import box_areas, box_intersections, box_iou, to_xywh


def test_overlaps_equal_pycocotools():
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 50, (2, 30, 2))
    first, second = (np.concatenate([each, each + generator.uniform(0.1, 30, (30, 2))], axis=1) for each in corners)
    expected = coco.iou(to_xywh(first), to_xywh(second), [0] * 30)
    assert (expected > 0.3).any() and np.abs(box_iou(first, second) - expected).max() < 1e-12


def test_areas_and_overlaps_by_hand():
    boxes = np.array([[0, 0, 4, 2], [2, 1, 6, 3], [5, 5, 5, 9]], np.float32)
    assert box_areas(boxes).tolist() == [8, 8, 0]
    assert box_intersections(boxes, boxes)[0].tolist() == [8, 2, 0]
    assert box_iou(boxes, boxes)[0].tolist() == pytest.approx([1, 2 / 14, 0])
    assert box_iou(boxes, boxes)[2, 2] == 0  # a box without area overlaps with nothing, not even itself
    assert box_iou(boxes, boxes[:0]).shape == (3, 0)
