"""What training does to a picture, as settings; `nextvit.data.view` does it. Reading them loads no torch."""

from dataclasses import dataclass

from nextvit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random crop, flip, and RandAugment."""

    crop_scale: tuple[float, float] = (0.35, 1.0)
    """Least and most share of the picture's area in a crop."""
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and most width / height of a crop, before it is scaled to the input's size."""
    flip: float = 0.5
    """Probability of a horizontal flip; 0 where left and right differ in meaning, as in writing."""
    rand_augment: float = 0.0
    """Mean strength of RandAugment's operations on colour and geometry, 0..10; 0: none, 9: as in the paper."""
    rand_augment_std: float = 0.5
    """Standard deviation of the strength from one operation to the next."""
    rand_augment_ops: int = 2
    """Operations that are drawn for each picture; each is done with a probability of one half."""

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
