"""The feature pyramid, against its definition."""

import pytest
import torch
from torch import Tensor, nn

from nextvit.models.pyramid import FeaturePyramid


@pytest.fixture(scope="module")
def pyramid() -> FeaturePyramid:
    torch.manual_seed(0)
    neck = FeaturePyramid((2, 3, 4, 5), 6, extra_level=True).double()
    for parameter in neck.parameters():
        nn.init.normal_(parameter)
    return neck


def plain_pyramid(neck: FeaturePyramid, maps: list[Tensor]) -> list[Tensor]:
    """With sides that double exactly: repeating every value twice, and a 3x3 convolution as nine shifted products."""
    weights = {name: tensor.detach() for name, tensor in neck.named_parameters()}
    sums: list[Tensor] = []
    for level in reversed(range(4)):
        kernel, bias = (weights[f"lateral_convs.{level}.conv.{name}"] for name in ("weight", "bias"))
        lateral = torch.einsum("oc,nchw->nohw", kernel[:, :, 0, 0], maps[level]) + bias[:, None, None]
        if sums:
            lateral = lateral + sums[0].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        sums.insert(0, lateral)
    outputs = []
    for level, each in enumerate(sums):
        kernel, bias = (weights[f"fpn_convs.{level}.conv.{name}"] for name in ("weight", "bias"))
        height, width = each.shape[2:]
        padded = nn.functional.pad(each, (1, 1, 1, 1))
        outputs.append(
            bias[:, None, None]
            + sum(
                torch.einsum("oc,nchw->nohw", kernel[:, :, y, x], padded[:, :, y : y + height, x : x + width])
                for y in range(3)
                for x in range(3)
            )
        )
    return [*outputs, outputs[-1][:, :, ::2, ::2]]


def test_it_matches_a_plain_computation(pyramid: FeaturePyramid):
    maps = [
        torch.randn(2, channels, 24 // 2**level, 40 // 2**level, dtype=torch.float64)
        for level, channels in enumerate((2, 3, 4, 5))
    ]
    found = pyramid(maps)
    assert [tuple(each.shape) for each in found] == [(2, 6, 24 // 2**s, 40 // 2**s) for s in range(3)] + [
        (2, 6, 3, 5),
        (2, 6, 2, 3),
    ]
    for ours, expected in zip(found, plain_pyramid(pyramid, maps), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_odd_sides_are_upsampled_to_the_finer_maps_own(pyramid: FeaturePyramid):
    maps = [torch.randn(1, channels, side, side).double() for channels, side in ((2, 15), (3, 8), (4, 4), (5, 2))]
    assert [each.shape[2] for each in pyramid(maps)] == [15, 8, 4, 2, 1]


def test_without_the_extra_level_there_are_as_many_maps_as_were_given():
    maps = [torch.randn(1, 2, 8 // 2**level, 8 // 2**level) for level in range(4)]
    assert len(FeaturePyramid((2, 2, 2, 2), 3, extra_level=False)(maps)) == 4


def test_it_starts_as_mmdetection_does():
    torch.manual_seed(0)
    neck = FeaturePyramid((64, 64, 64, 64), 64, extra_level=True)
    for name, parameter in neck.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            bound = (6 / ((64 + 64) * parameter[0, 0].numel())) ** 0.5  # Xavier, uniform
            assert 0.99 * bound < parameter.abs().max() <= bound
