"""The rearranged classifier: fewer operations, the same logits."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS
from nextvit.models.create import create_model
from nextvit.models.fuse import adapt_to_any_size, fuse
from nextvit.models.rearrange import rearrange_classifier
from tests.models.calibrated import SIZES, calibrate, image


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("nextvit_base", "nextvit_large"))) for name in VARIANTS],
)
def test_logits_are_equal(name: str):
    torch.manual_seed(0)
    model = calibrate(create_model(name, num_classes=10))
    assert isinstance(model, Classifier)
    rearranged = rearrange_classifier(fuse(model))
    for size in SIZES[1:]:
        with torch.no_grad():
            expected = model(image(*size, count=1))
            assert expected.abs().max() > 0.1
            assert (rearranged(image(*size, count=1)) - expected).abs().max() <= 1e-10


def test_logits_are_equal_where_pooling_was_rewritten_for_any_size():
    model = calibrate(create_model("nextvit_nano", num_classes=10))
    assert isinstance(model, Classifier)
    rearranged = rearrange_classifier(fuse(adapt_to_any_size(model)))
    for size in SIZES[1:]:
        assert (rearranged(image(*size)) - model(image(*size))).abs().max() <= 1e-10


def test_a_stage_that_begins_narrower_is_merged_after_its_pooling():
    torch.manual_seed(0)
    config = replace(VARIANTS["nextvit_nano"], conv_widths=(64, 32, 64, 96))
    model = calibrate(Classifier(config, num_classes=3))
    rearranged = rearrange_classifier(fuse(model))
    assert (rearranged(image(65, 97)) - model(image(65, 97))).abs().max() <= 1e-10


@pytest.mark.parametrize(
    ("name", "saved"), [("nextvit_small", 0.0597), ("nextvit_base", 0.0480), ("nextvit_large", 0.0417)]
)
def test_multiplications_that_are_saved(name: str, saved: float):
    """By hand, at 224 px: fc2 before the averages saves 65.0, 77.1, 77.1 and 100.7 million multiplications; merging fc2
    (1024 x 512) with the projection (512 x 384) into 1024 x 384 saves 25.7 for each NTB inside stage 3."""
    model = create_model(name).eval()
    assert isinstance(model, Classifier)
    assert 1 - macs(rearrange_classifier(fuse(model))) / macs(model) == pytest.approx(saved, abs=5e-4)


def macs(model: Classifier) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta")(torch.empty(1, 3, 224, 224, device="meta"))
    return counter.get_total_flops() // 2


def test_the_fused_model_stays_as_it_was():
    fused = fuse(calibrate(create_model("nextvit_nano", num_classes=4)))
    assert isinstance(fused, Classifier)
    before = fused(image(32, 32))
    rearrange_classifier(fused)
    assert torch.equal(fused(image(32, 32)), before)
