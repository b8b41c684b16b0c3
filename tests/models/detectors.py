"""Small detectors whose answers vary: random weights alone give the same score everywhere."""

from typing import Any

import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
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
    """nextvit_nano with tiny heads of random weights, lively over these normalised images or else over noise, in float64 and
    eval mode."""
    torch.manual_seed(seed)
    model = MaskRCNN(VARIANTS["nextvit_nano"], DetectorConfig(**(TINY_HEADS | settings)), num_classes=CLASSES)
    calibrate(model.backbone)
    model = model.double().eval()
    with torch.no_grad():
        enliven(model, torch.randn(2, 3, 96, 128, dtype=torch.float64) if images_NCHW is None else images_NCHW)
    return model


def enliven(model: MaskRCNN, images_NCHW: Tensor) -> None:
    """Give the outputs of each head, over these images, the spread that those of a trained one have."""
    maps = model.features(images_NCHW.double())
    logits, deltas = model.rpn_head(maps)
    spread(model.rpn_head.rpn_cls, rows(logits), 1.0)
    spread(model.rpn_head.rpn_reg, rows(deltas), 0.3)
    regions_R5 = torch.rand(40, 5, dtype=torch.float64) * torch.tensor([2, 60, 40, 60, 50.0])
    regions_R5[:, 0].floor_()
    regions_R5[:, 3:] += regions_R5[:, 1:3]
    logits_RC, deltas_RD = model.roi_head.bbox_head(pool_regions(maps, regions_R5, 7))
    spread(model.roi_head.bbox_head.fc_cls, logits_RC, 1.5)
    spread(model.roi_head.bbox_head.fc_reg, deltas_RD, 1.0)
    if model.roi_head.mask_head is not None:
        masks_RCSS = model.roi_head.mask_head(pool_regions(maps, regions_R5, 14))
        spread(model.roi_head.mask_head.conv_logits, rows([masks_RCSS]), 2.0)


def rows(maps: list[Tensor]) -> Tensor:
    """(N, C, H, W) maps -> (places, C)."""
    return torch.cat([each_NCHW.movedim(1, -1).flatten(0, -2) for each_NCHW in maps])


def spread(layer: nn.Conv2d | nn.Linear, outputs_RC: Tensor, deviation: float) -> None:
    """Give each output of the layer a mean of 0 and this deviation over the rows."""
    factor_C = deviation / outputs_RC.std(dim=0)
    assert layer.bias is not None
    layer.bias.copy_((layer.bias - outputs_RC.mean(dim=0)) * factor_C)
    layer.weight.mul_(factor_C.reshape(-1, *[1] * (layer.weight.dim() - 1)))


def detector_card(model: MaskRCNN, image_size: tuple[int, int] = (64, 96)) -> ModelCard:
    """Three classes, whose numbers have gaps; pictures fit into limits of shorter and longer side."""
    return ModelCard(
        task="detection",
        classes=("square", "disc", "ring"),
        category_ids=(3, 7, 9),
        input=Preprocess(image_size=image_size, resize="fit"),
        variant="nextvit_nano",
        architecture=to_plain(VARIANTS["nextvit_nano"]),
        head=to_plain(model.detector),
    )


def silence_on_black(model: MaskRCNN, spec: Preprocess, *, depth: float = 20.0) -> MaskRCNN:
    """The same detector, which on a black picture is sure that there is nothing."""
    pixels_NCHW = torch.randint(0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    seen: list[Tensor] = []
    fc_cls = model.roi_head.bbox_head.fc_cls
    handle = fc_cls.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].mean(dim=0)))
    with torch.no_grad():
        for each in (pixels_NCHW, torch.zeros_like(pixels_NCHW)):
            model(normalise(each, spec).to(fc_cls.weight.dtype), torch.tensor([[64, 96]] * 2))
        noise_C, black_C = seen
        way_C = (black_C - noise_C) / (black_C - noise_C).square().sum()
        fc_cls.weight[-1] += depth * way_C
        fc_cls.bias[-1] -= depth * way_C @ noise_C
    handle.remove()
    return model
