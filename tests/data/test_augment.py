"""Random crops and flips."""

import pytest
import torch

from nextvit.data.augment import Augment, build_augmentation
from nextvit.errors import InputError


def test_whole_crop_without_flip_changes_nothing():
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    whole = Augment(crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0.0)
    assert torch.equal(build_augmentation(whole, image_size=(32, 32))(image), image)
    mirrored = Augment(crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=1.0)
    assert torch.equal(build_augmentation(mirrored, image_size=(32, 32))(image), image.flip(2))


def test_crops_keep_their_share_of_the_area():
    # Each pixel holds its column, so that the range of a crop tells its width.
    image = torch.arange(200, dtype=torch.uint8).expand(3, 200, 200)
    transform = build_augmentation(Augment(crop_scale=(0.25, 0.25), crop_aspect=(1.0, 1.0)), image_size=(100, 100))
    for _ in range(20):
        crop = transform(image).int()
        assert 97 <= crop.max() - crop.min() <= 100


@pytest.mark.parametrize(
    "wrong", [{"crop_scale": (0.5, 0.1)}, {"crop_scale": (0.0, 1.0)}, {"crop_aspect": (2.0, 1.0)}, {"flip": 1.5}]
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, object]):
    with pytest.raises(InputError, match=f"augment.{next(iter(wrong))}"):
        Augment(**wrong)
