"""Augmentation of a whole batch, on the device: random erasing, then mixup or CutMix.

The paper's recipe uses timm's forms and settings; so does this. Pixels are float, 0 to 255.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nextvit.errors import InputError
from nextvit.image.resizing import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from torch import Tensor

ERASED_AREA, ERASED_ASPECT = (0.02, 1 / 3), (0.3, 1 / 0.3)


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Mixing of images within a batch; 0 turns each off."""

    mixup: float = 0.0
    """Mixup's alpha: an image's weight is drawn from Beta(alpha, alpha) (Zhang et al., arXiv:1710.09412)."""
    cutmix: float = 0.0
    """CutMix's alpha, for the fraction of the image that is not pasted over (Yun et al., arXiv:1905.04899)."""
    switch: float = 0.5
    """Where both are on, the probability of CutMix."""
    batches: float = 1.0
    """Fraction of the batches that mixup and CutMix mix."""
    erase: float = 0.0
    """Probability that a rectangle of an image is replaced by noise (Zhong et al., arXiv:1708.04896)."""

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise InputError(f"mix.{name} must not be negative, got {getattr(self, name)}")
        for name in ("switch", "batches", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"mix.{name} is a probability, got {getattr(self, name)}")


def mix_batch(
    pixels_NCHW: "Tensor", targets: "Tensor", settings: Mix, rng: np.random.Generator
) -> "tuple[Tensor, Tensor]":
    """Erase and mix a batch.

    Image i is mixed with image N - 1 - i, all with the same weight, as in timm's batch mode.

    Args:
        pixels_NCHW: float, 0..255.
        targets: soft targets (N, classes), float.
        settings: what to do.
        rng: source of all randomness but the noise, which comes from torch's generator of the device.

    Returns:
        New pixels and targets of the same shapes.
    """
    if settings.erase:
        pixels_NCHW = erase_rectangles(pixels_NCHW, settings.erase, rng)
    if not settings.mixup and not settings.cutmix:
        return pixels_NCHW, targets
    if settings.batches < 1 and rng.random() >= settings.batches:
        return pixels_NCHW, targets
    use_cutmix = bool(settings.cutmix) and (not settings.mixup or rng.random() < settings.switch)
    alpha = settings.cutmix if use_cutmix else settings.mixup
    weight = float(rng.beta(alpha, alpha))
    if use_cutmix:
        pixels_NCHW, weight = paste_mirrored(pixels_NCHW, weight, rng)
    else:
        pixels_NCHW = weight * pixels_NCHW + (1 - weight) * pixels_NCHW.flip(0)
    return pixels_NCHW, weight * targets + (1 - weight) * targets.flip(0)


def paste_mirrored(pixels_NCHW: "Tensor", weight: float, rng: np.random.Generator) -> "tuple[Tensor, float]":
    """CutMix: paste a rectangle of image N - 1 - i into image i, the same for all.

    Args:
        pixels_NCHW: the batch.
        weight: fraction of the area that each image should keep.
        rng: draws the centre of the rectangle.

    Returns:
        New pixels, and the fraction that each image kept: more than `weight` where the border clips the rectangle.
    """
    height, width = pixels_NCHW.shape[2:]
    side = math.sqrt(1 - weight)
    box_height, box_width = int(height * side), int(width * side)
    center_y, center_x = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = max(0, center_y - box_height // 2), min(height, center_y + (box_height + 1) // 2)
    left, right = max(0, center_x - box_width // 2), min(width, center_x + (box_width + 1) // 2)
    result = pixels_NCHW.clone()
    result[:, :, top:bottom, left:right] = pixels_NCHW.flip(0)[:, :, top:bottom, left:right]
    return result, 1 - (bottom - top) * (right - left) / (height * width)


def erase_rectangles(pixels_NCHW: "Tensor", probability: float, rng: np.random.Generator) -> "Tensor":
    """Random erasing: replace a rectangle of some images by normal noise, per pixel, with ImageNet's mean and std."""
    import torch

    height, width = pixels_NCHW.shape[2:]
    mean, std = (
        255 * torch.tensor(values, device=pixels_NCHW.device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    result = pixels_NCHW.clone()
    for index in np.nonzero(rng.random(len(pixels_NCHW)) < probability)[0].tolist():
        if box := draw_rectangle(height, width, rng):
            top, left, box_height, box_width = box
            noise = torch.randn(3, box_height, box_width, device=pixels_NCHW.device)
            result[index, :, top : top + box_height, left : left + box_width] = mean + std * noise
    return result


def draw_rectangle(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Draw top, left, height and width of a rectangle inside the image; None if none of ten draws fits."""
    for _ in range(10):
        area = rng.uniform(*ERASED_AREA) * height * width
        aspect = math.exp(rng.uniform(math.log(ERASED_ASPECT[0]), math.log(ERASED_ASPECT[1])))
        box_height, box_width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if box_height < height and box_width < width:
            top, left = int(rng.integers(height - box_height + 1)), int(rng.integers(width - box_width + 1))
            return top, left, box_height, box_width
    return None
