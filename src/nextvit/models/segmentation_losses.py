"""The losses of a segmentation model: logits of a head and ground truth -> named losses.

Logits are upsampled to the size of the ground truth. Losses are float32 whatever the precision of the network.

Letters: N images, C classes, H W height and width.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from nextvit.errors import InputError
from nextvit.models.segmentation_heads import resize_bilinear

IGNORE_INDEX = 255
"""The label of pixels that no loss counts."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """The weights of the losses. The defaults are those of MMSegmentation, except for `mean_over`."""

    cross_entropy: float = 1.0
    """Weight of the cross-entropy of the pixels."""
    dice: float = 0.0
    """Weight of the Dice loss, which counts every class alike, even one with a thousandth of the pixels."""
    tversky: float = 0.0
    """Weight of the Tversky loss: a Dice loss in which false negatives and false positives have different weights."""
    missed: float = 0.7
    """Weight of false negatives in the Tversky index; false positives weigh 1 - `missed`. With 0.5 it is Dice."""
    auxiliary: float = 0.4
    """Weight of the summed losses of the auxiliary head, if there is one."""
    mean_over: Literal["labelled", "all"] = "labelled"
    """Pixels over which the cross-entropy is averaged. "all" also counts ignored ones, as zeros: the published models
    were trained so, with learning rates that suit it."""

    def __post_init__(self) -> None:
        for name in ("cross_entropy", "dice", "tversky", "auxiliary"):
            if not getattr(self, name) >= 0:
                raise InputError(f"the weight {name} must be at least 0, got {getattr(self, name)}")
        if self.cross_entropy + self.dice + self.tversky == 0:
            raise InputError("one of the weights cross_entropy, dice and tversky must be above 0")
        if not 0 < self.missed < 1:
            raise InputError(f"missed must be above 0 and below 1, got {self.missed}")


def class_weights(pixels_C: NDArray[np.integer[Any]], balance: float) -> Tensor:
    """Class weights for the cross-entropy that give rare classes more weight.

    The weight is proportional to the class frequency to the power of -balance.

    Args:
        pixels_C: number of pixels of each class in the training data.
        balance: 0: all pixels weigh the same; 1: all classes have the same total weight.

    Returns:
        float32 (C,), with a mean of 1 over all pixels.
    """
    weights_C = np.maximum(pixels_C, 1.0) ** -balance
    return torch.tensor(weights_C * pixels_C.sum() / (pixels_C * weights_C).sum(), dtype=torch.float32)


def head_losses(
    logits_NCHW: Tensor, targets_NHW: Tensor, settings: LossSettings, weights_C: Tensor | None = None
) -> dict[str, Tensor]:
    """The losses of one head by name, multiplied by their weights.

    Args:
        logits_NCHW: at any resolution.
        targets_NHW: uint8 or int64, class index of each pixel, or IGNORE_INDEX; at any resolution.
        settings: which losses are computed, and with what weights.
        weights_C: weight of each class in the cross-entropy; None: all 1.

    Returns:
        Those of "cross_entropy", "dice" and "tversky" whose weight is not 0, each a float32 scalar.
    """
    logits_NCHW = resize_bilinear(logits_NCHW.float(), targets_NHW.shape[1:])
    targets_NHW = targets_NHW.long()
    losses: dict[str, Tensor] = {}
    if settings.cross_entropy:
        loss = pixel_cross_entropy(logits_NCHW, targets_NHW, weights_C, mean_over=settings.mean_over)
        losses["cross_entropy"] = settings.cross_entropy * loss
    for name, weight, missed in (("dice", settings.dice, 0.5), ("tversky", settings.tversky, settings.missed)):
        if weight:
            losses[name] = weight * tversky_loss(logits_NCHW.softmax(dim=1), targets_NHW, missed=missed)
    return losses


def pixel_cross_entropy(
    logits_NCHW: Tensor, targets_NHW: Tensor, weights_C: Tensor | None, *, mean_over: Literal["labelled", "all"]
) -> Tensor:
    """The mean over the pixels of the class-weighted cross-entropy; 0 if no pixel is labelled.

    The sum is divided by the number of pixels, not by the sum of their weights as in PyTorch. A batch with many pixels
    of a rare class therefore has a larger gradient.
    """
    total = cross_entropy(logits_NCHW, targets_NHW, weight=weights_C, ignore_index=IGNORE_INDEX, reduction="sum")
    if mean_over == "all":
        return total / targets_NHW.numel()
    return total / (targets_NHW != IGNORE_INDEX).sum().clamp(min=1)


def tversky_loss(probabilities_NCHW: Tensor, targets_NHW: Tensor, *, missed: float) -> Tensor:
    """1 - Tversky index (Salehi et al., arXiv:1706.05721), averaged over the classes in the ground truth of the batch.

    The index of a class is TP / (TP + missed * FN + (1 - missed) * FP), each a sum of probabilities over the labelled
    pixels of all images together; images without the class add false positives.

    Args:
        probabilities_NCHW: softmax of the logits.
        targets_NHW: int64, class index of each pixel, or IGNORE_INDEX.
        missed: weight of false negatives, between 0 and 1.

    Returns:
        A scalar; 0 if no pixel is labelled.
    """
    classes_C11 = torch.arange(probabilities_NCHW.shape[1], device=targets_NHW.device)[:, None, None]
    is_class_NCHW = targets_NHW[:, None] == classes_C11  # all False for an ignored pixel
    is_labelled_N1HW = (targets_NHW != IGNORE_INDEX)[:, None]
    pixels = (0, 2, 3)
    true_positives_C = (probabilities_NCHW * is_class_NCHW).sum(dim=pixels)
    false_positives_C = (probabilities_NCHW * (is_labelled_N1HW & ~is_class_NCHW)).sum(dim=pixels)
    support_C = is_class_NCHW.sum(dim=pixels)
    is_present_C = support_C > 0
    denominator_C = true_positives_C + missed * (support_C - true_positives_C) + (1 - missed) * false_positives_C
    loss_C = 1 - true_positives_C / torch.where(is_present_C, denominator_C, 1.0)
    return torch.where(is_present_C, loss_C, 0.0).sum() / is_present_C.sum().clamp(min=1)
