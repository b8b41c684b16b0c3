"""AdamW: weight decay and learning rate of each group of parameters."""

import re
from typing import Any

import torch
from torch import nn

from nextvit.models.backbone import NextViT
from nextvit.models.network import Network
from nextvit.train.recipe import Optim


def build_optimizer(model: Network, settings: Optim) -> torch.optim.AdamW:
    """AdamW without frozen parameters.

    By default matrices and filters decay, norms and biases do not (as in the official recipe of ImageNet). Other
    settings decay all but norms (as in those of COCO and UperNet) or everything (as in that of Semantic FPN).

    With `layer_decay` below 1 there are two such groups for each depth; "lr_scale" is the factor of the group's rate.
    """
    assert settings.layer_decay != "auto", "resolve the recipe first"
    backbone = model.backbone
    deepest = depth_of("head", backbone)
    norms = {
        parameter
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)
        for parameter in module.parameters()
    }
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = depth_of(name, backbone) if settings.layer_decay < 1 else deepest
        decays = settings.decay_norms if parameter in norms else settings.decay_biases or parameter.ndim > 1
        group = {"params": [], "decays": decays, "lr_scale": settings.layer_decay ** (deepest - depth)}
        groups.setdefault((depth, decays), group)["params"].append(parameter)
    optimizer = torch.optim.AdamW(list(groups.values()), fused=True)
    set_hyperparameters(optimizer, settings)
    return optimizer


def depth_of(name: str, backbone: NextViT) -> int:
    """Number of blocks before a parameter: 0 for the stem, the largest for the last norm and the head."""
    if name.startswith("backbone.stem."):
        return 0
    if match := re.match(r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.", name):
        stage, block = int(match[1]), int(match[2])
        return 1 + sum(backbone.config.depths[:stage]) + block
    return 1 + sum(backbone.config.depths)


def set_hyperparameters(optimizer: torch.optim.Optimizer, settings: Optim) -> None:
    """Set a recipe's weight decay and betas in every group, also after a state was loaded; the learning rate is set at
    each step."""
    for group in optimizer.param_groups:
        group["weight_decay"] = settings.weight_decay if group["decays"] else 0.0
        group["betas"] = settings.betas


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def freeze(model: Network, stages: int, *, norms: bool) -> list[nn.Module]:
    """Freeze the stem and the first `stages` stages. Returns them, and with `norms` all batch norms of the backbone, so
    that `train_mode` keeps their statistics."""
    frozen: list[nn.Module] = [model.backbone.stem, *list(model.backbone.stages)[:stages]] if stages else []
    for part in frozen:
        part.requires_grad_(False)
    if norms:
        frozen += [each for each in model.backbone.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    return frozen


def train_mode(model: nn.Module, frozen: list[nn.Module]) -> None:
    """Set training mode for all but the frozen parts, whose batch norms keep their statistics."""
    model.train()
    for part in frozen:
        part.eval()
