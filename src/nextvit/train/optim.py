"""AdamW, sparing one-dimensional parameters from decay."""

import torch
from torch import nn

from nextvit.train.recipe import Optim


def build_optimizer(model: nn.Module, settings: Optim) -> torch.optim.AdamW:
    """Two groups: matrices and filters, which decay, and norms and biases, which do not (as in the official recipe)."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def set_hyperparameters(optimizer: torch.optim.Optimizer, settings: Optim) -> None:
    """Give both groups the settings of a recipe, whatever a loaded state said; the learning rate is set at each step."""
    for group, weight_decay in zip(optimizer.param_groups, (settings.weight_decay, 0.0), strict=True):
        group["weight_decay"], group["betas"] = weight_decay, settings.betas


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
