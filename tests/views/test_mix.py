"""Mixup, CutMix and random erasing against timm's."""

import numpy as np
import pytest
import torch
from timm.data.mixup import cutmix_bbox_and_lam, mixup_target

from nextvit.errors import InputError
from nextvit.views.mix import Mix, draw_rectangle, erase_rectangles, mix_batch, paste_mirrored


def batch(size: int = 8, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randint(0, 256, (size, 3, side, side)).float(), torch.eye(5)[torch.arange(size) % 5]


def test_mixup_is_timms():
    pixels, targets = batch()
    smooth = 0.9 * targets + 0.1 / 5
    got, got_targets = mix_batch(pixels, smooth, Mix(mixup=0.8), np.random.default_rng(1))
    share = np.random.default_rng(1).beta(0.8, 0.8)
    assert torch.allclose(got, pixels * share + pixels.flip(0) * (1 - share))
    expected = mixup_target(torch.arange(8) % 5, 5, lam=share, smoothing=0.1)
    assert torch.allclose(got_targets, expected, atol=1e-6)


def test_a_pasted_rectangle_is_timms(monkeypatch: pytest.MonkeyPatch):
    pixels, _ = batch(side=40)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        middle = iter([int(rng.integers(40)), int(rng.integers(40))])
        monkeypatch.setattr(np.random, "randint", lambda low, high, size=None, middle=middle: next(middle))
        (top, bottom, left, right), share = cutmix_bbox_and_lam(pixels.shape, 0.7)
        expected = pixels.clone()
        expected[:, :, top:bottom, left:right] = pixels.flip(0)[:, :, top:bottom, left:right]
        got, got_share = paste_mirrored(pixels, 0.7, np.random.default_rng(seed))
        assert torch.equal(got, expected) and got_share == pytest.approx(share)


def test_targets_keep_their_mass_and_both_forms_occur():
    pixels, targets = batch()
    rng, pasted_over = np.random.default_rng(0), 0
    for _ in range(200):
        got, got_targets = mix_batch(pixels, targets, Mix(mixup=0.8, cutmix=1.0), rng)
        assert torch.allclose(got_targets.sum(1), torch.ones(8))
        same = (got == pixels) | (got == pixels.flip(0))
        pasted_over += bool(same.all())
    assert 70 < pasted_over < 130


def test_erasing_fills_rectangles_of_the_stated_sizes_with_noise():
    rng = np.random.default_rng(0)
    boxes = [box for _ in range(2000) if (box := draw_rectangle(64, 64, rng))]
    areas = np.array([tall * wide for _, _, tall, wide in boxes]) / 64**2
    aspects = np.array([tall / wide for _, _, tall, wide in boxes])
    assert len(boxes) == 2000 and 0.01 < areas.min() < 0.03 and 0.3 < areas.max() < 0.36
    assert 0.2 < aspects.min() < 0.4 and 2.5 < aspects.max() < 4.0
    assert all(top + tall <= 64 and left + wide <= 64 for top, left, tall, wide in boxes)
    pixels = torch.zeros(400, 3, 32, 32)
    got = erase_rectangles(pixels, 0.25, np.random.default_rng(1))
    touched = (got != 0).flatten(1).any(1)
    assert 70 < touched.sum() < 130
    noise = got[touched][got[touched] != 0]
    assert abs(noise.mean() - 255 * 0.449) < 2 and abs(noise.std() - 255 * 0.226) < 2
    assert torch.equal(pixels, torch.zeros(400, 3, 32, 32))


def test_impossible_settings_are_refused_by_name():
    with pytest.raises(InputError, match=r"mix\.mixup must not be negative"):
        Mix(mixup=-1)
    with pytest.raises(InputError, match=r"mix\.erase is a probability"):
        Mix(erase=2)
