"""What a model costs: parameters, and multiply-accumulates counted on the network itself, without running it."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nextvit.models.classification import Classifier
from nextvit.models.config import NextViTConfig


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters and multiply-accumulates of one forward pass of one image.

    Convolutions, linear layers and the two products of attention are counted, as in the paper, whose "FLOPs" are MACs.
    """

    parameters: int
    macs: int


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def cost(config: NextViTConfig, *, num_classes: int = 1000, image_size: tuple[int, int] = (224, 224)) -> Cost:
    """The cost of a classifier at an image size (height, width) in pixels; tensors have shapes but no data."""
    with torch.device("meta"):
        model = Classifier(config, num_classes=num_classes).eval()
        image_NCHW = torch.empty(1, config.in_chans, *image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image_NCHW)
    return Cost(parameters=count_parameters(model), macs=counter.get_total_flops() // 2)
