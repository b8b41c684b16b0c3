"""Heatmaps against plain computations without autograd."""

import pytest
import torch

from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS
from nextvit.models.fuse import fuse
from nextvit.models.heatmap import choose_stage, grad_cam
from tests.models.calibrated import calibrate, image

CLASSES = torch.tensor([2, 0])


@pytest.fixture(scope="module")
def model() -> Classifier:
    torch.manual_seed(0)
    return calibrate(Classifier(VARIANTS["nextvit_nano"], num_classes=3))


def normalise_to_maximum(maps_NHW: torch.Tensor) -> torch.Tensor:
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
    found = grad_cam(model, images, CLASSES)
    assert found.shape == (2, 5, 4)
    torch.testing.assert_close(found, normalise_to_maximum(maps), rtol=1e-9, atol=1e-9)


def test_folding_the_norms_changes_no_heatmap(model: Classifier):
    images = image(128, 128)
    torch.testing.assert_close(grad_cam(fuse(model), images, CLASSES), grad_cam(model, images, CLASSES))


def test_weights_of_an_earlier_stage_are_finite_differences_of_the_logit(model: Classifier):
    images, step = image(64, 64, count=1), 1e-5
    label = torch.tensor([1])
    with torch.no_grad():
        features_CHW = model.backbone(images)[2][0]
        channels = len(features_CHW)
        perturbation = step * torch.eye(channels, dtype=torch.float64)[:, :, None, None]  # each row raises one channel

        def logit(features_NCHW: torch.Tensor) -> torch.Tensor:
            last_NCHW = model.backbone.stages[3](features_NCHW)
            return model.head(model.norm(last_NCHW).mean(dim=(2, 3)))[:, 1]

        slopes = (logit(features_CHW + perturbation) - logit(features_CHW - perturbation)) / (2 * step)
        expected = normalise_to_maximum((slopes[:, None, None] * features_CHW).sum(dim=0)[None])
    torch.testing.assert_close(grad_cam(model, images, label, stage=2), expected, rtol=1e-4, atol=1e-4)


def test_a_heatmap_leaves_the_model_and_its_gradients_alone(model: Classifier):
    images = image(64, 64)
    with torch.no_grad():
        before = model(images)
        found = grad_cam(model, images, CLASSES, stage=2)
    assert not found.requires_grad and float(found.min()) >= 0 and float(found.max()) == 1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model(images), before)


def test_evidence_against_a_class_everywhere_gives_an_empty_map(model: Classifier):
    fused = fuse(model)
    with torch.no_grad():
        fused.head.weight[:] = -1.0
        fused.backbone.stages[3].register_forward_hook(lambda module, inputs, output: output.abs())
        assert not grad_cam(fused, image(128, 128), CLASSES).any()


def test_the_last_stage_with_four_by_four_positions_is_chosen():
    assert [choose_stage((side, side)) for side in (32, 64, 96, 128, 224)] == [1, 2, 2, 3, 3]
    assert choose_stage((224, 64)) == 2
