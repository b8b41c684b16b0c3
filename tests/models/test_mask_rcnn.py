"""The complete detector: its size, its settings, and its predictions against plain NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nextvit.errors import InputError
from nextvit.image.resizing import Preprocess
from nextvit.models.config import VARIANTS
from nextvit.models.deployed import DeployedDetector, normalise
from nextvit.models.detection import (
    LIGHT_MASK_RCNN,
    PUBLISHED_MASK_RCNN,
    DetectorConfig,
    MaskRCNN,
    default_detector_config,
)
from nextvit.models.fuse import fuse
from tests.models import plain_detection as plain
from tests.models.detectors import CLASSES, random_detector

SIZES = [(96, 128), (80, 101)]


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    return random_detector()


def images() -> Tensor:
    """Two images of SIZES in float64, (2, 3, 96, 128), with zero padding around the second."""
    images_NCHW = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    images_NCHW[1, :, 80:] = 0
    images_NCHW[1, :, :, 101:] = 0
    return images_NCHW


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("nextvit_small", 51_124_912), ("nextvit_base", 64_180_400), ("nextvit_large", 77_235_888)],
)
def test_parameters_are_those_of_the_published_detectors(name: str, parameters: int):
    with torch.device("meta"):
        model = MaskRCNN(VARIANTS[name], default_detector_config(name), num_classes=80)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_small_backbones_get_light_heads():
    assert default_detector_config("nextvit_tiny") == default_detector_config("nextvit_nano") == LIGHT_MASK_RCNN
    assert default_detector_config("nextvit_small") == default_detector_config("nextvit_large") == PUBLISHED_MASK_RCNN
    with torch.device("meta"):
        model = MaskRCNN(VARIANTS["nextvit_nano"], LIGHT_MASK_RCNN, num_classes=3)
    heads = sum(each.numel() for name, each in model.named_parameters() if not name.startswith("backbone."))
    assert heads < 1.5e6


def test_predictions_match_a_plain_computation(model: MaskRCNN):
    with torch.no_grad():
        boxes_ND4, scores_ND, labels_ND, masks_NDSS = model(images(), torch.tensor(SIZES))
        maps = model.extract_features(images())
        logits, deltas = model.rpn_head(maps)
    settings = model.detector
    levels = [each.numpy() for each in model.generate_level_anchors(maps)]
    for index, size in enumerate(SIZES):
        own = [each[index].numpy() for each in maps]
        proposals_P4, _ = plain.proposals(
            [each[index].numpy() for each in logits],
            [each[index].numpy() for each in deltas],
            levels,
            size,
            candidates=settings.candidates,
            count=settings.proposals,
        )

        def pool_all(boxes_K4: np.ndarray, side: int, own: list[np.ndarray] = own) -> Tensor:
            level_boxes = [(plain.level_of(box), box) for box in boxes_K4]
            return torch.from_numpy(
                np.stack([plain.pool(own[level], box, stride=4 * 2**level, side=side) for level, box in level_boxes])
            )

        with torch.no_grad():
            logits_PC, deltas_PD = (each.numpy() for each in model.roi_head.bbox_head(pool_all(proposals_P4, 7)))
        expected = plain.detections(logits_PC, deltas_PD, proposals_P4, size, count=settings.detections)
        found = len(expected)
        assert found > 0
        np.testing.assert_allclose(scores_ND[index, :found], [score for score, _, _ in expected], rtol=1e-9)
        assert labels_ND[index, :found].tolist() == [label for _, label, _ in expected]
        boxes_K4 = np.stack([box for _, _, box in expected])
        np.testing.assert_allclose(boxes_ND4[index, :found], boxes_K4, rtol=1e-9, atol=1e-9)
        assert model.roi_head.mask_head is not None
        with torch.no_grad():
            logits_KCSS = model.roi_head.mask_head(pool_all(boxes_K4, 14)).numpy()
        expected_masks = plain.sigmoid(np.stack([logits_KCSS[k, expected[k][1]] for k in range(found)]))
        np.testing.assert_allclose(masks_NDSS[index, :found], expected_masks, rtol=1e-9)


def test_missing_detections_are_zero():
    model = random_detector(score_threshold=0.6)
    with torch.no_grad():
        boxes_ND4, scores_ND, _, masks_NDSS = model(images(), torch.tensor(SIZES))
    missing_ND = scores_ND == 0
    assert 0 < missing_ND.sum() < missing_ND.numel()
    assert not boxes_ND4[missing_ND].any() and not masks_NDSS[missing_ND].any()
    assert (scores_ND[~missing_ND] > 0.6).all()
    assert (scores_ND.diff(dim=1) <= 0).all()


def test_images_of_a_batch_do_not_influence_each_other(model: MaskRCNN):
    with torch.no_grad():
        together = model(images(), torch.tensor(SIZES))
        alone = model(images()[1:], torch.tensor(SIZES[1:]))
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one[1:], other)


def test_it_predicts_in_training_mode_without_a_gradient(model: MaskRCNN):
    model.train()
    try:
        predictions = model(images(), torch.tensor(SIZES))
    finally:
        model.eval()
    assert [tuple(each.shape) for each in predictions] == [(2, 20, 4), (2, 20), (2, 20), (2, 20, 28, 28)]
    assert not any(each.requires_grad for each in predictions)


def test_boxes_are_in_full_precision_where_the_network_is_not():
    model = random_detector().float()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        predictions = model(images().float(), torch.tensor(SIZES))
    assert [each.dtype for each in predictions] == [torch.float32, torch.float32, torch.int64, torch.float32]
    assert not torch.equal(predictions[0], predictions[0].bfloat16().float())


def test_boxes_alone():
    model = random_detector(masks=False)
    assert model.roi_head.mask_head is None
    assert not any("mask" in name for name in model.state_dict())
    assert len(model(images(), torch.tensor(SIZES))) == 3


def test_a_fused_detector_gives_the_same_predictions(model: MaskRCNN):
    fused = fuse(model)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in fused.modules())
    with torch.no_grad():
        pairs = zip(fused(images(), torch.tensor(SIZES)), model(images(), torch.tensor(SIZES)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_deployment_form_takes_pixels_and_ignores_the_padding(model: MaskRCNN):
    spec = Preprocess(image_size=(96, 128))
    generator = torch.Generator().manual_seed(1)
    images_NHWC = torch.randint(0, 256, (2, 96, 128, 3), generator=generator, dtype=torch.uint8)
    other_NHWC = images_NHWC.clone()
    other_NHWC[1, 80:], other_NHWC[1, :, 101:] = 7, 200
    single = random_detector().float()
    deployed = DeployedDetector(single, spec)
    normalised_NCHW = normalise(images_NHWC.permute(0, 3, 1, 2), spec)
    normalised_NCHW[1, :, 80:], normalised_NCHW[1, :, :, 101:] = 0, 0
    sizes_N2 = torch.tensor(SIZES)
    with torch.no_grad():
        predictions, others = deployed(images_NHWC, sizes_N2), deployed(other_NHWC, sizes_N2)
        expected = single(normalised_NCHW, sizes_N2)
    assert [each.dtype for each in predictions] == [torch.float32, torch.float32, torch.int64, torch.float32]
    for one, other, third in zip(predictions, others, expected, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, third, rtol=1e-3, atol=1e-3)
    assert (predictions[1] > 0.05).any()
    for one, other in zip(fuse(deployed)(images_NHWC, sizes_N2), predictions, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"box_width": 0}, "box_width must be from 1 to 16384, got 0"),
        ({"detections": 1001}, r"detections must be from 1 to proposals \(1000\), got 1001"),
        ({"candidates": 100}, "proposals must be at most 500, the candidates of all levels together, got 1000"),
        ({"iou": 1.0}, "iou must be at least 0 and below 1, got 1.0"),
        ({"anchor_scale": 0.0}, "anchor_scale must be above 0, got 0.0"),
        ({"anchor_ratios": (1.0, -1.0)}, "anchor_ratios must be one or more numbers above 0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        DetectorConfig(**settings)


def test_there_are_as_many_outputs_as_classes(model: MaskRCNN):
    bbox_head = model.roi_head.bbox_head
    assert (bbox_head.fc_cls.out_features, bbox_head.fc_reg.out_features) == (CLASSES + 1, 4 * CLASSES)
