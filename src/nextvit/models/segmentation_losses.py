"""What a segmentation model learns from: from a head's logits and the true classes to named losses.

Logits are upsampled to the size of the truth, and losses are float32 whatever the network computes in.
N pictures, C classes.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from nextvit.errors import InputError
from nextvit.models.segmentation_heads import resized

IGNORED = 255
"""In place of a class: pixels of which nothing is learnt."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Which losses are added, and with what weights. The defaults are MMSegmentation's but for `mean_over`."""

    cross_entropy: float = 1.0
    """Weight of the cross-entropy of each pixel."""
    dice: float = 0.0
    """Weight of 1 - Dice, the overlap of each class as a whole: a class of a thousandth of the pixels counts like any other."""
    tversky: float = 0.0
    """Weight of 1 - Tversky's index: Dice in which missing a pixel and taking one for too much weigh differently."""
    missed: float = 0.7
    """In Tversky's index, how much a missed pixel weighs; one too much weighs the rest to 1. With 0.5 it is Dice."""
    auxiliary: float = 0.4
    """Weight of all of these at the auxiliary head, where there is one."""
    mean_over: Literal["labelled", "all"] = "labelled"
    """Of which pixels the cross-entropy is the mean. "all" counts ignored ones, too, as zeros: so the published models
    learnt, and their learning rates fit it."""

    def __post_init__(self) -> None:
        for name in ("cross_entropy", "dice", "tversky", "auxiliary"):
            if not getattr(self, name) >= 0:
                raise InputError(f"the weight {name} must be at least 0, got {getattr(self, name)}")
        if self.cross_entropy + self.dice + self.tversky == 0:
            raise InputError("one of the weights cross_entropy, dice and tversky must be above 0")
        if not 0 < self.missed < 1:
            raise InputError(f"missed must be above 0 and below 1, got {self.missed}")


def class_weights(pixels_C: NDArray[np.integer[Any]], balance: float) -> Tensor:
    """How much a pixel of each class weighs, float32 (C,), from the number of each in the training data: as the class's share of
    them to the power of -balance, and 1 in the mean over the pixels. 0: all alike; 1: each class as much as any other."""
    weights_C = np.maximum(pixels_C, 1.0) ** -balance
    return torch.tensor(weights_C * pixels_C.sum() / (pixels_C * weights_C).sum(), dtype=torch.float32)


def head_losses(
    logits_NCHW: Tensor, targets_NHW: Tensor, settings: LossSettings, weights_C: Tensor | None = None
) -> dict[str, Tensor]:
    """The losses of one head, by name, each with its weight.

    Args:
        logits_NCHW: at any resolution.
        targets_NHW: uint8 or int64, index of the class of each pixel, or IGNORED.
        settings: what is added.
        weights_C: what the cross-entropy of each class's pixels is multiplied by; None: by 1.
    """
    logits_NCHW = resized(logits_NCHW.float(), targets_NHW.shape[1:])
    targets_NHW = targets_NHW.long()
    losses: dict[str, Tensor] = {}
    if settings.cross_entropy:
        entropy = pixel_entropy(logits_NCHW, targets_NHW, weights_C, mean_over=settings.mean_over)
        losses["cross_entropy"] = settings.cross_entropy * entropy
    for name, weight, missed in (("dice", settings.dice, 0.5), ("tversky", settings.tversky, settings.missed)):
        if weight:
            losses[name] = weight * overlap_loss(logits_NCHW.softmax(dim=1), targets_NHW, missed=missed)
    return losses


def pixel_entropy(
    logits_NCHW: Tensor, targets_NHW: Tensor, weights_C: Tensor | None, *, mean_over: Literal["labelled", "all"]
) -> Tensor:
    """The mean over the pixels of their cross-entropy times the weight of their class; 0 where nothing is labelled.

    It is divided by the number of pixels, not by the sum of their weights: a batch with much of a rare class teaches more.
    """
    total = cross_entropy(logits_NCHW, targets_NHW, weight=weights_C, ignore_index=IGNORED, reduction="sum")
    if mean_over == "all":
        return total / targets_NHW.numel()
    return total / (targets_NHW != IGNORED).sum().clamp(min=1)


def overlap_loss(probabilities_NCHW: Tensor, targets_NHW: Tensor, *, missed: float) -> Tensor:
    """1 - Tversky's index (Salehi et al., arXiv:1706.05721), the mean of the classes that the batch shows.

    The index of a class is hits / (hits + missed * misses + (1 - missed) * extras), each a sum of probabilities over the
    labelled pixels of all pictures, so that a picture without the class shows what is too much; 0 where nothing is labelled.
    """
    classes_C11 = torch.arange(probabilities_NCHW.shape[1], device=targets_NHW.device)[:, None, None]
    is_class_NCHW = targets_NHW[:, None] == classes_C11  # of an ignored pixel nowhere
    labelled_N1HW = (targets_NHW != IGNORED)[:, None]
    pixels = (0, 2, 3)
    hits_C = (probabilities_NCHW * is_class_NCHW).sum(dim=pixels)
    extras_C = (probabilities_NCHW * (labelled_N1HW & ~is_class_NCHW)).sum(dim=pixels)
    true_C = is_class_NCHW.sum(dim=pixels)
    shown_C = true_C > 0
    weighed_C = hits_C + missed * (true_C - hits_C) + (1 - missed) * extras_C
    loss_C = 1 - hits_C / torch.where(shown_C, weighed_C, 1.0)
    return torch.where(shown_C, loss_C, 0.0).sum() / shown_C.sum().clamp(min=1)
