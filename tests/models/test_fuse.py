"""The deployment form."""

import pytest
import torch
from torch import nn

from nextvit.errors import InputError
from nextvit.models.config import VARIANTS
from nextvit.models.create import create_model
from nextvit.models.fuse import fuse
from tests.models.calibrated import SIZES, calibrate, image


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("nextvit_base", "nextvit_large"))) for name in VARIANTS],
)
def test_fused_model_gives_the_same_logits(name: str):
    torch.manual_seed(0)
    model = calibrate(create_model(name, num_classes=10))
    fused = fuse(model)
    for size in SIZES[1:]:
        with torch.no_grad():
            expected = model(image(*size, count=1))
            assert expected.abs().max() > 0.1
            assert (fused(image(*size, count=1)) - expected).abs().max() <= 1e-10


def test_fused_backbone_gives_the_same_maps():
    torch.manual_seed(0)
    backbone = calibrate(create_model("nextvit_nano", features_only=True))
    for ours, expected in zip(fuse(backbone)(image(64, 64)), backbone(image(64, 64)), strict=True):
        assert (ours - expected).abs().max() <= 1e-10


def test_no_batch_norm_is_left_and_nothing_else_is_new():
    model = create_model("nextvit_small")
    fused = fuse(model)
    assert not [each for each in fused.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    assert {type(each) for each in fused.modules()} <= {type(each) for each in model.modules()} | {nn.Identity}


def test_the_original_stays_as_it_was():
    model = calibrate(create_model("nextvit_nano", num_classes=4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fuse(model)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_fusing_twice_changes_nothing_more():
    fused = fuse(calibrate(create_model("nextvit_nano", num_classes=4)))
    assert torch.equal(fuse(fused)(image(32, 32)), fused(image(32, 32)))


@pytest.mark.parametrize("strict", [True, False])
def test_weights_of_one_form_never_load_into_the_other(strict: bool):
    model = create_model("nextvit_nano")
    fused = fuse(model)
    with pytest.raises((InputError, RuntimeError), match="fused"):
        model.load_state_dict(fused.state_dict(), strict=strict)
    with pytest.raises((InputError, RuntimeError), match="unfused"):
        fused.load_state_dict(model.state_dict(), strict=strict)
