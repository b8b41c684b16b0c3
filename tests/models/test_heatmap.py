"""Heatmaps against plain computations without autograd."""

import pytest
import torch

from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS
from nextvit.models.fuse import fuse
from nextvit.models.heatmap import heatmaps, stage_for
from tests.models.calibrated import calibrate, image

CLASSES = torch.tensor([2, 0])


@pytest.fixture(scope="module")
def model() -> Classifier:
    torch.manual_seed(0)
    return calibrate(Classifier(VARIANTS["nextvit_nano"], num_classes=3))


def as_shares(maps_NHW: torch.Tensor) -> torch.Tensor:
    positive = maps_NHW.clamp(min=0)
    return positive / positive.amax(dim=(1, 2), keepdim=True)


def test_the_last_stages_heatmap_is_the_class_activation_map(model: Classifier):
    images = image(160, 128)
    with torch.no_grad():
        last_NCHW = model.backbone(images)[-1]
        scale = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
        maps = torch.stack([
            sum(model.head.weight[label, c] * scale[c] * features[c] for c in range(len(features)))
            for label, features in zip(CLASSES, last_NCHW, strict=True)
        ])  # fmt: skip
    found = heatmaps(model, images, CLASSES)
    assert found.shape == (2, 5, 4)
    torch.testing.assert_close(found, as_shares(maps), rtol=1e-9, atol=1e-9)


def test_folding_the_norms_changes_no_heatmap(model: Classifier):
    images = image(128, 128)
    torch.testing.assert_close(heatmaps(fuse(model), images, CLASSES), heatmaps(model, images, CLASSES))


def test_an_earlier_stages_weights_are_differences_of_the_logit(model: Classifier):
    images, step = image(64, 64, count=1), 1e-5
    label = torch.tensor([1])
    with torch.no_grad():
        features_CHW = model.backbone(images)[2][0]
        channels = len(features_CHW)
        nudge = step * torch.eye(channels, dtype=torch.float64)[:, :, None, None]  # each row raises one channel

        def logit(features_NCHW: torch.Tensor) -> torch.Tensor:
            last_NCHW = model.backbone.stages[3](features_NCHW)
            return model.head(model.norm(last_NCHW).mean(dim=(2, 3)))[:, 1]

        slopes = (logit(features_CHW + nudge) - logit(features_CHW - nudge)) / (2 * step)
        expected = as_shares((slopes[:, None, None] * features_CHW).sum(dim=0)[None])
    torch.testing.assert_close(heatmaps(model, images, label, stage=2), expected, rtol=1e-4, atol=1e-4)


def test_a_heatmap_leaves_the_model_and_its_gradients_alone(model: Classifier):
    images = image(64, 64)
    with torch.no_grad():
        before = model(images)
        found = heatmaps(model, images, CLASSES, stage=2)
    assert not found.requires_grad and float(found.min()) >= 0 and float(found.max()) == 1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model(images), before)


def test_evidence_against_a_class_everywhere_gives_an_empty_map(model: Classifier):
    fused = fuse(model)
    with torch.no_grad():
        fused.head.weight[:] = -1.0
        fused.backbone.stages[3].register_forward_hook(lambda module, inputs, output: output.abs())
        assert not heatmaps(fused, image(128, 128), CLASSES).any()


def test_the_last_stage_with_four_by_four_positions_is_chosen():
    assert [stage_for((side, side)) for side in (32, 64, 96, 128, 224)] == [1, 2, 2, 3, 3]
    assert stage_for((224, 64)) == 2
