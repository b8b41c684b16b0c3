"""What an image may ask for: refused by the header, before anything is decoded."""

import io
import os
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.data.class_masks import BadMask, read_mask_values
from nextvit.image import limits
from nextvit.image.jpeg_header import count_scans
from nextvit.image.reading import DecodeError, Encoded, read_image, to_pixels
from nextvit.views.decode import decode
from nextvit.views.large_jpeg import open_large_jpeg
from tests.image.photos import photo

NAME = Path("image")


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def claim(content: bytes, width: int, height: int, *, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG with another size and type in its header."""
    header = b"IHDR" + struct.pack(">IIBB", width, height, bits, colour) + content[26:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def refusal(content: bytes) -> str:
    """The message with which training and serving refuse an image, at once."""
    started = time.process_time()
    messages = []
    for read in (lambda: read_image(Encoded(content, NAME)), lambda: decode(content, name=NAME)):
        with pytest.raises(DecodeError) as caught:
            read()
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and "\n" not in messages[0]
    assert time.process_time() - started < 2
    return messages[0].removeprefix("image: ")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("size", "bits", "colour", "words"),
    [
        ((1, 2**27 - 1), 8, 0, "1x134217727: a side has more than 131,072 pixels"),
        ((2**27 - 1, 1), 1, 0, "134217727x1: a side has more than"),
        ((3, 2**24), 8, 6, "3x16777216: a side has more than"),
        ((11584, 11584), 8, 6, "11584x11584 pixels would take 1,024 MiB of memory to read, of 960 MiB at most"),
        ((11584, 11584), 16, 6, "would take 1,024 MiB"),
        ((11584, 11584), 8, 4, "would take 1,024 MiB"),
        ((12000, 12000), 8, 2, "12000x12000 is more than 134,217,728 pixels"),
    ],
)
def test_a_png_is_refused_by_the_bytes_that_it_would_take(size: tuple[int, int], bits: int, colour: int, words: str):
    assert words in refusal(claim(saved(Image.new("L", (1, 1))), *size, bits=bits, colour=colour))


@pytest.mark.parametrize(
    ("image", "form", "options", "bytes_per_pixel"),
    [
        (Image.new("RGB", (100, 100)), "PNG", {}, 4),
        (Image.new("RGBA", (100, 100)), "PNG", {}, 8),
        (Image.new("LA", (100, 100)), "PNG", {}, 8),
        (Image.new("L", (100, 100)), "PNG", {}, 5),
        (Image.new("P", (100, 100)), "PNG", {"transparency": 1}, 5),
        (Image.new("I;16", (100, 100)), "PNG", {}, 7),
        (Image.new("F", (100, 100)), "TIFF", {}, 9),
        (Image.new("CMYK", (100, 100)), "JPEG", {}, 8),
        (Image.new("RGB", (100, 100)), "JPEG", {"quality": 90}, 4),
        (Image.new("RGB", (96, 96)), "JPEG", {"progressive": True, "subsampling": 0}, 10),
        (Image.new("RGB", (96, 96)), "JPEG", {"progressive": True, "subsampling": 2}, 7),
        (Image.new("RGB", (100, 100)), "WEBP", {}, 24),
        (Image.new("RGB", (100, 100)), "JPEG2000", {}, 22),
    ],
)
def test_bytes_are_counted_with_the_copies_that_conversion_and_decoder_make(
    monkeypatch: pytest.MonkeyPatch, image: Image.Image, form: str, options: dict, bytes_per_pixel: int
):
    content = saved(image, form, **options)
    needed = len(content) + bytes_per_pixel * image.width * image.height  # the caller's bytes count, too
    monkeypatch.setattr(limits, "MAX_BYTES", needed)
    assert read_image(Encoded(content, NAME)).size == image.size
    monkeypatch.setattr(limits, "MAX_BYTES", needed - 1)
    with pytest.raises(DecodeError, match="MiB of memory to read"):
        read_image(Encoded(content, NAME))


def test_an_image_that_is_turned_takes_a_copy_more(monkeypatch: pytest.MonkeyPatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.new("RGB", (100, 100)), "JPEG", exif=exif)
    monkeypatch.setattr(limits, "MAX_BYTES", len(content) + 79_999)
    with pytest.raises(DecodeError, match="MiB of memory"):
        read_image(Encoded(content, NAME))


def with_scans(image: Image.Image, scans: int) -> bytes:
    """A progressive JPEG with so many empty scans at its end."""
    content = saved(image, "JPEG", progressive=True)
    empty = b"\xff\xda" + struct.pack(">H", 8) + bytes([1, 1, 0, 1, 63, 0x10]) + b"\x00"
    return content[:-2] + empty * scans + content[-2:]


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded():
    assert refusal(with_scans(photo(64, 48), 3000)) == "a JPEG of 64x48 with more than 500 scans; save it again"
    with pytest.raises(DecodeError, match="more than 500 scans"):
        open_large_jpeg(with_scans(photo(64, 48), 3000), name=NAME)


def test_the_larger_a_jpeg_the_fewer_scans_it_may_have(monkeypatch: pytest.MonkeyPatch):
    content = saved(photo(640, 480), "JPEG", progressive=True)
    scans = count_scans(content, most=100)
    assert 6 <= scans <= 12
    monkeypatch.setattr(limits, "MAX_SCANNED_PIXELS", 640 * 480 * scans)
    assert read_image(Encoded(content, NAME)).size == (640, 480)
    monkeypatch.setattr(limits, "MAX_SCANNED_PIXELS", 640 * 480 * scans - 1)
    assert f"more than {scans - 1} scans" in refusal(content)


def test_scans_in_a_thumbnail_or_behind_the_image_do_not_count():
    content = saved(photo(64, 48), "JPEG", progressive=True)
    other = b"\xff\xe5" + struct.pack(">H", 2 + 4 * 4000) + b"\xff\xda\x00\x02" * 4000
    assert count_scans(content[:2] + other + content[2:] + with_scans(photo(64, 48), 3000), most=10_000) <= 12


def rle_bmp(width: int, height: int) -> bytes:
    """A BMP in run lengths with an empty body."""
    palette = bytes(range(256)) * 4
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 6, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(palette) + 6, 0, 0, 54 + len(palette)) + head + palette + b"\0\0" * 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (rle_bmp(4000, 3000), "12,000,000 values in an encoding that is decoded slowly, at most 4,194,304"),
        (b"P3 2000 2000 255\n" + b"1 " * 99, "12,000,000 values in text"),
        (b"P2 4000 3000 4095\n" + b"1 " * 99, "12,000,000 values in text"),
        (b"P1 4000 3000\n" + b"1 " * 99, "12,000,000 values in text"),
        (b"P0CMYK 2000 2000 254\n" + bytes(99), "16,000,000 values in an encoding"),
    ],
)
def test_large_images_in_encodings_that_pillow_decodes_in_python_are_refused(content: bytes, words: str):
    assert words in refusal(content)


def test_small_ones_are_read():
    assert read_image(Encoded(b"P3 1 2 255\n1 2 3\n4 5 6\n", NAME)).size == (1, 2)


def test_a_large_binary_netpbm_of_any_depth_is_read_fast():
    content = b"P6 2000 1500 254\n" + bytes([127]) * 9_000_000  # 2.5 s in Python
    started = time.process_time()
    assert read_image(Encoded(content, NAME)).getpixel((999, 999)) == (128, 128, 128)  # 127 * 255 / 254 = 127.5
    assert time.process_time() - started < 1.5


def test_a_jpeg2000_of_countless_tiles_is_refused():
    content = bytearray(saved(Image.new("RGB", (510, 256)), "JPEG2000"))
    size = content.index(b"\xff\x4f\xff\x51")
    content[size + 24 : size + 32] = struct.pack(">II", 2, 1)
    assert "a JPEG 2000 of 65,280 tiles with 3 components" in refusal(bytes(content))


def test_a_tiff_of_countless_strips_or_a_huge_tile_is_refused(monkeypatch: pytest.MonkeyPatch):
    content = saved(photo(64, 48), "TIFF", compression="tiff_lzw", strip_size=64 * 3)
    monkeypatch.setattr(limits, "MAX_PARTS", 47)
    assert "a TIFF of 48 strips or tiles" in refusal(content)
    image = Image.open(io.BytesIO(content))
    for tag in (322, 323):
        image.tag_v2[tag] = 30_000  # pyright: ignore[reportAttributeAccessIssue] (of TIFF)
    monkeypatch.setattr(limits, "MAX_PARTS", 48)
    with pytest.raises(limits.TooLargeError, match="MiB of memory"):
        limits.check_limits(image, is_turned=False)


def test_masks_have_the_same_limits():
    with pytest.raises(BadMask, match="a side has more than"):
        read_mask_values(claim(saved(Image.new("L", (1, 1))), 1, 2**20), name="mask.png")


@pytest.mark.parametrize("content", [b"P5 2 1 7\n\1\2", b"P2 2 1 7\n1 2"])
def test_masks_that_pillow_would_scale_are_refused(content: bytes):
    with pytest.raises(BadMask, match="a PNM whose largest value is not 255 is scaled"):
        read_mask_values(content, name="mask.pgm")


def test_masks_in_pnm_keep_their_values():
    assert read_mask_values(b"P5 2 1 255\n\1\2", name="mask.pgm").tolist() == [[1, 2]]
    assert read_mask_values(b"P2 2 1 255\n1 2", name="mask.pgm").tolist() == [[1, 2]]


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
@pytest.mark.parametrize("make", [make_pipe, link_to_zeros, Path.mkdir])
def test_only_regular_files_are_read(tmp_path: Path, make: Callable[[Path], None]):
    from nextvit.data.samples import Sample

    make(tmp_path / "a.png")
    for read in (read_image, lambda path: Sample(path, ()).read()):
        with pytest.raises(DecodeError, match=r"a\.png: is a (folder|device, a pipe or a socket)"):
            read(tmp_path / "a.png")


def test_the_size_of_a_file_is_looked_at_before_its_content(tmp_path: Path):
    from nextvit.data.samples import Sample

    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DecodeError, match="has 1,099,511,627,776 bytes, more than"):
        Sample(tmp_path / "a.png", ()).read()
    with pytest.raises(DecodeError, match="not an image"):
        read_image(tmp_path / "a.png")


def test_pixels_are_the_same_in_strips(monkeypatch: pytest.MonkeyPatch):
    image = photo(90, 70)
    image.putalpha(photo(90, 70).convert("L"))
    whole = np.asarray(read_image(image))
    monkeypatch.setattr("nextvit.image.reading.STRIP_PIXELS", 1000)
    monkeypatch.setattr("nextvit.image.depth.STRIP_PIXELS", 1000)
    assert np.array_equal(to_pixels(read_image(image)), whole)
    flat = Image.new("RGBA", image.size, "white")
    assert np.array_equal(np.asarray(Image.alpha_composite(flat, image).convert("RGB")), whole)
    deep = np.arange(6300, dtype=np.uint16).reshape(70, 90) * 10
    assert np.array_equal(np.asarray(read_image(Image.fromarray(deep)))[..., 0], np.rint(deep / 257))


READ = """
import resource, sys
from nextvit.image.reading import DecodeError, read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image(sys.argv[1])
except DecodeError:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ru_maxrss has other units")
@pytest.mark.parametrize(
    ("image", "options", "bytes_per_pixel"),
    [
        (Image.new("RGBA", (4000, 3000), (1, 2, 3, 4)), {"format": "PNG", "compress_level": 1}, 8),
        (Image.new("I;16", (4000, 3000), 9), {"format": "PNG", "compress_level": 1}, 7),
        (Image.new("RGB", (4000, 3000)), {"format": "JPEG", "progressive": True, "subsampling": 0}, 10),
        (Image.new("RGB", (4000, 3000)), {"format": "TIFF", "compression": "tiff_lzw", "strip_size": 2**30}, 7),
    ],
)
def test_the_memory_that_reading_takes_is_what_the_header_announced(
    tmp_path: Path, image: Image.Image, options: dict, bytes_per_pixel: int
):
    image.save(tmp_path / "image", **options)
    limit = 2**32
    taken = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "image")],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert int(taken.stdout) < 1.1 * bytes_per_pixel * 12e6 + 16e6
