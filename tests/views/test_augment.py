"""What augmentation can be asked for."""

import pytest

from nextvit.errors import InputError
from nextvit.views.settings import Augment, DetectionAugment


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_scale": (0.5, 0.1)},
        {"crop_scale": (0.0, 1.0)},
        {"crop_aspect": (2.0, 1.0)},
        {"flip": 1.5},
        {"rand_augment": 11.0},
        {"rand_augment_std": -0.5},
        {"rand_augment_ops": 0},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, object]):
    with pytest.raises(InputError, match=f"augment.{next(iter(wrong))}"):
        Augment(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": -0.1},
        {"scales": ()},
        {"scales": (0.0, 1.0)},
        {"crop": 2.0},
        {"crop_scales": (-1.0,)},
        {"crop_sides": (0.5, 0.4)},
        {"photometric": 1.5},
        {"jitter": -1.0},
        {"jitter_scale": (0.0, 1.0)},
        {"copy_paste": 1.1},
    ],
)
def test_impossible_settings_of_detection_are_refused_by_name(wrong: dict[str, object]):
    with pytest.raises(InputError, match=f"objects.{next(iter(wrong))}"):
        DetectionAugment(**wrong)
