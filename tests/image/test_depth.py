"""Which value is white in images of more than 8 bits; the expected bytes are worked out by hand."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nextvit.image.reading import DecodeError, read_image
from nextvit.views.decode import decode

RAMP = (np.arange(48 * 64, dtype=np.float32) / (48 * 64 - 1)).reshape(48, 64)
"""0 to 1."""


def grey(path: Path) -> NDArray[np.uint8]:
    pixels = np.asarray(read_image(path))
    assert np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])
    assert np.array_equal(decode(path.read_bytes(), name=path).permute(1, 2, 0).numpy(), pixels)  # as training sees it
    return pixels[..., 0]


def save_float(values: NDArray[np.floating], path: Path) -> Path:
    Image.fromarray(values.astype(np.float32)).save(path)
    return path


@pytest.mark.parametrize(
    ("odd", "shown"),
    [
        (1.01, 255),
        (1.0000002, 255),
        (np.inf, 255),
        (3.4e38, 255),
        (255.0, 255),
        (-0.2, 0),
        (np.nan, 0),
        (-np.inf, 0),
        (-3.4e38, 0),
    ],
)
@pytest.mark.parametrize("white", [1, 255])
def test_float_images_that_differ_in_one_pixel_differ_in_one_pixel(tmp_path: Path, odd: float, shown: int, white: int):
    values = RAMP * white
    expected = grey(save_float(values, tmp_path / "a.tif"))
    assert (expected.min(), expected.max(), expected[0, 1]) == (0, 255, 0) and expected[24, 32] == 130  # 1568 of 3071
    values[5, 7] = odd * white if abs(odd) < 1e9 else odd
    changed = grey(save_float(values, tmp_path / "b.tif"))
    expected = expected.copy()
    expected[5, 7] = shown
    assert np.array_equal(changed, expected)


def test_floats_may_overshoot_a_little_as_after_resampling(tmp_path: Path):
    values = RAMP * 1.08 - 0.04
    expected = np.rint(np.clip(values, 0, 1) * 255)
    assert np.abs(grey(save_float(values, tmp_path / "a.tif")) - expected).max() == 0
    assert np.abs(grey(save_float(values * 255, tmp_path / "b.tif")) - expected).max() <= 1


def test_missing_values_may_be_most_of_an_image_where_they_are_not_finite(tmp_path: Path):
    values = RAMP.copy()
    values[:40] = np.nan
    assert np.array_equal(grey(save_float(values, tmp_path / "a.tif"))[40:], np.rint(RAMP[40:] * 255))


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (4, 4)])
def test_a_few_pixels_are_enough_to_tell_the_scale(tmp_path: Path, size: tuple[int, int]):
    assert (grey(save_float(np.full(size, 0.2), tmp_path / "a.tif")) == 51).all()
    assert (grey(save_float(np.full(size, 51.0), tmp_path / "b.tif")) == 51).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (RAMP * 4095, "floats of 0 to 4095, which fit neither 0 to 1 nor 0 to 255"),
        (RAMP * 2 - 1, "floats of -1 to 1,"),
        (RAMP * 4 - 2, "floats of -2 to 2,"),
        (RAMP * 10, "floats of 0 to 10,"),
        (RAMP * 65535, "floats of 0 to 65535,"),
        (RAMP * 255 - 128, "floats of -128 to 127,"),
        (np.where(RAMP < 0.6, -3.4e38, RAMP), "floats of -3.4e.38 to 1,"),
        (np.where(RAMP > 0.995, 200, RAMP), "floats of 0 to 200,"),  # hot pixels, or a dark image of 0 to 255
        (np.full((4, 4), np.nan), "has no finite value"),
    ],
)
def test_floats_of_no_known_scale_are_refused_with_their_range(tmp_path: Path, values: NDArray, words: str):
    path = save_float(values, tmp_path / "a.tif")
    for read in (read_image, lambda path: decode(path.read_bytes(), name=path)):
        with pytest.raises(DecodeError, match=words) as caught:
            read(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def tiff(values: NDArray, *, bits: int, tags: dict[int, int] | None = None, order: str = "<") -> bytes:
    """An uncompressed TIFF of one channel or three, written by hand; values of 12 bits are packed."""
    height, width, *channels = values.shape
    count = channels[0] if channels else 1
    if bits == 12:
        high, low = values.reshape(-1, 2).T
        packed = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], 1).astype(np.uint8).tobytes()
    else:
        packed = values.astype(values.dtype.newbyteorder(order)).tobytes()
    entries = {256: width, 257: height, 259: 1, 262: 2 if count == 3 else 1, 277: count, 278: height}
    entries |= {279: len(packed), 273: 8, 258: bits} | (tags or {})
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(packed))
    end, extra = 8 + len(packed) + 2 + 12 * len(entries) + 4, b""
    rows = b""
    for tag, value in sorted(entries.items()):
        if tag in (258, 339) and count == 3:
            rows += struct.pack(order + "HHII", tag, 3, 3, end + len(extra))
            extra += struct.pack(order + "3H", value, value, value)
        else:
            rows += struct.pack(order + "HHII", tag, 4, 1, value)
    return head + packed + struct.pack(order + "H", len(entries)) + rows + bytes(4) + extra


TWELVE = np.array([[0, 1, 8, 9], [2048, 4079, 4094, 4095]], np.uint16)
TWELVE_AS_8 = [[0, 0, 0, 1], [128, 254, 255, 255]]  # value * 255 / 4095: 0, 0.06, 0.498, 0.56, 127.5, 254.0, ...


def test_a_tiff_of_12_bits_is_scaled_by_its_bits_per_sample(tmp_path: Path):
    (tmp_path / "a.tif").write_bytes(tiff(TWELVE, bits=12))
    assert grey(tmp_path / "a.tif").tolist() == TWELVE_AS_8


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_16_bits_may_say_that_it_uses_fewer(tmp_path: Path, order: str):
    (tmp_path / "a.tif").write_bytes(tiff(TWELVE, bits=16, tags={281: 4095}, order=order))
    (tmp_path / "b.tif").write_bytes(tiff(TWELVE, bits=16, order=order))
    (tmp_path / "c.tif").write_bytes(tiff(TWELVE, bits=16, tags={281: 4090}, order=order))  # its largest value
    assert grey(tmp_path / "a.tif").tolist() == TWELVE_AS_8
    for name in ("b.tif", "c.tif"):  # 4095 * 255 / 65535 is 15.93
        assert grey(tmp_path / name).tolist() == [[0, 0, 0, 0], [8, 16, 16, 16]]


def test_a_tiff_whose_values_contradict_its_header_is_refused(tmp_path: Path):
    (tmp_path / "a.tif").write_bytes(tiff(np.arange(0, 60000, 100, dtype=np.uint16)[None], bits=16, tags={281: 4095}))
    with pytest.raises(DecodeError, match="values of 0 to 59900, but its header says that 4095 is white"):
        read_image(tmp_path / "a.tif")


def test_a_tiff_where_0_is_white_is_inverted_at_any_depth(tmp_path: Path):
    (tmp_path / "a.tif").write_bytes(tiff(np.array([[0, 65535, 13107]], np.uint16), bits=16, tags={262: 0}))
    (tmp_path / "b.tif").write_bytes(tiff(np.array([[0, 1, 0.2]], np.float32), bits=32, tags={262: 0, 339: 3}))
    assert grey(tmp_path / "a.tif").tolist() == [[255, 0, 204]]
    assert grey(tmp_path / "b.tif").tolist() == [[255, 0, 204]]


@pytest.mark.parametrize(
    ("type_", "bits", "kind"), [(np.int16, 16, 2), (np.int32, 32, 2), (np.uint32, 32, 1), (np.int32, 32, 1)]
)
def test_integers_of_unknown_depth_are_refused_unless_their_header_says_it(
    tmp_path: Path, type_: type, bits: int, kind: int
):
    values = TWELVE.astype(type_)
    (tmp_path / "a.tif").write_bytes(tiff(values, bits=bits, tags={339: kind}))
    (tmp_path / "b.tif").write_bytes(tiff(values, bits=bits, tags={339: kind, 281: 4095}))
    (tmp_path / "c.tif").write_bytes(tiff(values, bits=bits, tags={339: kind, 341: 4095}))
    with pytest.raises(DecodeError, match="integers of 0 to 4095, and its header does not say which is white"):
        read_image(tmp_path / "a.tif")
    assert grey(tmp_path / "b.tif").tolist() == grey(tmp_path / "c.tif").tolist() == TWELVE_AS_8


@pytest.mark.parametrize(
    ("values", "bits", "kind", "words"),
    [
        (np.zeros((2, 2, 3), np.float32), 32, 3, r"a TIFF of 3 x 32 bits \(floats\), which is not read"),
        (np.zeros((2, 2), np.float64), 64, 3, r"1 x 64 bits \(floats\)"),
        (np.zeros((2, 2, 3), np.int16), 16, 2, r"3 x 16 bits \(signed integers\)"),
    ],
)
def test_a_tiff_that_pillow_cannot_read_is_refused_with_its_type(
    tmp_path: Path, values: NDArray, bits: int, kind: int, words: str
):
    (tmp_path / "a.tif").write_bytes(tiff(values, bits=bits, tags={339: kind}))
    with pytest.raises(DecodeError, match=words):
        read_image(tmp_path / "a.tif")


def png(image: Image.Image, significant_bits: int) -> bytes:
    """A PNG with an sBIT chunk."""
    file = io.BytesIO()
    image.save(file, "PNG")
    body = b"sBIT" + bytes([significant_bits] * len(image.getbands()))
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return file.getvalue()[:33] + chunk + file.getvalue()[33:]


@pytest.mark.parametrize("places", [0, 4])
def test_a_png_of_12_significant_bits_is_scaled_by_them_wherever_they_are(tmp_path: Path, places: int):
    """The standard wants them in the high bits."""
    (tmp_path / "a.png").write_bytes(png(Image.fromarray(TWELVE << places), 12))
    assert np.abs(grey(tmp_path / "a.png").astype(int) - TWELVE_AS_8).max() <= (1 if places else 0)


def test_significant_bits_of_an_image_with_8_change_nothing(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png(Image.fromarray(TWELVE.astype(np.uint8)), 5))
    assert grey(tmp_path / "a.png").tolist() == TWELVE.astype(np.uint8).tolist()


def rgb_png_of_16_bits(values: NDArray, significant_bits: int) -> bytes:
    """In RGB or with transparency; Pillow cannot write these."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"sBIT", bytes([significant_bits] * channels)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in parts)


def test_colours_of_12_bits_are_read_from_the_high_bits_and_refused_in_the_low_ones(tmp_path: Path):
    colours = np.stack([TWELVE] * 3, axis=2)
    (tmp_path / "high.png").write_bytes(rgb_png_of_16_bits(colours << 4, 12))
    assert np.abs(grey(tmp_path / "high.png").astype(int) - TWELVE_AS_8).max() <= 1
    (tmp_path / "low.png").write_bytes(rgb_png_of_16_bits(colours, 12))
    (tmp_path / "low.tif").write_bytes(tiff(colours, bits=16, tags={281: 4095}))
    with_alpha = np.concatenate([colours, np.full((2, 4, 1), 4095, np.uint16)], axis=2)
    (tmp_path / "alpha.png").write_bytes(rgb_png_of_16_bits(with_alpha, 12))
    for name in ("low.png", "low.tif", "alpha.png"):
        with pytest.raises(DecodeError, match="colours of 12 bits in the low bits of 16"):
            read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "largest", "body", "expected"),
    [
        ("P5", 4095, TWELVE.astype(">u2").tobytes(), TWELVE_AS_8),
        ("P2", 4095, b"0 1 8 9\n2048 4079 4094 4095", TWELVE_AS_8),
        ("P5", 254, bytes([0, 1, 126, 127, 128, 252, 253, 254]), [[0, 1, 126, 128], [129, 253, 254, 255]]),
        ("P5", 15, bytes([0, 1, 2, 3, 12, 13, 14, 15]), [[0, 17, 34, 51], [204, 221, 238, 255]]),
        ("P2", 15, b"0 1 2 3 12 13 14 15", [[0, 17, 34, 51], [204, 221, 238, 255]]),
        ("P5", 65535, np.arange(0, 8 * 257, 257).astype(">u2").tobytes(), [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("P5", 255, bytes(range(8)), [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("P6", 1023, np.repeat([0, 4, 8, 12, 512, 1015, 1019, 1023], 3).astype(">u2").tobytes(),
         [[0, 1, 2, 3], [128, 253, 254, 255]]),
        ("P6", 100, np.repeat([0, 20, 40, 60, 80, 90, 95, 100], 3).astype(np.uint8).tobytes(),
         [[0, 51, 102, 153], [204, 230, 242, 255]]),
    ],
)  # fmt: skip
def test_netpbm_is_scaled_by_its_largest_value(
    tmp_path: Path, kind: str, largest: int, body: bytes, expected: list[list[int]]
):
    (tmp_path / "a.pnm").write_bytes(f"{kind}\n# made by hand\n4 2\n{largest}\n".encode() + body)
    assert grey(tmp_path / "a.pnm").tolist() == expected


def test_a_cut_off_netpbm_is_refused(tmp_path: Path):
    (tmp_path / "a.pgm").write_bytes(b"P5 4 2 4095\n" + bytes(15))
    with pytest.raises(DecodeError, match="the file is cut off"):
        read_image(tmp_path / "a.pgm")


def test_a_transparent_value_of_16_bits_is_white(tmp_path: Path):
    Image.fromarray(np.array([[7, 257 * 9]], np.uint16)).save(tmp_path / "a.png", transparency=7)
    assert grey(tmp_path / "a.png").tolist() == [[255, 9]]


def test_the_orientation_of_a_deep_image_is_applied(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(TWELVE * 16).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").size == (2, 4)


def test_a_pillow_image_in_memory_has_no_header():
    assert np.asarray(read_image(Image.fromarray(TWELVE * 16)))[1, 3, 0] == 255
    with pytest.raises(DecodeError, match="integers of 0 to 4095"):
        read_image(Image.fromarray(TWELVE.astype(np.int32)))
