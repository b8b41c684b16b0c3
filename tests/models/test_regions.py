"""RoI pooling and the heads of regions, part by part against plain NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from nextvit.models.regions import BoxHead, MaskHead, class_odds, pool_regions, prepend_batch_index, region_levels
from tests.models import plain_detection as plain


def square(side: float) -> list[float]:
    return [3.0, 5.0, 3.0 + side, 5.0 + side]


@pytest.mark.parametrize(
    ("side", "level"), [(1, 0), (55, 0), (111.99, 0), (112, 1), (223.9, 1), (224, 2), (448, 3), (5000, 3)]
)
def test_the_level_of_a_region_follows_its_side(side: float, level: int):
    assert region_levels(torch.tensor([square(side)], dtype=torch.float64)).tolist() == [level]
    assert plain.level_of(np.array(square(side))) == level


def test_regions_are_pooled_from_their_own_level_as_the_definition_says():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 128 // s, 160 // s, generator=generator, dtype=torch.float64) for s in (1, 2, 4, 8)]
    maps.append(torch.full((2, 3, 8, 10), torch.nan, dtype=torch.float64))  # the fifth is never read
    boxes = [
        square(9),
        square(130),
        square(260),
        square(460),
        [-20, -9, 30, 80],
        [600, 480, 700, 600],
        [0, 500, 640, 512],
    ]
    regions_R5 = torch.tensor([[index % 2, *box] for index, box in enumerate(boxes)], dtype=torch.float64)
    for side in (7, 14):
        found_RCSS = pool_regions(maps, regions_R5, side).numpy()
        for index, box in enumerate(boxes):
            level = plain.level_of(np.array(box))
            expected = plain.pool(maps[level][index % 2].numpy(), np.array(box), stride=4 * 2**level, side=side)
            np.testing.assert_allclose(found_RCSS[index], expected, rtol=1e-9, atol=1e-9)


def test_regions_without_area_are_zero():
    maps = [torch.ones(1, 2, 32 // s, 32 // s) for s in (1, 2, 4, 8)]
    regions_R5 = torch.tensor([[0, 0, 0, 0, 0], [0, 5, 5, 5, 20], [0, 5, 5, 20, 20.0]])
    pooled_RCSS = pool_regions(maps, regions_R5, 7)
    assert not pooled_RCSS[:2].any()
    assert (pooled_RCSS[2] == 1).all()


def test_only_the_level_of_a_region_gets_its_gradient():
    maps = [torch.ones(1, 2, 32 // s, 32 // s, requires_grad=True) for s in (1, 2, 4, 8)]
    pool_regions(maps, torch.tensor([[0, 5, 5, 20, 20.0], [0, 0, 0, 0, 0]]), 7).sum().backward()
    assert [bool(each.grad.any()) for each in maps] == [True, False, False, False]  # type: ignore[union-attr]


def test_regions_carry_the_index_of_their_image():
    regions_R5 = prepend_batch_index(torch.arange(24.0).reshape(2, 3, 4))
    assert regions_R5[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert regions_R5[4, 1:].tolist() == [16, 17, 18, 19]


def test_the_box_head_is_two_shared_layers_and_two_of_its_own():
    torch.manual_seed(0)
    head = BoxHead(3, width=5, num_classes=4).double()
    pooled_RCSS = torch.randn(6, 3, 7, 7, dtype=torch.float64)
    weights = {name: parameter.detach().numpy() for name, parameter in head.named_parameters()}
    x_RC = pooled_RCSS.numpy().reshape(6, -1)  # channels, then rows, then columns
    for index in range(2):
        x_RC = np.maximum(x_RC @ weights[f"shared_fcs.{index}.weight"].T + weights[f"shared_fcs.{index}.bias"], 0)
    logits_RC, deltas_RD = head(pooled_RCSS)
    assert (logits_RC.shape, deltas_RD.shape) == ((6, 5), (6, 16))
    np.testing.assert_allclose(logits_RC.detach(), x_RC @ weights["fc_cls.weight"].T + weights["fc_cls.bias"])
    np.testing.assert_allclose(deltas_RD.detach(), x_RC @ weights["fc_reg.weight"].T + weights["fc_reg.bias"])


def test_the_mask_head_is_convolutions_an_upsampling_and_a_layer():
    torch.manual_seed(0)
    head = MaskHead(3, width=4, convs=2, num_classes=5).double()
    x_RCSS = pooled_RCSS = torch.randn(2, 3, 14, 14, dtype=torch.float64)
    for block in head.convs:
        conv = block.get_submodule("conv")
        assert isinstance(conv, nn.Conv2d)
        padded = nn.functional.pad(x_RCSS, (1, 1, 1, 1))
        shifted = [
            torch.einsum("oc,nchw->nohw", conv.weight[:, :, y, x], padded[:, :, y : y + 14, x : x + 14])
            for y in range(3)
            for x in range(3)
        ]
        x_RCSS = torch.relu(sum(shifted[1:], shifted[0]) + conv.bias[:, None, None])  # type: ignore[index]
    # Each position becomes four, each with its own matrix.
    upsampled = torch.einsum("ncyx,coij->noyixj", x_RCSS, head.upsample.weight).reshape(2, 4, 28, 28)
    upsampled = torch.relu(upsampled + head.upsample.bias[:, None, None])  # type: ignore[index]
    expected = torch.einsum("oc,nchw->nohw", head.conv_logits.weight[:, :, 0, 0], upsampled)
    found = head(pooled_RCSS)
    assert found.shape == (2, 5, 28, 28)
    torch.testing.assert_close(found, expected + head.conv_logits.bias[:, None, None])  # type: ignore[index]


def test_they_start_as_mmdetection_does():
    torch.manual_seed(0)
    boxes, masks = BoxHead(16, width=64, num_classes=40), MaskHead(32, width=32, convs=2, num_classes=40)
    assert not any(each.any() for head in (boxes, masks) for name, each in head.named_parameters() if "bias" in name)
    assert 0.008 < boxes.fc_cls.weight.std() < 0.012
    assert 0.0008 < boxes.fc_reg.weight.std() < 0.0012
    for linear in boxes.shared_fcs:
        assert isinstance(linear, nn.Linear)
        bound = (6 / (linear.in_features + linear.out_features)) ** 0.5
        assert 0.99 * bound < linear.weight.abs().max() <= bound
    # Kaiming, by the outputs; of the transposed convolution MMDetection counts the first axis as outputs.
    for layer, fan_out in (
        (masks.convs[0].get_submodule("conv"), 32 * 9),
        (masks.upsample, 32 * 4),
        (masks.conv_logits, 40),
    ):
        weight = layer.get_parameter("weight")
        assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


def test_odds_are_those_of_softmax_without_the_background():
    logits_RC = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    scores_RC = logits_RC.softmax(dim=1)[:, :-1]
    torch.testing.assert_close(class_odds(logits_RC), scores_RC / (1 - scores_RC))


def test_odds_differ_where_probabilities_are_equal():
    logits_RC = torch.tensor([[30.0, 1, 0], [30.01, 1, 0], [-90, 0, 0], [400, 0, 0]])
    scores_R = logits_RC.softmax(dim=1)[:, 0]
    assert scores_R[0] == scores_R[1] == 1
    odds_R = class_odds(logits_RC)[:, 0]
    assert odds_R[0] < odds_R[1] < odds_R[3] and odds_R[2] >= 0
    assert odds_R.isfinite().all() and (odds_R / (1 + odds_R) <= 1).all()
