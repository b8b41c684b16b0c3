"""Region proposals, part by part against plain NumPy."""

import numpy as np
import pytest
import torch

from nextvit.models.proposals import ProposalHead, flatten_positions, generate_anchors, propose
from tests.models import plain_detection as plain

RATIOS = (0.5, 1.0, 2.0)


@pytest.mark.parametrize("stride", [4, 64])
def test_anchors_are_centred_at_multiples_of_the_stride_and_not_rounded(stride: int):
    found = generate_anchors(torch.zeros(1, 1, 3, 5), stride_px=stride, scale=8.0, ratios=RATIOS)
    expected = plain.anchors(3, 5, stride=stride, scale=8, ratios=RATIOS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found[0], stride * np.array([-(2**2.5), -(2**1.5), 2**2.5, 2**1.5]), rtol=1e-6)


def test_outputs_are_flattened_in_the_order_of_the_anchors():
    map_NCHW = torch.arange(2 * 12 * 2 * 5).reshape(2, 12, 2, 5)
    flat_NA4 = flatten_positions(map_NCHW, columns=4)
    anchor = (1 * 5 + 3) * 3 + 2  # row 1, column 3, ratio 2
    assert flat_NA4[1, anchor].tolist() == map_NCHW[1, 8:12, 1, 3].tolist()


def random_levels(*, count: int) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    sides = [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
    logits = [torch.randn(count, 3, *side, generator=generator, dtype=torch.float64) * 2 for side in sides]
    deltas = [torch.randn(count, 12, *side, generator=generator, dtype=torch.float64) * 0.4 for side in sides]
    anchors = [
        generate_anchors(each, stride_px=4 * 2**level, scale=3.0, ratios=RATIOS).double()
        for level, each in enumerate(logits)
    ]
    return logits, deltas, anchors


@pytest.mark.parametrize(("candidates", "proposals"), [(40, 100), (500, 60)])
def test_proposals_match_a_plain_computation(candidates: int, proposals: int):
    logits, deltas, anchors = random_levels(count=2)
    sizes = [(96, 128), (70, 90)]
    boxes_NP4, scores_NP = propose(
        logits, deltas, anchors, torch.tensor(sizes), candidates=candidates, count=proposals, iou=0.7
    )
    assert boxes_NP4.shape == (2, proposals, 4)
    for index, size in enumerate(sizes):
        expected_boxes, expected_scores = plain.proposals(
            [each[index].numpy() for each in logits],
            [each[index].numpy() for each in deltas],
            [each.numpy() for each in anchors],
            size,
            candidates=candidates,
            count=proposals,
        )
        found = len(expected_scores)
        np.testing.assert_allclose(scores_NP[index, :found], expected_scores, rtol=1e-12)
        np.testing.assert_allclose(boxes_NP4[index, :found], expected_boxes, rtol=1e-9, atol=1e-9)
        assert not scores_NP[index, found:].any() and not boxes_NP4[index, found:].any()


def test_of_two_boxes_with_probabilities_near_1_the_higher_logit_wins():
    logits = torch.full((1, 1, 1, 6), -200.0)
    logits[0, 0, 0, 2], logits[0, 0, 0, 3] = 30, 30.001  # as float32 probabilities both are 1
    anchors = generate_anchors(logits, stride_px=4, scale=16.0, ratios=(1.0,))
    deltas = torch.zeros(1, 4, 1, 6)
    boxes_NP4, scores_NP = propose(
        [logits], [deltas], [anchors], torch.tensor([[64, 64]]), candidates=6, count=2, iou=0.7
    )
    assert boxes_NP4[0, 0].tolist() == [0, 0, 44, 32]
    assert scores_NP.tolist() == [[1, 0]]


def test_boxes_outside_of_the_image_are_no_proposals_and_missing_ones_are_zero():
    logits, deltas, anchors = random_levels(count=1)
    zero = [torch.zeros_like(each) for each in deltas]
    boxes_NP4, scores_NP = propose(logits, zero, anchors, torch.tensor([[16, 16]]), candidates=60, count=290, iou=0.7)
    is_valid_NP = scores_NP > 0
    assert 0 < is_valid_NP.sum() < 290
    sides_NP2 = boxes_NP4[..., 2:] - boxes_NP4[..., :2]
    assert (sides_NP2[is_valid_NP] > 0).all()
    assert boxes_NP4.max() <= 16
    assert not boxes_NP4[~is_valid_NP].any()


def test_proposals_have_no_gradient():
    logits, deltas, anchors = random_levels(count=1)
    logits, deltas = [each.requires_grad_() for each in logits], [each.requires_grad_() for each in deltas]
    boxes_NP4, scores_NP = propose(logits, deltas, anchors, torch.tensor([[96, 128]]), candidates=9, count=9, iou=0.7)
    assert not boxes_NP4.requires_grad and not scores_NP.requires_grad


def test_the_head_is_a_convolution_followed_by_two_layers():
    torch.manual_seed(0)
    head = ProposalHead(5, anchors_per_position=3).double()
    map_NCHW = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    logits, deltas = head([map_NCHW, map_NCHW[..., :2, :2]])
    padded = torch.nn.functional.pad(map_NCHW, (1, 1, 1, 1))
    hidden = head.rpn_conv.bias[:, None, None] + sum(
        torch.einsum("oc,nchw->nohw", head.rpn_conv.weight[:, :, y, x], padded[:, :, y : y + 4, x : x + 6])
        for y in range(3)
        for x in range(3)
    )
    for found, layer in ((logits, head.rpn_cls), (deltas, head.rpn_reg)):
        expected = torch.einsum("oc,nchw->nohw", layer.weight[:, :, 0, 0], hidden.clamp(min=0))
        torch.testing.assert_close(found[0], expected + layer.bias[:, None, None])
        assert found[1].shape[2:] == (2, 2)


def test_it_starts_as_mmdetection_does():
    torch.manual_seed(0)
    for name, parameter in ProposalHead(64, anchors_per_position=3).named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert 0.008 < parameter.std() < 0.012
