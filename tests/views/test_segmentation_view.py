"""From a file's bytes and its mask to training's view of them: pixels and classes stay in step."""

import colorsys
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nextvit.data.reading import read_segmented
from nextvit.data.split_names import SPLITS
from nextvit.errors import InputError
from nextvit.image.reading import DecodeError, Pixels
from nextvit.image.resizing import IMAGENET_MEAN
from nextvit.views.colour import distort_colours
from nextvit.views.segmentation_view import (
    SegmentationView,
    compute_class_rarity,
    compute_repeat_factors,
    measure_largest_class_fraction,
)
from nextvit.views.settings import SegmentationAugment

NAME = Path("picture")
COLOURS = np.array([(30, 30, 30), (230, 40, 40), (40, 230, 40), (60, 60, 240)], np.uint8)
FILL = np.rint(255 * np.array(IMAGENET_MEAN)).astype(np.uint8)
PLAIN = SegmentationAugment(flip=0, scale=(1.0, 1.0), photometric=0, most_of_one_class=1)

Mask = NDArray[np.uint8]


def scene(size_wh: tuple[int, int] = (128, 96), *, form: str = "PNG") -> tuple[bytes, Mask]:
    """Fields of the colours of four classes."""
    width, height = size_wh
    y, x = np.mgrid[:height, :width]
    mask = ((x > 0.4 * width + 0.2 * y).astype(np.uint8) + 2 * (y > 0.6 * height)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(COLOURS[mask]).save(file, form, **({"quality": 95} if form == "JPEG" else {}))
    return file.getvalue(), mask


def view_of(
    content: bytes,
    mask: Mask,
    settings: SegmentationAugment,
    image_size: tuple[int, int] = (96, 128),
    *,
    seed: int = 0,
    **more: object,
) -> tuple[Pixels, Mask]:
    view = SegmentationView(settings, image_size, **more)  # type: ignore[arg-type]
    return view(content, mask, name=NAME, rng=np.random.default_rng(seed))


def nearest_class(pixels: Pixels) -> Mask:
    """The class whose colour each pixel has."""
    distance = np.abs(pixels[:, :, None].astype(int) - COLOURS).sum(axis=3)
    return distance.argmin(axis=2).astype(np.uint8)


def test_a_view_of_the_whole_image_is_the_image_and_may_be_mirrored():
    content, mask = scene()
    image = np.array(Image.open(io.BytesIO(content)))
    pixels, classes = view_of(content, mask, PLAIN, padded=False)
    assert np.array_equal(pixels, image) and np.array_equal(classes, mask)
    assert pixels.dtype == classes.dtype == np.uint8
    turned = SegmentationAugment(flip=1, scale=(1.0, 1.0), photometric=0)
    pixels, classes = view_of(content, mask, turned, padded=False)
    assert np.array_equal(pixels, image[:, ::-1]) and np.array_equal(classes, mask[:, ::-1])


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("padded", [True, False])
def test_pixels_and_classes_stay_in_step(form: str, padded: bool):
    # As a JPEG the image is so large that it is decoded at a fraction of its size.
    content, mask = scene((128, 96) if form == "PNG" else (1280, 960), form=form)
    settings = SegmentationAugment(photometric=0, crop=0.7, scale=(0.4, 1.6))
    shares, flips = set(), 0
    for seed in range(25):
        pixels, classes = view_of(content, mask, settings, seed=seed, padded=padded)
        assert pixels.shape == (*classes.shape, 3) == ((64, 64, 3) if padded else (64, 96, 3))
        seen = classes != 255
        assert (pixels[~seen] == FILL).all()
        wrong = nearest_class(pixels)[seen] != classes[seen]
        assert wrong.mean() < 0.05  # where fields meet, colours mix
        shares.add(round(float(seen.mean()), 3))
        flips += bool((classes[-1][classes[-1] < 255][:1] == 3).all())
    assert max(shares) == 1 and min(shares) < 1 and 0 < flips < 25


def test_an_image_smaller_than_the_view_lies_at_the_top_left_and_the_rest_has_no_label():
    content, mask = scene()
    half = SegmentationAugment(flip=0, scale=(0.5, 0.5), photometric=0)
    pixels, classes = view_of(content, mask, half)
    assert classes.shape == (96, 96)
    assert (classes[:48, :64] < 255).all() and (classes[48:] == 255).all() and (classes[:, 64:] == 255).all()
    assert (pixels[48:] == FILL).all() and (pixels[:, 64:] == FILL).all()
    assert np.array_equal(classes[:48, :64], mask[1::2, 1::2])


@pytest.mark.parametrize("scale", [0.4, 0.5, 0.9])
def test_what_lies_beyond_an_image_can_have_its_light(scale: float):
    """A model that standardises its whole input then sees the image nearly as it does without a rest: in the same
    light."""
    content, mask = scene()
    settings = SegmentationAugment(flip=0, scale=(scale, scale), photometric=0)
    (pixels, classes), (plain, plain_classes) = (
        view_of(content, mask, settings, mirrored=each) for each in (True, False)
    )
    assert np.array_equal(classes, plain_classes)
    seen = classes < 255
    assert np.array_equal(pixels[seen], plain[seen]) and not seen.all()
    height, width = int(seen[:, 0].sum()), int(seen[0].sum())
    rest = min(height, 96 - height)
    assert np.array_equal(pixels[height : height + rest, :width], pixels[height - rest : height, :width][::-1])
    of_picture, of_view = pixels[:height, :width].astype(float), pixels.astype(float)
    assert abs(of_view.mean() - of_picture.mean()) < 0.3 * of_picture.std()
    assert of_view.std() == pytest.approx(of_picture.std(), rel=0.2)


def test_a_view_is_filled_where_the_image_is_large_enough_and_shows_it_at_the_scale():
    content, mask = scene((301, 211))
    for seed in range(30):
        scale = 1 + seed / 29
        settings = SegmentationAugment(scale=(scale, scale), photometric=0, flip=0)
        _, classes = view_of(content, mask, settings, (96, 1000), seed=seed)
        assert classes.shape == (96, 96) and (classes < 255).all()
    # With a fixed scale of 2 the view shows a half of the shorter side.
    positions = np.arange(211, dtype=np.uint8)[:, None].repeat(301, axis=1)
    _, rows = view_of(content, positions, SegmentationAugment(scale=(2.0, 2.0), photometric=0), (96, 1000))
    assert rows[-1, 0] - rows[0, 0] == pytest.approx(211 / 2, abs=2)


def test_crops_that_one_class_fills_are_drawn_again():
    mask = np.zeros((96, 384), np.uint8)
    mask[:, 300:] = 1
    file = io.BytesIO()
    Image.fromarray(COLOURS[mask]).save(file, "PNG")
    full = {}
    for most in (1.0, 0.75):
        settings = SegmentationAugment(scale=(1.0, 1.0), photometric=0, most_of_one_class=most)
        views = [view_of(file.getvalue(), mask, settings, (96, 1000), seed=seed)[1] for seed in range(60)]
        full[most] = np.mean([measure_largest_class_fraction(view) >= 0.75 for view in views])
    assert full[1.0] > 0.7 and full[0.75] < 0.3


def test_the_largest_share_is_of_the_labelled_pixels():
    assert measure_largest_class_fraction(np.array([[255, 255, 1], [1, 1, 0]], np.uint8)) == 0.75
    assert measure_largest_class_fraction(np.full((2, 2), 255, np.uint8)) == 1


def test_rare_crops_hold_what_is_rare():
    mask = np.zeros((480, 640), np.uint8)
    mask[401:405, 33:37], mask[100:140, 100:140] = 2, 1
    file = io.BytesIO()
    Image.fromarray(COLOURS[mask]).save(file, "PNG")
    rarity = compute_class_rarity(np.bincount(mask.ravel(), minlength=4))
    found, middles = {}, set()
    for share in (0.0, 1.0):
        settings = SegmentationAugment(photometric=0, rare_crops=share, crop=0.25)
        views = [
            view_of(file.getvalue(), mask, settings, (480, 640), seed=seed, rarity=rarity)[1] for seed in range(60)
        ]
        found[share] = np.mean([(view == 2).any() for view in views])
        middles |= {tuple(np.argwhere(view == 2)[0] // 32) for view in views if (view == 2).any()}
    assert found[0.0] < 0.3 and 0.5 < found[1.0] < 0.95  # the other rare class has its share
    assert len(middles) > 6  # wherever in the crop
    # An image without any rare class is seen as ever.
    _, classes = view_of(file.getvalue(), np.zeros_like(mask), settings, (480, 640), rarity=rarity)
    assert set(np.unique(classes)) <= {0, 255}


def test_rarity_falls_with_the_pixels_and_what_is_everywhere_is_not_sought():
    rarity = compute_class_rarity(np.array([9000, 400, 100, 0]))
    assert rarity.sum() == pytest.approx(1) and rarity[0] == rarity[3] == 0
    assert rarity[2] == pytest.approx(2 * rarity[1])
    assert compute_class_rarity(np.array([5, 5])).sum() == 0 == compute_class_rarity(np.zeros(3, int)).sum()


def test_images_of_rare_classes_are_drawn_more_often():
    counts = np.zeros((1000, 3), int)
    counts[:, 0] = 50
    counts[:200, 1] = 5
    counts[:10, 2] = 1
    weights = compute_repeat_factors(counts, threshold=0.1)
    assert weights[:10].tolist() == pytest.approx([np.sqrt(0.1 / 0.01)] * 10) and (weights[10:] == 1).all()


def test_colours_change_and_what_lies_beyond_the_image_does_not():
    content, mask = scene()
    plain, coloured = (
        view_of(content, mask, SegmentationAugment(scale=(0.5, 0.5), photometric=strength)) for strength in (0, 1)
    )
    assert np.array_equal(plain[1], coloured[1]) and not np.array_equal(plain[0], coloured[0])
    assert (coloured[0][plain[1] == 255] == FILL).all()


def mmseg_colours(pixel: NDArray[np.uint8], amounts: NDArray[np.floating], *, contrast_first: bool) -> list[int]:
    """MMSegmentation's PhotoMetricDistortion of one pixel; its changes are -1..1, and 0 for none."""
    brightness, contrast, saturation, hue = amounts.tolist()

    def byte(value: float) -> int:
        return int(min(255.0, max(0.0, value)))

    def contrasted(rgb: list[int]) -> list[int]:
        return [byte(value * (1 + 0.5 * contrast)) for value in rgb]

    rgb = [byte(value + 32 * brightness) for value in pixel.tolist()]
    rgb = contrasted(rgb) if contrast_first else rgb
    turn, chroma, value = colorsys.rgb_to_hsv(*(each / 255 for each in rgb))
    chroma = min(1.0, chroma * (1 + 0.5 * saturation))
    rgb = [byte(255 * each + 0.5) for each in colorsys.hsv_to_rgb((turn + 18 * hue / 180) % 1, chroma, value)]
    return rgb if contrast_first else contrasted(rgb)


def test_published_changes_of_colour_are_mmsegmentations():
    """But for the steps of hue and saturation, of which a byte has 255; and each is made in half of the views."""
    pixels = np.random.default_rng(0).integers(60, 190, (8, 5, 3), dtype=np.uint8)
    made = np.zeros(4)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        amounts = 0.8 * (2 * rng.random(4) - 1)
        chosen = rng.random(4) < 0.5
        amounts, contrast_first = np.where(chosen, amounts, 0.0), bool(rng.random() < 0.5)
        made += chosen
        got = distort_colours(pixels, 0.8, np.random.default_rng(seed)).reshape(-1, 3).astype(int)
        expected = [mmseg_colours(each, amounts, contrast_first=contrast_first) for each in pixels.reshape(-1, 3)]
        assert np.abs(got - expected).max() <= 6 and np.abs(got - expected).mean() < 1.5
        if not chosen.any():
            assert np.array_equal(got.reshape(pixels.shape), pixels)
    assert ((made > 70) & (made < 130)).all()


def test_the_published_changes_are_made_where_they_are_asked_for():
    content, mask = scene()
    settings = SegmentationAugment(flip=0, scale=(1.0, 1.0), most_of_one_class=1, colours="published")
    seen, classes = zip(*(view_of(content, mask, settings, seed=seed) for seed in range(64)), strict=True)
    plain, plain_classes = zip(*(view_of(content, mask, PLAIN, seed=seed) for seed in range(64)), strict=True)
    assert all(np.array_equal(one, other) for one, other in zip(classes, plain_classes, strict=True))
    same = sum(np.array_equal(one, other) for one, other in zip(seen, plain, strict=True))
    assert 0 < same < 16  # four in 64 have none of the four


def test_grey_images_have_three_equal_channels():
    _, mask = scene()
    file = io.BytesIO()
    Image.fromarray(mask * 60).save(file, "JPEG", quality=95)
    pixels, _ = view_of(file.getvalue(), mask, PLAIN, padded=False)
    assert pixels.shape == (96, 128, 3) and np.ptp(pixels, axis=2).max() == 0


def test_a_view_is_a_function_of_its_generator():
    content, mask = scene()
    views = [
        b"".join(each.tobytes() for each in view_of(content, mask, SegmentationAugment(), seed=seed))
        for seed in (*range(8), *range(8))
    ]
    assert views[:8] == views[8:] and len(set(views)) == 8


def test_a_mask_of_another_size_is_refused_by_name():
    for form, size in (("PNG", (128, 96)), ("JPEG", (1280, 960))):
        content, mask = scene(size, form=form)
        words = f"picture: is {size[0]}x{size[1]} px, its mask {size[0] // 2}x{size[1] // 2}"
        with pytest.raises(InputError, match=words):
            view_of(content, mask[::2, ::2], PLAIN)
    with pytest.raises(DecodeError, match="picture: not an image"):
        view_of(b"nothing", mask, PLAIN)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"flip": 2}, r"masks\.flip is a probability, got 2"),
        ({"rare_crops": -1}, r"masks\.rare_crops is a probability"),
        ({"scale": (2, 1)}, r"masks\.scale must rise above 0"),
        ({"crop": 0}, r"masks\.crop must be above 0 and at most 4"),
        ({"most_of_one_class": 0}, r"masks\.most_of_one_class is a fraction above 0"),
        ({"photometric": 2}, r"masks\.photometric must be between 0 and 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, object], words: str):
    with pytest.raises(InputError, match=words):
        SegmentationAugment(**given)  # type: ignore[arg-type]


def test_views_of_real_images_show_their_classes(real_data: Callable[[str], Path]):
    dataset = read_segmented(real_data("magnetic_tile"), [], SPLITS)
    view = SegmentationView(SegmentationAugment(), (128, 384))
    for index in range(0, 400, 25):
        sample = dataset.splits["train"][index]
        pixels, classes = view(
            sample.read(), dataset.masks["train"][index], name=sample.path, rng=np.random.default_rng(index)
        )
        assert pixels.shape == (128, 128, 3) and classes.shape == (128, 128)
        assert classes[classes < 255].max(initial=0) < 6
