"""The heads of segmentation models, against their definitions."""

import pytest
import torch
from torch import nn

from nextvit.models.segmentation_heads import (
    AdaptiveAveragePool,
    ConvNormReLU,
    FCNHead,
    FPNHead,
    UPerHead,
    resize_bilinear,
)
from tests.models import plain_segmentation as plain
from tests.models.segmenters import CLASSES

WIDTHS = (3, 4, 5, 6)
SIDES = [((16, 24), (8, 12), (4, 6), (2, 3)), ((15, 9), (8, 5), (4, 3), (2, 2)), ((8, 8), (4, 4), (2, 2), (1, 1))]


def randomise(head: nn.Module) -> nn.Module:
    """Give a head random weights and batch-norm statistics; return it in float64 and eval mode."""
    torch.manual_seed(0)
    for name, tensor in (*head.named_parameters(), *head.named_buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5) if name.endswith("running_var") else nn.init.normal_(tensor)
    return head.double().eval()


def maps_of(sides: tuple[tuple[int, int], ...], widths: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, width, *size, generator=generator, dtype=torch.float64)
        for size, width in zip(sides, widths, strict=True)
    ]


def weights_of(module: nn.Module) -> plain.Weights:
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("sides", SIDES)
def test_semantic_fpn_matches_a_plain_computation(sides: tuple[tuple[int, int], ...]):
    head = randomise(FPNHead(3, width=7, dropout=0.1, num_classes=CLASSES))
    maps = maps_of(sides, (3, 3, 3, 3))
    expected = plain.semantic_fpn([each.numpy() for each in maps], weights_of(head))
    with torch.no_grad():
        logits_NCHW = head(maps)
    assert logits_NCHW.shape == (2, CLASSES, *sides[0])
    torch.testing.assert_close(logits_NCHW, torch.from_numpy(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sides", SIDES)
def test_upernet_matches_a_plain_computation(sides: tuple[tuple[int, int], ...]):
    head = randomise(UPerHead(WIDTHS, width=7, pool_sides=(1, 2, 3, 6), dropout=0.1, num_classes=CLASSES))
    maps = maps_of(sides, WIDTHS)
    expected = plain.upernet([each.numpy() for each in maps], weights_of(head), pool_sides=(1, 2, 3, 6))
    with torch.no_grad():
        logits_NCHW = head(maps)
    assert logits_NCHW.shape == (2, CLASSES, *sides[0])
    torch.testing.assert_close(logits_NCHW, torch.from_numpy(expected), rtol=1e-10, atol=1e-10)


def test_the_auxiliary_head_matches_a_plain_computation():
    head = randomise(FCNHead(3, width=7, dropout=0.1, num_classes=CLASSES))
    (map_NCHW,) = maps_of(((5, 6),), (3,))
    expected = plain.fcn(map_NCHW.numpy(), weights_of(head))
    with torch.no_grad():
        torch.testing.assert_close(head(map_NCHW), torch.from_numpy(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(12, 18), (7, 5), (2, 4), (1, 1)])
@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_adaptive_average_pool_equals_that_of_pytorch(size: tuple[int, int], side: int):
    x_NCHW = torch.randn(2, 3, *size, dtype=torch.float64)
    found = AdaptiveAveragePool(side)(x_NCHW)
    torch.testing.assert_close(found, nn.functional.adaptive_avg_pool2d(x_NCHW, side), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, torch.from_numpy(plain.adaptive_average_pool(x_NCHW.numpy(), side)))


def test_adaptive_average_pool_does_not_overflow_in_half_precision():
    x_NCHW = 30 * torch.ones(1, 2, 120, 120)  # the sum of one output is beyond the range
    assert torch.equal(AdaptiveAveragePool(2)(x_NCHW.half()), 30 * torch.ones(1, 2, 2, 2).half())


@pytest.mark.parametrize("size", [(8, 12), (9, 5), (3, 3)])
def test_resizing_has_half_pixel_centres(size: tuple[int, int]):
    x_NCHW = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(
        resize_bilinear(x_NCHW, size), torch.from_numpy(plain.resize_bilinear(x_NCHW.numpy(), size))
    )


@pytest.mark.parametrize(
    "head",
    [
        FPNHead(3, width=7, dropout=0.5, num_classes=CLASSES),
        UPerHead(WIDTHS, width=7, pool_sides=(1, 2), dropout=0.5, num_classes=CLASSES),
        FCNHead(3, width=7, dropout=0.5, num_classes=CLASSES),
    ],
    ids=["fpn", "uper", "fcn"],
)
def test_dropout_before_the_last_layer_drops_entire_channels(head: nn.Module):
    torch.manual_seed(0)
    inputs_seen: list[torch.Tensor] = []
    head.get_submodule("conv_seg").register_forward_pre_hook(lambda _, inputs: inputs_seen.append(inputs[0]))
    widths = WIDTHS if isinstance(head, UPerHead) else (3, 3, 3, 3)
    maps = [each.float() for each in maps_of(SIDES[0], widths)]
    head.train()(maps[0] if isinstance(head, FCNHead) else maps)
    is_dropped_NC = (inputs_seen[0] == 0).flatten(2).all(dim=2)
    assert 0 < is_dropped_NC.sum() < is_dropped_NC.numel()


def test_heads_are_initialised_as_in_mmsegmentation():
    torch.manual_seed(0)
    head = UPerHead((64, 64), width=64, pool_sides=(1,), dropout=0.1, num_classes=100)
    convs = [module for module in head.modules() if isinstance(module, ConvNormReLU)]
    assert len(convs) == 5
    for module in convs:
        side = module.conv.kernel_size[0]
        assert module.conv.bias is None
        assert module.conv.weight.std().item() == pytest.approx(
            (2 / (64 * side**2)) ** 0.5, rel=0.05
        )  # Kaiming, fan out
    assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert head.conv_seg.bias is not None and not head.conv_seg.bias.any()
