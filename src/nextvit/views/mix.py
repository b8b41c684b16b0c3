"""What training does to a whole batch, on the device: random erasing, then mixup or CutMix.

The settings and forms are those that the paper's recipe takes from timm; pixels are float, 0 to 255.
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
    """Mixing of pictures within a batch; 0 turns each off."""

    mixup: float = 0.0
    """Mixup's alpha: the share of the first picture is drawn from Beta(alpha, alpha) (Zhang et al., arXiv:1710.09412)."""
    cutmix: float = 0.0
    """CutMix's alpha, for the share that is not pasted over (Yun et al., arXiv:1905.04899)."""
    switch: float = 0.5
    """Where both are on, the probability of CutMix."""
    erase: float = 0.0
    """Probability that a rectangle of a picture becomes noise (Zhong et al., arXiv:1708.04896)."""

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise InputError(f"mix.{name} must not be negative, got {getattr(self, name)}")
        for name in ("switch", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"mix.{name} is a probability, got {getattr(self, name)}")


def mixed(pixels_NCHW: "Tensor", targets: "Tensor", settings: Mix, rng: np.random.Generator) -> "tuple[Tensor, Tensor]":
    """Erase and mix a batch: pixels (N, 3, H, W), float, 0..255, and soft targets (N, classes), float.

    Each picture is mixed with the one at the mirrored place of the batch, all in the same proportion, as in timm's
    batch mode. `rng` decides everything but the noise, which comes from torch's generator of the device.
    """
    if settings.erase:
        pixels_NCHW = erased(pixels_NCHW, settings.erase, rng)
    if not settings.mixup and not settings.cutmix:
        return pixels_NCHW, targets
    pastes = bool(settings.cutmix) and (not settings.mixup or rng.random() < settings.switch)
    alpha = settings.cutmix if pastes else settings.mixup
    share = float(rng.beta(alpha, alpha))
    if pastes:
        pixels_NCHW, share = pasted(pixels_NCHW, share, rng)
    else:
        pixels_NCHW = share * pixels_NCHW + (1 - share) * pixels_NCHW.flip(0)
    return pixels_NCHW, share * targets + (1 - share) * targets.flip(0)


def pasted(pixels_NCHW: "Tensor", share: float, rng: np.random.Generator) -> "tuple[Tensor, float]":
    """A rectangle of the mirrored picture in each one, and the share that is still its own after clipping."""
    height, width = pixels_NCHW.shape[2:]
    side = math.sqrt(1 - share)
    tall, wide = int(height * side), int(width * side)
    middle_y, middle_x = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = max(0, middle_y - tall // 2), min(height, middle_y + (tall + 1) // 2)
    left, right = max(0, middle_x - wide // 2), min(width, middle_x + (wide + 1) // 2)
    result = pixels_NCHW.clone()
    result[:, :, top:bottom, left:right] = pixels_NCHW.flip(0)[:, :, top:bottom, left:right]
    return result, 1 - (bottom - top) * (right - left) / (height * width)


def erased(pixels_NCHW: "Tensor", probability: float, rng: np.random.Generator) -> "Tensor":
    """Normal noise of ImageNet's mean and deviation in a rectangle of some of the pictures, a value for each pixel."""
    import torch

    height, width = pixels_NCHW.shape[2:]
    mean, deviation = (
        255 * torch.tensor(values, device=pixels_NCHW.device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    result = pixels_NCHW.clone()
    for index in np.nonzero(rng.random(len(pixels_NCHW)) < probability)[0].tolist():
        if box := erased_box(height, width, rng):
            top, left, tall, wide = box
            noise = torch.randn(3, tall, wide, device=pixels_NCHW.device)
            result[index, :, top : top + tall, left : left + wide] = mean + deviation * noise
    return result


def erased_box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of a rectangle inside the picture; None if ten draws gave none that fits."""
    for _ in range(10):
        area = rng.uniform(*ERASED_AREA) * height * width
        aspect = math.exp(rng.uniform(math.log(ERASED_ASPECT[0]), math.log(ERASED_ASPECT[1])))
        tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if tall < height and wide < width:
            return int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1)), tall, wide
    return None
