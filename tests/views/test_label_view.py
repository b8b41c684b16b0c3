"""From a file's bytes to training's view of it."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.image.reading import DecodeError, Encoded, Pixels, read_image
from nextvit.image.resizing import Preprocess
from nextvit.views.label_view import build_view, draw_crop
from nextvit.views.large_jpeg import choose_reduction, open_large_jpeg
from nextvit.views.placement import reduce_crop
from nextvit.views.settings import Augment
from tests.image.photos import photo

NAME = Path("picture")


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def whole(size_wh: tuple[int, int], *, flip: float = 0.0) -> Augment:
    """All of an image of this size, and nothing else done to it."""
    aspect = size_wh[0] / size_wh[1]
    return Augment(crop_scale=(1.0, 1.0), crop_aspect=(aspect, aspect), flip=flip)


def view_of(content: bytes, settings: Augment, *, image_size: tuple[int, int], seed: int = 0) -> Pixels:
    return build_view(settings, image_size=image_size)(content, name=NAME, rng=np.random.default_rng(seed))


def test_a_view_of_the_whole_image_is_the_image_and_may_be_mirrored():
    image = photo(60, 40)
    pixels = np.array(image)
    assert np.array_equal(view_of(saved(image), whole((60, 40)), image_size=(40, 60)), pixels)
    mirrored = view_of(saved(image), whole((60, 40), flip=1.0), image_size=(40, 60))
    assert np.array_equal(mirrored, pixels[:, ::-1])
    assert mirrored.flags.c_contiguous and mirrored.flags.writeable


def test_crops_are_cut_and_resized_as_pillow_would():
    image = photo(151, 97)
    settings = Augment(crop_scale=(0.1, 1.0), flip=0.0)
    for seed in range(20):
        left, top, width, height = draw_crop((151, 97), settings, np.random.default_rng(seed))
        crop = image.crop((left, top, left + width, top + height)).resize((64, 48), Image.Resampling.BICUBIC)
        view = view_of(saved(image), settings, image_size=(48, 64), seed=seed)
        assert np.abs(view.astype(int) - np.array(crop).astype(int)).max() <= 1


def test_crops_have_the_areas_aspects_and_places_that_were_asked_for():
    settings, rng = Augment(crop_scale=(0.08, 0.4), crop_aspect=(1 / 2, 2.0)), np.random.default_rng(0)
    left, top, width, height = np.array([draw_crop((1000, 800), settings, rng) for _ in range(4000)]).T
    shares = width * height / 800_000
    assert 0.079 < shares.min() < 0.081 and 0.399 < shares.max() < 0.401
    assert abs(np.quantile(shares, 0.5) - 0.24) < 0.01
    aspects = np.log2(width / height)
    assert -1.01 < aspects.min() < -0.98 and 0.98 < aspects.max() < 1.01
    assert abs(aspects.mean()) < 0.04
    assert left.min() == 0 and (left + width).max() == 1000
    assert top.min() == 0 and (top + height).max() == 800
    assert abs(np.mean(left / (1000 - width)) - 0.5) < 0.02


@pytest.mark.parametrize(
    ("size_wh", "expected"), [((1000, 10), (493, 0, 13, 10)), ((10, 1000), (0, 493, 10, 13)), ((1, 1), (0, 0, 1, 1))]
)
def test_the_middle_is_taken_where_no_crop_fits(size_wh: tuple[int, int], expected: tuple[int, int, int, int]):
    settings = Augment(crop_scale=(1.0, 1.0))
    assert draw_crop(size_wh, settings, np.random.default_rng(0)) == expected


def test_a_view_is_a_function_of_its_generator_and_leaves_the_global_ones_alone():
    content = saved(photo(80, 60))
    settings = Augment(rand_augment=9.0)
    np.random.seed(3)
    before = np.random.get_state()[1]
    views = [view_of(content, settings, image_size=(32, 32), seed=seed) for seed in range(10)]
    again = [view_of(content, settings, image_size=(32, 32), seed=seed) for seed in range(10)]
    assert np.array_equal(views, again)
    assert len({view.tobytes() for view in views}) == 10
    assert np.array_equal(np.random.get_state()[1], before)


def test_what_is_no_image_is_refused_by_name():
    photograph = saved(photo(600, 500), "JPEG")
    header = photograph.index(b"\xff\xc0") + 5
    huge = photograph[:header] + (60_000).to_bytes(2, "big") * 2 + photograph[header + 4 :]
    for content, message in (
        (b"no image", "picture: not an image"),
        (photograph[: len(photograph) // 2], "picture: damaged"),
        (huge, "picture: .*more than 134,217,728 pixels"),
    ):
        for image_size in ((32, 32), (448, 448)):  # read as a large JPEG, and as any picture
            with pytest.raises(DecodeError, match=message):
                view_of(content, Augment(), image_size=image_size)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_reduced_without_a_visible_difference(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = photo(256, 192).resize((1024, 768), Image.Resampling.BICUBIC)  # as photographs of this size are
    content = saved(smooth, "JPEG", quality=95, exif=exif)
    image = read_image(Encoded(content, NAME))
    settings = Augment(crop_scale=(0.3, 1.0), flip=0.0)
    reductions: set[int] = set()
    for seed in range(6):
        drawn = draw_crop(image.size, settings, np.random.default_rng(seed))
        reduction = choose_reduction((drawn[2], drawn[3]), needed_wh=(64, 48))
        left, top, width, height = (reduction * edge for edge in reduce_crop(drawn, reduction))
        assert np.abs(np.subtract((left, top, width, height), drawn)).max() <= reduction
        crop = image.crop((left, top, left + width, top + height)).resize((64, 48), Image.Resampling.BICUBIC)
        view = view_of(content, settings, image_size=(48, 64), seed=seed)
        assert np.abs(view.astype(int) - np.array(crop).astype(int)).mean() < 1.5
        reductions.add(reduction)
    assert reductions <= {2, 4} and reductions


def test_a_large_jpeg_says_its_upright_size_before_its_pixels_are_read():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(photo(130, 70), "JPEG", exif=exif)
    large = open_large_jpeg(content, name=NAME)
    assert (large.width, large.height) == (70, 130)
    assert large.decode(reduction=4).shape == (33, 18, 3)


def test_images_are_reduced_as_far_as_leaves_twice_the_pixels_needed():
    needed = [
        choose_reduction((side, 2 * side), needed_wh=(224, 224)) for side in (448, 895, 896, 1791, 1792, 3584, 9000)
    ]
    assert needed == [1, 1, 2, 2, 4, 8, 8]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_training_sees_what_serving_sees_of_every_odd_file(real_data):
    """The whole image, unaugmented: refused by both, or alike.

    Pillow and torch resize the two axes in another order where that is cheaper, and clip in between: that shows where
    black and white pixels alternate.
    """
    differences: list[float] = []
    for path in sorted(real_data("odd_inputs").rglob("*.*")):
        content = path.read_bytes()
        try:
            expected = Preprocess(image_size=(64, 96), resize="stretch")(Encoded(content, path))
        except DecodeError:
            with pytest.raises(DecodeError):
                view_of(content, Augment(), image_size=(64, 96))
            continue
        view = view_of(content, whole(read_image(Encoded(content, path)).size), image_size=(64, 96))
        differences.append(float(np.abs(view.astype(int) - expected.astype(int)).mean()))
    assert len(differences) >= 190
    assert sorted(differences)[-5] <= 1.0
    assert max(differences) <= 5.0


def test_settings_are_read_without_torch():
    code = "import sys, nextvit.views.settings; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
