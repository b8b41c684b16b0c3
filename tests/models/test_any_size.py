"""The form for dynamic sides equals the trained one, in float64, at even and odd sides."""

import pytest
import torch

from nextvit.models.create import create_model
from nextvit.models.fuse import EdgePool, for_any_size, fuse
from tests.models.calibrated import calibrate, image


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (225, 96), (34, 35)])
def test_for_any_size_answers_the_same(size: tuple[int, int]):
    torch.manual_seed(0)
    model = calibrate(create_model("nextvit_nano", num_classes=5))
    other = fuse(for_any_size(model))
    pixels = image(*size)
    with torch.no_grad():
        assert torch.allclose(other(pixels), model(pixels), rtol=0, atol=1e-10)
    assert any(isinstance(module, EdgePool) for module in other.modules())
    assert not any(isinstance(module, torch.nn.AvgPool2d) for module in other.modules())


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (4, 7), (9, 9), (1, 3)])
def test_edge_pool_is_average_pooling_that_rounds_up(size: tuple[int, int]):
    pixels = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = torch.nn.functional.avg_pool2d(pixels, 2, ceil_mode=True, count_include_pad=False)
    assert torch.allclose(EdgePool()(pixels), expected, rtol=0, atol=1e-15)
