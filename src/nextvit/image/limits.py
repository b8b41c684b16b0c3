"""What an image may ask for, looked up in its header before anything is decoded: pixels, memory and time.

A small file can claim to be huge. Whatever it claims, reading it takes at most about 1 GiB and a few seconds, or it is
refused. The bytes are counted of what Pillow holds at the same time: the decoded image, the decoder's own copies, and
the copy that is converted or turned upright.
"""

import math
from typing import Any, BinaryIO, cast

from PIL import Image

from nextvit.image.jpeg_header import JpegHeader, count_scans, read_jpeg_header

MAX_PIXELS = 2**27
"""134 million: 0.4 GB of RGB, and no camera makes more."""
MAX_SIDE_PX = 2**17
"""Of an image. Resizing a longer one would need a huge strip in between, of the network's width and the full height."""
MAX_BYTES = 960 * 2**20
"""Of memory while an image is read: 8 bytes for each of 125 million pixels."""
MAX_SLOW_VALUES = 2**22
"""Of an image whose encoding is decoded in Python, at about a million values a second."""
MAX_SCANS = 500
"""Of a JPEG; progressive ones have about ten."""
MAX_SCANNED_PIXELS = 2**34
"""Pixels times scans of a JPEG: an empty scan costs a few bytes of the file, and a second for 10 gigapixels."""
MAX_PARTS = 2**17
"""Strips or tiles of a TIFF."""
MAX_JPEG2000_TILES = 2**12
"""Tiles times components."""

DECODER_BYTES = {"WEBP": 20.0, "AVIF": 16.0}
"""For each pixel, of decoders that hold whole images of their own, beside the decoded one; measured."""
JPEG2000_BYTES = 6.0
"""For each pixel and component, likewise."""


class TooLargeError(ValueError):
    """An image asks for more than it may; the message says for what."""


def check_limits(image: Image.Image, *, is_turned: bool) -> None:
    """Refuse an opened image, before it is decoded, that would need too much memory or time.

    Args:
        image: as `Image.open` gives it.
        is_turned: whether it will be copied to be turned upright.

    Raises:
        TooLargeError: it would.
    """
    check_size(image.width, image.height)
    check_slow_decoder(image)
    file = cast(BinaryIO | None, getattr(image, "fp", None))
    pixels, decoding = image.width * image.height, 0.0
    if image.format in ("JPEG", "MPO") and file:
        decoding = pixels * check_jpeg(file)
    elif image.format == "JPEG2000" and file:
        decoding = pixels * JPEG2000_BYTES * check_jpeg2000(file)
    elif image.format == "TIFF":
        decoding = check_tiff(image)
    else:
        decoding = pixels * DECODER_BYTES.get(image.format or "", 0.0)
    copies = 4 * ((image.mode != "RGB" or "transparency" in image.info) + is_turned) + is_deep(image)
    needed = held_bytes(image, file) + pixels * bytes_per_pixel(image.mode) + max(decoding, pixels * copies)
    check_bytes(needed, image)


def check_size(width: int, height: int) -> None:
    """Refuse too many pixels, and sides that are too long."""
    if width * height > MAX_PIXELS:
        raise TooLargeError(f"{width}x{height} is more than {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_SIDE_PX:
        raise TooLargeError(f"{width}x{height}: a side has more than {MAX_SIDE_PX:,} pixels; cut it into parts")


def check_bytes(needed: float, image: Image.Image | JpegHeader) -> None:
    """Refuse an image that would take too much memory."""
    if needed > MAX_BYTES:
        raise TooLargeError(
            f"{image.width}x{image.height} pixels would take {needed / 2**20:,.0f} MiB of memory to read, "
            f"of {MAX_BYTES // 2**20} MiB at most; make it smaller"
        )


def is_deep(image: Image.Image) -> bool:
    """Whether an image is grey with more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def bytes_per_pixel(mode: str) -> int:
    """What Pillow holds of an image of this mode; also of RGB it is four."""
    return 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4


def held_bytes(image: Image.Image, file: BinaryIO | None) -> int:
    """The bytes of the file itself that are in memory: read by the caller, or mapped by libtiff."""
    if file is None or (image.format != "TIFF" and getattr(file, "name", None)):
        return 0
    position = file.tell()
    size = file.seek(0, 2)
    file.seek(position)
    return size


def check_slow_decoder(image: Image.Image) -> None:
    """Refuse large images in an encoding that Pillow decodes in Python: run lengths of BMP, PNM in text."""
    codecs = {tile[0] for tile in getattr(image, "tile", ())}
    values = image.width * image.height * len(image.getbands())
    if codecs & Image.DECODERS.keys() and values > MAX_SLOW_VALUES and not is_binary_netpbm(image):
        raise TooLargeError(
            f"{values:,} values in {'text' if 'ppm_plain' in codecs else 'an encoding that is decoded slowly'}, "
            f"at most {MAX_SLOW_VALUES:,} are read so; save it as PNG"
        )


def is_binary_netpbm(image: Image.Image) -> bool:
    """Whether it is a binary PNM whose largest value is neither 255 nor 65535; Pillow decodes these in Python."""
    return [tile[0] for tile in getattr(image, "tile", ())] == ["ppm"] and image.mode in ("L", "I", "RGB")


def check_jpeg(file: BinaryIO) -> float:
    """Refuse a JPEG with too many scans; return the bytes that its decoder holds for each pixel."""
    position = file.tell()
    header = read_jpeg_header(file)
    if header and header.coefficients_per_pixel:
        file.seek(0)
        check_scans(header, file.read())
    file.seek(position)
    return 2 * header.coefficients_per_pixel if header else 0.0


def check_scans(header: JpegHeader, content: bytes) -> None:
    """Refuse a JPEG whose scans would take too long."""
    pixels = max(1, header.width * header.height)
    most = min(MAX_SCANS, MAX_SCANNED_PIXELS // pixels)
    if count_scans(content, most=most) > most:
        raise TooLargeError(f"a JPEG of {header.width}x{header.height} with more than {most} scans; save it again")


def check_jpeg_content(header: JpegHeader, content: bytes) -> None:
    """`check_limits` for a JPEG whose content is in memory and which another decoder than Pillow's will decode."""
    check_size(header.width, header.height)
    if header.coefficients_per_pixel:
        check_scans(header, content)
    pixels = header.width * header.height
    check_bytes(len(content) + pixels * (4 + 2 * header.coefficients_per_pixel), header)


def check_tiff(image: Image.Image) -> float:
    """Refuse a TIFF of too many strips or tiles; return the bytes that libtiff holds of one."""
    tags = cast(dict[int, Any], getattr(image, "tag_v2", {}))
    offsets = next((tags[tag] for tag in (273, 324) if tag in tags), ())
    if isinstance(offsets, tuple) and len(offsets) > MAX_PARTS:
        raise TooLargeError(f"a TIFF of {len(offsets):,} strips or tiles, at most {MAX_PARTS:,} are read")
    bits = tags.get(258, (1,))
    width, height = tags.get(322, image.width), tags.get(323, min(tags.get(278, image.height), image.height))
    values = max(len(bits), int(tags.get(277, 1)))
    return float(width) * float(height) * values * max(bits) / 8


def check_jpeg2000(file: BinaryIO) -> int:
    """Refuse a JPEG 2000 of too many tiles, whose bookkeeping takes 4 KB each; return the number of components."""
    position = file.tell()
    file.seek(0)
    head = file.read(2**16)
    file.seek(position)
    start = head.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(head) < start + 42:
        return 3
    right, bottom, _, _, width, height, left, top = (
        int.from_bytes(head[start + at : start + at + 4], "big") for at in range(8, 40, 4)
    )
    components = int.from_bytes(head[start + 40 : start + 42], "big")
    tiles = math.ceil((right - left) / max(width, 1)) * math.ceil((bottom - top) / max(height, 1))
    if tiles * components > MAX_JPEG2000_TILES:
        raise TooLargeError(f"a JPEG 2000 of {tiles:,} tiles with {components} components; save it with larger tiles")
    return max(components, 1)
