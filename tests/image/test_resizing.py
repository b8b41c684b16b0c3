"""From a file to the network's input."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torchvision.transforms as reference
from PIL import Image

from nextvit.errors import InputError
from nextvit.files.records import from_plain, to_plain
from nextvit.image import resizing as preprocess
from nextvit.image.reading import DecodeError, read_image
from nextvit.image.resizing import Preprocess, size_within
from tests.image.photos import photo

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("size_wh", [(500, 375), (375, 500), (224, 224), (256, 256), (100, 333), (1000, 225)])
def test_imagenet_input_equals_torchvisions_resize_and_centre_crop_to_the_bit(size_wh: tuple[int, int]):
    image = photo(*size_wh)
    ours = Preprocess(image_size=(224, 224), crop_ratio=0.875)(image)
    resize = reference.Resize(256, interpolation=reference.InterpolationMode.BICUBIC)
    theirs = reference.Compose([resize, reference.CenterCrop(224)])(image)
    assert np.array_equal(ours, np.array(theirs))


def test_published_384_input_resizes_to_438():
    spec = Preprocess(image_size=(384, 384), crop_ratio=0.875)
    assert preprocess.size_before_crop((500, 375), spec) == (438, 584)


def test_squash_scales_each_side_alone():
    ours = Preprocess(image_size=(64, 96), resize="stretch")(photo(200, 50))
    assert np.array_equal(ours, np.array(photo(200, 50).resize((96, 64), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize(
    ("size_wh", "expected"), [((640, 480), (800, 1067)), ((480, 640), (1067, 800)), ((2000, 500), (333, 1333))]
)
def test_fit_keeps_the_whole_image_within_the_limits_of_its_sides(size_wh: tuple[int, int], expected: tuple[int, int]):
    """As MMDetection resizes COCO's images to (1333, 800)."""
    prepared = Preprocess(image_size=(800, 1333), resize="pad").prepare(photo(*size_wh))
    assert prepared.size == expected
    assert prepared.original == size_wh[::-1]


def test_fit_takes_the_most_elongated_images():
    assert Preprocess(image_size=(64, 96), resize="pad")(Image.new("RGB", (1, 60_000))).shape == (96, 1, 3)


def test_images_of_different_sizes_lie_at_the_top_left_of_frames_of_whole_strides():
    spec = Preprocess(image_size=(64, 96), resize="pad")
    pictures = [spec(photo(*size_wh)) for size_wh in ((64, 64), (90, 50), (20, 80))]
    inputs = spec.network_inputs(pictures)
    assert inputs["images"].shape == (3, 96, 96, 3) and inputs["images"].dtype == np.uint8
    assert inputs["sizes"].tolist() == [[64, 64], [53, 96], [96, 24]]
    for frame, picture in zip(inputs["images"], pictures, strict=True):
        height, width, _ = picture.shape
        assert np.array_equal(frame[:height, :width], picture)
        assert not frame[height:].any() and not frame[:, width:].any()


def test_limits_for_fit_come_shorter_side_first():
    with pytest.raises(InputError, match=r"shorter and then the longer side, got \(800, 600\)"):
        Preprocess(image_size=(800, 600), resize="pad")


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 500), (3000, 2), (31, 32), (60_000, 9)])
def test_any_image_becomes_the_input_size(size_wh: tuple[int, int]):
    assert Preprocess(image_size=(64, 96), crop_ratio=0.875)(Image.new("RGB", size_wh)).shape == (64, 96, 3)


def test_an_image_that_would_become_huge_is_refused_by_name(tmp_path: Path):
    Image.new("L", (1, 60_000)).save(tmp_path / "line.png")
    with pytest.raises(DecodeError, match=r"line\.png: too elongated, 1x60000"):
        Preprocess(image_size=(224, 224))(tmp_path / "line.png")
    assert Preprocess(image_size=(224, 224), resize="stretch")(tmp_path / "line.png").shape == (224, 224, 3)


def test_rgb_with_a_transparent_colour_is_laid_on_white(tmp_path: Path):
    Image.new("RGB", (4, 4), (10, 20, 30)).save(tmp_path / "clear.png", transparency=(10, 20, 30))
    assert np.array(read_image(tmp_path / "clear.png")).min() == 255


def test_grey_image_is_read_as_three_equal_channels():
    pixels = np.array(read_image(Image.fromarray(RAMP)))
    assert np.array_equal(pixels, np.stack([RAMP] * 3, axis=2))


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(np.array(read_image(tmp_path / "deep.png"))[..., 0], RAMP)


def test_float_images_are_scaled_by_their_range():
    assert np.array_equal(np.array(read_image(Image.fromarray(RAMP.astype(np.float32) / 255)))[..., 0], RAMP)
    assert np.array_equal(np.array(read_image(Image.fromarray(RAMP.astype(np.float32))))[..., 0], RAMP)


def test_transparency_is_laid_on_white(tmp_path: Path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.array(read_image(tmp_path / "clear.png")).min() == 255


def test_palette_with_a_transparent_colour_is_laid_on_white(tmp_path: Path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=1)
    assert np.array(read_image(tmp_path / "opaque.png"))[0, 0].tolist() == [10, 20, 30]
    assert np.array(read_image(tmp_path / "clear.png"))[0, 0].tolist() == [255, 255, 255]


def test_cmyk_becomes_rgb(tmp_path: Path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    red, green, blue = np.array(read_image(tmp_path / "red.jpg"))[4, 4].tolist()
    assert red > 240 and green < 15 and blue < 15


def test_exif_orientation_is_applied(tmp_path: Path):
    image = photo(64, 32)
    exif = image.getexif()
    exif[0x0112] = 6  # turn right to see it upright
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (32, 64)


def test_arrays_are_taken_as_they_are_and_others_refused():
    assert np.array_equal(np.array(read_image(np.full((3, 5, 3), 7, np.uint8))), np.full((3, 5, 3), 7))
    for wrong in (np.zeros((3, 5), np.uint8), np.zeros((3, 5, 3), np.float32), np.zeros((3, 5, 4), np.uint8)):
        with pytest.raises(InputError, match="uint8 of shape"):
            read_image(wrong)


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "no such file"), (b"", "not an image"), (b"<html>", "not an image"), (b"\xff\xd8\xff", "not an image")],
)
def test_unreadable_files_are_named_in_one_line(tmp_path: Path, content: bytes | None, word: str):
    path = tmp_path / "broken.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DecodeError, match=word) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_truncated_image_is_refused(tmp_path: Path):
    buffer = io.BytesIO()
    photo(200, 200).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:4000])
    with pytest.raises(DecodeError, match="damaged"):
        read_image(tmp_path / "cut.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pixel_limit_is_checked_before_decoding(tmp_path: Path):
    # A header that claims 60,000 x 60,000 pixels, and nothing behind it.
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    header = bytearray(buffer.getvalue())
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(header)
    with pytest.raises(DecodeError, match="more than 134,217,728 pixels"):
        read_image(tmp_path / "bomb.png")


def test_image_size_below_32_is_refused():
    with pytest.raises(InputError, match="at least 32 px a side, got 16x16"):
        Preprocess(image_size=(16, 16))
    with pytest.raises(InputError, match="may have 134,217,728 pixels at most"):
        Preprocess(image_size=(1_000_000, 1_000_000))


def test_settings_survive_json_and_unknown_ones_are_named():
    spec = Preprocess(image_size=(64, 96), resize="stretch")
    assert from_plain(Preprocess, to_plain(spec), what="input") == spec
    with pytest.raises(InputError, match="did you mean 'resize'"):
        from_plain(Preprocess, {**to_plain(spec), "resise": "crop"}, what="input")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_every_odd_file_is_read_or_refused_by_name(real_data):
    folder = real_data("odd_inputs")
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 269
    read = 0
    for row in rows:
        try:
            image = read_image(folder / row["file"])
        except DecodeError as error:
            assert row["file"] in str(error) and "\n" not in str(error)
        else:
            assert image.mode == "RGB"
            read += 1
    assert read >= 190


def test_a_fitted_image_reaches_the_limit_of_one_side_and_keeps_that_of_the_other():
    assert size_within((640, 480), (800, 1333)) == (1067, 800)
    assert size_within((480, 640), (800, 1333)) == (800, 1067)
    assert size_within((1000, 300), (800, 1333)) == (1333, 400)
    assert size_within((5000, 1), (800, 1333)) == (1333, 1)


def test_kept_images_are_their_own_pixels_one_at_once():
    spec, image = Preprocess(image_size=(64, 64), resize="original"), photo(50, 33)
    prepared = spec.prepare(image)
    assert prepared.original == prepared.size == (33, 50) and np.array_equal(prepared.pixels, np.asarray(image))
    inputs = spec.network_inputs([prepared.pixels])
    assert inputs.keys() == {"images"} and np.shares_memory(inputs["images"], prepared.pixels)
