"""RandAugment against timm's."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from nextvit.image.reading import Pixels
from nextvit.views.rand_augment import FILL, OPERATIONS, RandAugment
from tests.image.photos import photo

TIMM_NAMES = {
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
    "rotate": "Rotate",
    "posterize": "PosterizeIncreasing",
    "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd",
    "color": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}
MOVED_ALONG_AN_AXIS = ("shear_x", "shear_y", "translate_x", "translate_y")


def test_the_operations_are_timms():
    auto_augment = pytest.importorskip("timm.data.auto_augment", reason="compares with timm")
    assert sorted(TIMM_NAMES[name] for name in OPERATIONS) == sorted(auto_augment._RAND_INCREASING_TRANSFORMS)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("magnitude", [0.0, 2.5, 8.37, 9.0, 9.99])
@pytest.mark.parametrize("sign", [1, -1])
def test_each_operation_gives_timms_pixels(name: str, magnitude: float, sign: int, monkeypatch: pytest.MonkeyPatch):
    auto_augment = pytest.importorskip("timm.data.auto_augment", reason="compares with timm")
    monkeypatch.setattr(auto_augment, "_randomly_negate", lambda value: sign * value)
    hparams = {"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
    image = photo(151, 97)
    expected = np.array(auto_augment.AugmentOp(TIMM_NAMES[name], prob=1.0, magnitude=magnitude, hparams=hparams)(image))
    ours = OPERATIONS[name](np.array(image), sign * (magnitude / 10))
    assert ours.dtype == np.uint8
    difference = np.abs(ours.astype(int) - expected.astype(int))
    if name in MOVED_ALONG_AN_AXIS:
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
    else:
        assert difference.max() == 0


def test_the_strongest_posterizing_keeps_one_bit():
    assert set(np.unique(OPERATIONS["posterize"](np.array(photo(64, 64)), 1.0))) == {0, 128}


def test_operations_are_drawn_equally_often_half_are_done_and_strengths_spread():
    augment = RandAugment(magnitude=9.0, std=0.5, count=2)
    rng = np.random.default_rng(0)
    draws = [augment.draw(rng) for _ in range(15_000)]
    done = [operation for draw in draws for operation in draw]
    assert abs(len(done) - 15_000) < 4 * np.sqrt(30_000 / 4)
    for name, times in Counter(name for name, _ in done).items():
        assert abs(times - 1_000) < 150, name
    assert {len(draw) for draw in draws} == {0, 1, 2}
    amounts = np.array([amount for _, amount in done])
    assert abs((amounts > 0).mean() - 0.5) < 0.02
    strengths = 10 * np.abs(amounts)
    assert abs(np.median(strengths) - 9.0) < 0.02
    assert abs(strengths.std() - 0.5) < 0.02
    assert strengths.max() == 10.0
    assert abs((strengths == 10.0).mean() - 0.0228) < 0.006  # two deviations above the mean


def test_an_image_is_a_function_of_its_generator():
    pixels = np.array(photo(64, 48))
    augment = RandAugment(magnitude=9.0, std=0.5, count=2)

    def views(seed: int) -> list[Pixels]:
        rng = np.random.default_rng(seed)
        return [augment(pixels, rng) for _ in range(20)]

    assert all(np.array_equal(a, b) for a, b in zip(views(1), views(1), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(views(1), views(2), strict=True))
    assert all(view.shape == pixels.shape and view.dtype == np.uint8 for view in views(3))
