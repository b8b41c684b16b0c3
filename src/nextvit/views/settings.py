"""Settings of the augmentation, for each task. Reading them loads no torch."""

from dataclasses import dataclass
from typing import Literal

from nextvit.errors import InputError

FlipSides = Literal["auto", "exchange", "ignore"]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random crop, flip, and RandAugment."""

    crop_scale: tuple[float, float] = (0.35, 1.0)
    """Least and largest fraction of the image's area in a crop."""
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width / height of a crop, before it is scaled to the input's size."""
    flip: float = 0.5
    """Probability of a horizontal flip; 0 where left and right differ in meaning, as in writing."""
    flip_sides: FlipSides = "auto"
    """What a flip does to classes with a side, such as left_mirror: "exchange": it makes each its counterpart,
    right_mirror; "ignore": nothing; "auto": exchange where each has one, else there are no flips."""
    rand_augment: float = 0.0
    """Mean strength of RandAugment's operations on colour and geometry, 0..10; 0: none, 9: as in the paper."""
    rand_augment_std: float = 0.5
    """Standard deviation of the strength from one operation to the next."""
    rand_augment_ops: int = 2
    """Operations that are drawn for each image; each is applied with a probability of one half."""

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise InputError(f"augment.crop_scale must rise within (0, 1], got {self.crop_scale}")
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1]:
            raise InputError(f"augment.crop_aspect must rise above 0, got {self.crop_aspect}")
        if not 0 <= self.flip <= 1:
            raise InputError(f"augment.flip is a probability, got {self.flip}")
        if not 0 <= self.rand_augment <= 10:
            raise InputError(f"augment.rand_augment must be between 0 and 10, got {self.rand_augment}")
        if self.rand_augment_std < 0:
            raise InputError(f"augment.rand_augment_std must not be negative, got {self.rand_augment_std}")
        if self.rand_augment_ops < 1:
            raise InputError(f"augment.rand_augment_ops must be at least 1, got {self.rand_augment_ops}")


@dataclass(frozen=True, kw_only=True)
class DetectionAugment:
    """Random scale, crop, flip and colour of an image with objects. Fractions are relative to the input's limit of the
    shorter side, so that the same settings serve an input of (800, 1333) and one of (256, 426)."""

    flip: float = 0.5
    """Probability of a horizontal flip; 0 where left and right differ in meaning."""
    flip_sides: FlipSides = "auto"
    """What a flip does to classes with a side, such as left_mirror: "exchange": it makes each its counterpart,
    right_mirror; "ignore": nothing; "auto": exchange where each has one, else there are no flips."""
    scales: tuple[float, ...] = (0.6, 0.64, 0.68, 0.72, 0.76, 0.8, 0.84, 0.88, 0.92, 0.96, 1.0)
    """The shorter side of a view, as fractions of which one is drawn. The limit of the longer side stays. (1.0,): one
    scale alone."""
    crop: float = 0.5
    """Probability that a view is a random crop, as DETR trains (Carion et al., arXiv:2005.12872)."""
    crop_scales: tuple[float, ...] = (0.5, 0.625, 0.75)
    """The shorter side of the image before it is cropped; one is drawn."""
    crop_sides: tuple[float, float] = (0.48, 0.75)
    """Least and largest height, and width, of the crop."""
    tighten: bool = True
    """Compute the box of an object from its mask where a crop cuts it; False: cut the box, as MMDetection's schedules
    do."""
    photometric: float = 0.0
    """Strength of changes of brightness, contrast, saturation and hue, 0..1; 1: as SSD's (Liu et al.,
    arXiv:1512.02325)."""
    jitter: float = 0.0
    """Probability of large-scale jitter in place of scales and crop (Ghiasi et al., arXiv:2012.07177)."""
    jitter_scale: tuple[float, float] = (0.1, 2.0)
    """Least and largest scale, relative to the image at the input's limits; what exceeds the limits is cropped."""
    copy_paste: float = 0.0
    """Probability that half of the objects of another image are pasted in (same paper); needs masks."""

    def __post_init__(self) -> None:
        for name in ("flip", "crop", "jitter", "copy_paste"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"objects.{name} is a probability, got {getattr(self, name)}")
        for name in ("scales", "crop_scales"):
            fractions = getattr(self, name)
            if not fractions or min(fractions) <= 0:
                raise InputError(f"objects.{name} must be one fraction or more, all above 0, got {fractions}")
        for name in ("crop_sides", "jitter_scale"):
            least, most = getattr(self, name)
            if not 0 < least <= most:
                raise InputError(f"objects.{name} must rise above 0, got {least, most}")
        if not 0 <= self.photometric <= 1:
            raise InputError(f"objects.photometric must be between 0 and 1, got {self.photometric}")


@dataclass(frozen=True, kw_only=True)
class SegmentationAugment:
    """Random scale, crop, flip and colour of an image with a mask."""

    flip: float = 0.5
    """Probability of a horizontal flip; 0 where left and right differ in meaning."""
    flip_sides: FlipSides = "auto"
    """What a flip does to classes with a side, such as left_mirror: "exchange": it makes each its counterpart,
    right_mirror; "ignore": nothing; "auto": exchange where each has one, else there are no flips."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Least and largest scale, relative to the image at the input's size or limits."""
    crop: float = 1.0
    """Side of the square view as a fraction of the input's limit of the shorter side; the view of an input of one fixed
    size is that fraction of both its sides. Rounded to multiples of 32 px; the loss ignores what the image does not
    fill."""
    most_of_one_class: float = 0.75
    """A crop with a larger fraction of one class is drawn again, up to ten times; 1: never."""
    rare_crops: float = 0.0
    """Probability that a crop is centred near a pixel of a class that is rare in the data."""
    photometric: float = 1.0
    """Strength of changes of brightness, contrast, saturation and hue, 0..1; 1: as SSD's (Liu et al.,
    arXiv:1512.02325)."""
    colours: Literal["linear", "published"] = "linear"
    """How colours are changed. "linear": all four in one linear map of red, green and blue; "published": each in half
    of the views, saturation and hue in HSV, and hue by up to twice as much, as MMSegmentation does."""

    def __post_init__(self) -> None:
        for name in ("flip", "rare_crops"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"masks.{name} is a probability, got {getattr(self, name)}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"masks.scale must rise above 0, got {self.scale}")
        if not 0 < self.crop <= 4:
            raise InputError(f"masks.crop must be above 0 and at most 4, got {self.crop}")
        if not 0 < self.most_of_one_class <= 1:
            raise InputError(f"masks.most_of_one_class is a fraction above 0, got {self.most_of_one_class}")
        if not 0 <= self.photometric <= 1:
            raise InputError(f"masks.photometric must be between 0 and 1, got {self.photometric}")


Flipping = Augment | DetectionAugment | SegmentationAugment
"""The settings that flip views."""
