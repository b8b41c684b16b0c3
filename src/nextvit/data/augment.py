"""What training does to a picture: a random crop of random size and shape, and a flip."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nextvit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random crop and flip."""

    crop_scale: tuple[float, float] = (0.35, 1.0)
    """Least and most share of the picture's area in a crop."""
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and most width / height of a crop, before it is scaled to the input's size."""
    flip: float = 0.5
    """Probability of a horizontal flip; 0 where left and right differ in meaning, as in writing."""

    rand_augment: float = 0.0
    """RandAugment's magnitude; 0: none."""

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise InputError(f"augment.crop_scale must rise within (0, 1], got {self.crop_scale}")
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1]:
            raise InputError(f"augment.crop_aspect must rise above 0, got {self.crop_aspect}")
        if not 0 <= self.flip <= 1:
            raise InputError(f"augment.flip is a probability, got {self.flip}")


class View(Protocol):
    """From an encoded picture to its augmented view (H, W, 3), decided by `rng` alone."""

    def __call__(self, content: bytes, *, name: Path, rng: np.random.Generator) -> NDArray[np.uint8]: ...


def build_view(settings: Augment, *, image_size: tuple[int, int]) -> View:
    """A random crop, scaled to `image_size`, perhaps flipped; raises DecodeError for what is no picture."""
    import torch
    from torchvision.transforms import v2  # here, so that reading a recipe loads no torch

    from nextvit.data.decode import decode

    augmentation = v2.Compose(
        [
            v2.RandomResizedCrop(
                list(image_size),
                scale=settings.crop_scale,
                ratio=settings.crop_aspect,
                interpolation=v2.InterpolationMode.BICUBIC,
                antialias=True,
            ),
            v2.RandomHorizontalFlip(settings.flip),
        ]
    )

    def view(content: bytes, *, name: Path, rng: np.random.Generator) -> NDArray[np.uint8]:
        image_CHW = decode(content, name=name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            return np.ascontiguousarray(augmentation(image_CHW).permute(1, 2, 0).numpy())

    return view
