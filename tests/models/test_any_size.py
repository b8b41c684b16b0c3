"""The form for dynamic image sizes equals the trained model, in float64, for even and odd sides."""

import pytest
import torch

from nextvit.models.create import create_model
from nextvit.models.fuse import CeilAveragePool, adapt_to_any_size, fuse
from tests.models.calibrated import calibrate, image


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (225, 96), (34, 35)])
def test_adapted_model_gives_the_same_logits(size: tuple[int, int]):
    torch.manual_seed(0)
    model = calibrate(create_model("nextvit_nano", num_classes=5))
    other = fuse(adapt_to_any_size(model))
    pixels = image(*size)
    with torch.no_grad():
        assert torch.allclose(other(pixels), model(pixels), rtol=0, atol=1e-10)
    assert any(isinstance(module, CeilAveragePool) for module in other.modules())
    assert not any(isinstance(module, torch.nn.AvgPool2d) for module in other.modules())


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (4, 7), (9, 9), (1, 3)])
def test_ceil_average_pool_is_average_pooling_that_rounds_up(size: tuple[int, int]):
    pixels = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = torch.nn.functional.avg_pool2d(pixels, 2, ceil_mode=True, count_include_pad=False)
    assert torch.allclose(CeilAveragePool()(pixels), expected, rtol=0, atol=1e-15)
