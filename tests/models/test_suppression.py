"""Suppression of a fixed shape, against the plain definition."""

import numpy as np
import torch

from nextvit.models.suppression import keep_best, select_top
from tests.models import plain_detection as plain


def random_boxes(rows: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows * 100 + count)
    corners = torch.rand(rows, count, 2, generator=generator, dtype=torch.float64) * 60
    sides = torch.rand(rows, count, 2, generator=generator, dtype=torch.float64) * 40 + 1
    scores = torch.rand(rows, count, generator=generator, dtype=torch.float64)
    return torch.cat([corners, corners + sides], dim=2), scores


def test_each_row_is_suppressed_by_itself():
    boxes_BK4, scores_BK = random_boxes(3, 40)
    kept_BK = keep_best(boxes_BK4, scores_BK, 0.4, 0.3)
    for boxes_K4, scores_K, kept_K in zip(boxes_BK4.numpy(), scores_BK.numpy(), kept_BK.numpy(), strict=True):
        above = np.flatnonzero(scores_K > 0.3)
        expected = above[plain.suppress(boxes_K4[above], scores_K[above], 0.4)]
        assert set(np.flatnonzero(kept_K)) == set(expected)
        assert 0 < len(expected) < len(above)


def test_no_box_above_the_threshold_and_no_row_at_all():
    boxes_BK4, scores_BK = random_boxes(2, 5)
    assert not keep_best(boxes_BK4, scores_BK, 0.5, 1.0).any()
    assert keep_best(boxes_BK4[:0], scores_BK[:0], 0.5, 0.0).shape == (0, 5)


def test_the_operator_passes_opcheck():
    torch.library.opcheck(keep_best, (*random_boxes(2, 6), 0.5, 0.1))


def test_the_top_boxes_are_sorted_and_missing_ones_are_zero():
    boxes_NK4, _ = random_boxes(1, 4)
    scores_NK = torch.tensor([[0.2, 0.0, 0.9, 0.0]], dtype=torch.float64)
    boxes_NC4, best_NC, indices_NC = select_top(boxes_NK4, scores_NK, count=3)
    assert best_NC.tolist() == [[0.9, 0.2, 0.0]]
    assert indices_NC[0, :2].tolist() == [2, 0]
    assert torch.equal(boxes_NC4[0], torch.stack([boxes_NK4[0, 2], boxes_NK4[0, 0], torch.zeros(4)]))
