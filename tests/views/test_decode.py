"""The fast decoding of training against Pillow's."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nextvit.image.jpeg_header import JpegHeader, read_jpeg_header
from nextvit.image.reading import DecodeError, read_image
from nextvit.views.decode import decode
from tests.image.photos import photo


def decode_file(path: Path) -> torch.Tensor:
    return decode(path.read_bytes(), name=path)


def difference(path: Path) -> int:
    ours = decode_file(path).permute(1, 2, 0).numpy().astype(int)
    return int(np.abs(ours - np.array(read_image(path)).astype(int)).max())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_jpeg_pixels_are_pillows(tmp_path: Path, options: dict[str, int]):
    photo(151, 97).save(tmp_path / "photo.jpg", **options)
    assert difference(tmp_path / "photo.jpg") <= 2


def test_grey_turned_and_cmyk_jpegs_are_read_as_pillow_does(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 8
    photo(60, 40).convert("L").save(tmp_path / "grey.jpg")
    photo(60, 40).save(tmp_path / "turned.jpg", exif=exif)
    photo(60, 40).convert("CMYK").save(tmp_path / "cmyk.jpg")
    for path in tmp_path.iterdir():
        assert difference(path) <= 2, path
    assert decode_file(tmp_path / "turned.jpg").shape == (3, 60, 40)


def test_a_jpeg_with_another_suffix_and_a_png_called_jpg_are_told_by_content(tmp_path: Path):
    photo(60, 40).save(tmp_path / "a.png", "JPEG")
    photo(60, 40).save(tmp_path / "b.jpg", "PNG")
    assert difference(tmp_path / "a.png") <= 2
    assert difference(tmp_path / "b.jpg") == 0


def test_header_says_size_and_components(tmp_path: Path):
    photo(60, 40).save(tmp_path / "a.jpg", progressive=True)
    content = (tmp_path / "a.jpg").read_bytes()
    assert read_jpeg_header(io.BytesIO(content)) == JpegHeader(
        width=60, height=40, components=3, precision_bits=8, coefficients_per_pixel=1.5
    )
    for end in range(0, 400, 7):
        read_jpeg_header(io.BytesIO(content[:end]))  # no prefix raises
    assert read_jpeg_header(io.BytesIO(b"\x89PNG")) is None


def test_truncated_and_oversized_jpegs_are_refused(tmp_path: Path):
    photo(200, 200).save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DecodeError, match="damaged"):
        decode_file(tmp_path / "cut.jpg")
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    (tmp_path / "huge.jpg").write_bytes(content)
    with pytest.raises(DecodeError, match="60000x60000 is more than"):
        decode_file(tmp_path / "huge.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_training_and_serving_agree_on_every_odd_file(real_data):
    """What one refuses the other refuses, and what both read is the same image."""
    folder = real_data("odd_inputs")
    compared = 0
    for path in sorted(folder.rglob("*.*")):
        outcomes = []
        for read in (lambda path: decode_file(path).permute(1, 2, 0).numpy(), lambda path: np.array(read_image(path))):
            try:
                outcomes.append(read(path))
            except DecodeError:
                outcomes.append(None)
        ours, pillows = outcomes
        assert (ours is None) == (pillows is None), path
        if ours is not None:
            assert ours.shape == pillows.shape, path
            assert np.abs(ours.astype(int) - pillows.astype(int)).mean() <= 1.0, path
            compared += 1
    assert compared >= 190
