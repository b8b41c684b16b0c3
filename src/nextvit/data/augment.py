"""What training does to a picture: a random crop of random size and shape, and a flip."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nextvit.errors import InputError

if TYPE_CHECKING:
    from torchvision.transforms import v2


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random crop and flip."""

    crop_scale: tuple[float, float] = (0.35, 1.0)
    """Least and most share of the picture's area in a crop."""
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and most width / height of a crop, before it is scaled to the input's size."""
    flip: float = 0.5
    """Probability of a horizontal flip; 0 where left and right differ in meaning, as in writing."""

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise InputError(f"augment.crop_scale must rise within (0, 1], got {self.crop_scale}")
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1]:
            raise InputError(f"augment.crop_aspect must rise above 0, got {self.crop_aspect}")
        if not 0 <= self.flip <= 1:
            raise InputError(f"augment.flip is a probability, got {self.flip}")


def build_augmentation(settings: Augment, *, image_size: tuple[int, int]) -> "v2.Transform":
    """A transform from a uint8 image (3, H, W) to a random view (3, *image_size), drawn from torch's generator."""
    from torchvision.transforms import v2  # here, so that reading a recipe loads no torch

    return v2.Compose(
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
