"""Small segmentation models with varied predictions."""

from typing import Any, Literal

import torch
from torch import nn

from nextvit.models.config import VARIANTS
from nextvit.models.segmentation import Segmenter, SegmenterConfig
from tests.models.calibrated import calibrate

CLASSES = 4
TINY_HEADS: dict[str, dict[str, Any]] = {
    "fpn": {"neck_width": 12, "head_width": 8, "auxiliary_width": 6},
    "uper": {"head_width": 8, "auxiliary_width": 6},
}


def random_segmenter(head: Literal["fpn", "uper"] = "fpn", *, seed: int = 0, **settings: Any) -> Segmenter:
    """nextvit_nano with a tiny head and tiny auxiliary head with random weights, in float64 and eval mode."""
    torch.manual_seed(seed)
    config = SegmenterConfig(head=head, **(TINY_HEADS[head] | settings))
    model = calibrate(Segmenter(VARIANTS["nextvit_nano"], config, num_classes=CLASSES))
    for name, module in model.named_modules():
        if name.endswith("conv_seg"):
            assert isinstance(module, nn.Conv2d) and module.bias is not None
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model
