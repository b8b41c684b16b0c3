"""CSWin-T of the benchmarks, against what its paper says of it."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from cswin import PUBLISHED_MACS, PUBLISHED_PARAMETERS, CSWin, StripeAttention, cswin_tiny, cut, join


@pytest.fixture(scope="module")
def model() -> CSWin:
    return cswin_tiny()


def test_as_many_parameters_as_published(model: CSWin):
    count = sum(each.numel() for each in model.parameters())
    assert count == 22_320_552
    assert PUBLISHED_PARAMETERS * 0.97 < count < PUBLISHED_PARAMETERS


def test_as_many_multiplications_as_published(model: CSWin):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = model(torch.zeros(1, 3, 224, 224))
    assert logits.shape == (1, 1000)
    assert counter.get_total_flops() / 2 == pytest.approx(PUBLISHED_MACS, rel=0.012)  # 4.32 G: "4.3 G"


@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_every_pixel_counts(model: CSWin, size: tuple[int, int]):
    images_NCHW = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(model(images_NCHW).square().sum(), images_NCHW)
    assert (gradient.abs().sum(dim=1) > 0).all()


def test_maps_that_the_stripes_do_not_divide_keep_their_size(model: CSWin):
    with torch.no_grad():
        assert model.forward_features(torch.zeros(1, 3, 256, 160)).shape == (1, 8, 5, 512)


def test_cut_and_join_are_inverse():
    x_NHWC = torch.randn(2, 6, 8, 3)
    windows = cut(x_NHWC, (6, 2))
    assert windows.shape == (8, 6, 2, 3)
    torch.testing.assert_close(windows[1], x_NHWC[0, :, 2:4])
    torch.testing.assert_close(join(windows, 6, 8), x_NHWC)


@pytest.mark.parametrize("horizontal", [True, False])
def test_attention_stays_in_its_stripe(horizontal: bool):
    attention = StripeAttention(8, heads=2, stripe=2, horizontal=horizontal)
    q, k, v = torch.randn(3, 1, 6, 6, 8)
    with torch.no_grad():
        before = attention(q, k, v)
        v[0, 3, 0] += 1.0  # in the second horizontal stripe, and in the first vertical one
        changed = (attention(q, k, v) - before).abs().sum(dim=-1)[0] > 0
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[2:4] = horizontal
    expected[:, :2] |= not horizontal
    assert torch.equal(changed, expected)


def test_it_is_the_same_network_every_time(model: CSWin):
    assert torch.equal(cswin_tiny().head.weight, model.head.weight)
