"""Read image files as upright 8-bit RGB, with Pillow: the one definition for training, evaluation, proof and
serving."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from nextvit.errors import InputError
from nextvit.files.tar_members import find_archive, read_member

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width in pixels."""

MAX_PIXELS = 2**27
"""Larger images are refused before decoding: 134 million pixels are 0.4 GB of RGB, and no camera makes more."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
"""Formats that Pillow may open (MPO counts as JPEG); those that call other programs or are rarely intended (EPS, PSD,
...) are excluded."""

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError, ArithmeticError),
    *(AttributeError, RuntimeError, AssertionError, struct.error, zlib.error, Image.DecompressionBombError, Warning),
)
"""Exceptions that Pillow's decoders raise on damaged files; warnings are included for callers that make them errors."""

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
SUFFIXES = frozenset(
    (
        *JPEG_SUFFIXES,
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
    )
)
"""Suffixes of the files that count as images when a folder is read."""


@dataclass(frozen=True)
class Encoded:
    """The bytes of an image file, and its name for messages."""

    content: bytes
    name: str | Path


ImageLike = str | Path | Encoded | Image.Image | Pixels


class DecodeError(InputError):
    """An image cannot be read; the message names the file and says why."""


def read_image(image: ImageLike) -> Image.Image:
    """Read an upright 8-bit RGB image from a path, a file's bytes, a Pillow image, or a uint8 array (height, width, 3).

    A path may lead into a tar file. EXIF orientation is applied; grey becomes three equal channels; transparent pixels
    are composited on white; 16-bit values are scaled, not clipped; only the first of several frames is read.

    Raises:
        DecodeError: the file is missing, no image, damaged, or larger than `MAX_PIXELS`.
        InputError: the array has another shape or type, or no pixels.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(f"an image array must be uint8 of shape (H, W, 3), got {image.dtype} {image.shape}")
        return Image.fromarray(image)
    if isinstance(image, Image.Image):
        return decode_image(image)
    if isinstance(image, Encoded):
        return read_file(io.BytesIO(image.content), name=image.name)
    if not isinstance(image, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance] (callers may not check types)
        raise InputError(f"an image is a path, a Pillow image or a uint8 array, got {type(image).__name__}")
    return read_file(Path(image), name=image)


def decode_image(image: Image.Image) -> Image.Image:
    """`read_image` for a Pillow image, which may still have to be decoded, and may have been closed."""
    try:
        if 0 in image.size:
            raise ValueError("it has no pixels")
        image.load()
        return to_rgb(upright(image))
    except UNREADABLE as error:
        raise DecodeError(f"the image: {reason(error)}") from None


def read_file(file: Path | io.BytesIO, *, name: str | Path) -> Image.Image:
    """`read_image` for a path or a file's bytes. Pillow's warnings about odd metadata and large images are left to the
    caller, because silencing them here would not be thread-safe."""
    try:
        if isinstance(file, Path) and (archive := find_archive(file)):
            file = io.BytesIO(read_member(file, archive=archive))
        opened: Image.Image = Image.open(file, formats=FORMATS)
        with opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{width}x{height}")
            opened.load()
            return to_rgb(upright(opened))
    except UNREADABLE as error:
        raise DecodeError(f"{name}: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """Why an image cannot be read, in a few words."""
    match error:
        case FileNotFoundError():
            return "no such file"
        case IsADirectoryError():
            return "is a folder, not an image"
        case PermissionError():
            return "may not be read (permission denied)"
        case UnidentifiedImageError():
            return f"not an image in a known format ({', '.join(FORMATS)})"
        case Image.DecompressionBombError():
            return f"more than {MAX_PIXELS:,} pixels ({error})"
        case _:
            return f"damaged ({str(error).partition(chr(10))[0] or type(error).__name__})"


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; broken EXIF blocks count as none."""
    try:
        return ImageOps.exif_transpose(image)
    except UNREADABLE:
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as 8-bit RGB."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(grey_to_8_bit(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        straight = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", straight.size, "white"), straight).convert("RGB")
    return image.convert("RGB")


def grey_to_8_bit(values: NDArray[Any]) -> Pixels:
    """Grey values of more than 8 bits, scaled so that white stays white; Pillow's own conversion would clip them.

    Integers are 16-bit, the most that files of these modes hold. Floats are 0..1, unless they go beyond: then 0..255.
    """
    white = 65535.0
    if np.issubdtype(values.dtype, np.floating):
        values = np.nan_to_num(values)
        white = 1.0 if values.max(initial=0.0) <= 1.0 else 255.0
    scaled: NDArray[np.float64] = np.rint(values * (255.0 / white))
    return np.minimum(255, np.maximum(0, scaled)).astype(np.uint8)
