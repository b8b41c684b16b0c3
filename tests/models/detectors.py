"""Small detectors with varied predictions: plain random weights give the same score everywhere."""

from typing import Any

import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionFacts
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.config import VARIANTS
from nextvit.models.deployed import normalise
from nextvit.models.detection import DetectorConfig, MaskRCNN
from nextvit.models.regions import pool_regions
from tests.models.calibrated import calibrate

CLASSES = 3
TINY_HEADS: dict[str, Any] = {
    "neck_width": 16,
    "box_width": 24,
    "mask_width": 16,
    "mask_convs": 2,
    "anchor_scale": 4.0,
    "candidates": 60,
    "training_candidates": 60,
    "proposals": 50,
    "detections": 20,
}


def random_detector(*, seed: int = 0, images_NCHW: Tensor | None = None, **settings: Any) -> MaskRCNN:
    """nextvit_nano with tiny heads of random weights, in float64 and eval mode.

    The outputs vary over these normalised images, or else over noise.
    """
    torch.manual_seed(seed)
    model = MaskRCNN(VARIANTS["nextvit_nano"], DetectorConfig(**(TINY_HEADS | settings)), num_classes=CLASSES)
    calibrate(model.backbone)
    model = model.double().eval()
    with torch.no_grad():
        scale_head_outputs(
            model, torch.randn(2, 3, 96, 128, dtype=torch.float64) if images_NCHW is None else images_NCHW
        )
    return model


def scale_head_outputs(model: MaskRCNN, images_NCHW: Tensor) -> None:
    """Give the outputs of each head, over these images, the standard deviation of a trained head."""
    maps = model.extract_features(images_NCHW.double())
    logits, deltas = model.rpn_head(maps)
    normalise_outputs(model.rpn_head.rpn_cls, rows(logits), 1.0)
    normalise_outputs(model.rpn_head.rpn_reg, rows(deltas), 0.3)
    regions_R5 = torch.rand(40, 5, dtype=torch.float64) * torch.tensor([2, 60, 40, 60, 50.0])
    regions_R5[:, 0].floor_()
    regions_R5[:, 3:] += regions_R5[:, 1:3]
    logits_RC, deltas_RD = model.roi_head.bbox_head(pool_regions(maps, regions_R5, 7))
    normalise_outputs(model.roi_head.bbox_head.fc_cls, logits_RC, 1.5)
    normalise_outputs(model.roi_head.bbox_head.fc_reg, deltas_RD, 1.0)
    if model.roi_head.mask_head is not None:
        masks_RCSS = model.roi_head.mask_head(pool_regions(maps, regions_R5, 14))
        normalise_outputs(model.roi_head.mask_head.conv_logits, rows([masks_RCSS]), 2.0)


def rows(maps: list[Tensor]) -> Tensor:
    """(N, C, H, W) maps -> (positions, C)."""
    return torch.cat([each_NCHW.movedim(1, -1).flatten(0, -2) for each_NCHW in maps])


def normalise_outputs(layer: nn.Conv2d | nn.Linear, outputs_RC: Tensor, std: float) -> None:
    """Rescale a layer so that each output has mean 0 and standard deviation `std` over the rows."""
    factor_C = std / outputs_RC.std(dim=0)
    assert layer.bias is not None
    layer.bias.copy_((layer.bias - outputs_RC.mean(dim=0)) * factor_C)
    layer.weight.mul_(factor_C.reshape(-1, *[1] * (layer.weight.dim() - 1)))


def detector_card(model: MaskRCNN, image_size: tuple[int, int] = (64, 96)) -> ModelCard:
    """Three classes with non-consecutive category ids; the image size limits the shorter and the longer side."""
    return ModelCard(
        task="detection",
        classes=("square", "disc", "ring"),
        facts=DetectionFacts(category_ids=(3, 7, 9)),
        input=Preprocess(image_size=image_size, resize="pad"),
        variant="nextvit_nano",
        architecture=to_plain(VARIANTS["nextvit_nano"]),
        head=to_plain(model.detector),
    )


def silence_on_black(model: MaskRCNN, spec: Preprocess, *, depth: float = 20.0) -> MaskRCNN:
    """The same detector, changed to predict background with high confidence on a black image."""
    pixels_NCHW = torch.randint(0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    features: list[Tensor] = []
    fc_cls = model.roi_head.bbox_head.fc_cls
    handle = fc_cls.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0].mean(dim=0)))
    with torch.no_grad():
        for each in (pixels_NCHW, torch.zeros_like(pixels_NCHW)):
            model(normalise(each, spec).to(fc_cls.weight.dtype), torch.tensor([[64, 96]] * 2))
        noise_C, black_C = features
        direction_C = (black_C - noise_C) / (black_C - noise_C).square().sum()
        fc_cls.weight[-1] += depth * direction_C
        fc_cls.bias[-1] -= depth * direction_C @ noise_C
    handle.remove()
    return model
