"""Models with realistic batch-norm statistics: random weights without them grow to 1e11 and compare nothing."""

from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)
SIZES = [(224, 224), (256, 192), (235, 171), (64, 64)]


def calibrate(model: Model, *, in_chans: int = 3) -> Model:
    """Give norms random weights and the statistics of random images; return the model in float64 and eval mode."""
    generator = torch.Generator().manual_seed(0)
    model = model.double().train()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # a cumulative average
        norm.reset_running_stats()
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        nn.init.uniform_(norm.bias, -0.5, 0.5, generator=generator)
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, in_chans, 96, 96, generator=generator, dtype=torch.float64))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def image(height: int, width: int, *, count: int = 2, in_chans: int = 3) -> torch.Tensor:
    """Normalised noise in float64: (count, in_chans, height, width)."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randn(count, in_chans, height, width, generator=generator, dtype=torch.float64)
