"""Read image files as upright 8-bit RGB, with Pillow: the one definition for training, evaluation, proof and
serving."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError, features

from nextvit.errors import InputError
from nextvit.files.regular import require_regular
from nextvit.files.tar_members import find_archive, read_member
from nextvit.image.depth import STRIP_PIXELS, NoScaleError, check_colours, read_depth, reduce_depth
from nextvit.image.limits import MAX_BYTES, MAX_PIXELS, TooLargeError, check_limits, is_binary_netpbm
from nextvit.image.netpbm import read_netpbm
from nextvit.image.signatures import LENGTH, find_format

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width in pixels."""

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
SUFFIXES_OF = {
    "JPEG": JPEG_SUFFIXES,
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
}
if "avif" in features.modules and features.check_module("avif"):  # Pillow 11.3 and later, where it is built with it
    SUFFIXES_OF["AVIF"] = (".avif",)

FORMATS = tuple(SUFFIXES_OF)
"""Formats that Pillow may open (MPO counts as JPEG); those that call other programs or are rarely intended (EPS, PSD,
...) are excluded."""
SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
"""Suffixes of the files that count as images when a folder is read."""

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError, ArithmeticError),
    *(AttributeError, RuntimeError, AssertionError, struct.error, zlib.error, Image.DecompressionBombError, Warning),
)
"""Exceptions that Pillow's decoders raise on damaged files; warnings are included for callers that make them errors."""


@dataclass(frozen=True)
class Encoded:
    """The bytes of an image file, and its name for messages."""

    content: bytes
    name: str | Path


ImageLike = str | Path | Encoded | Image.Image | Pixels


class DecodeError(InputError):
    """An image cannot be read; the message names the file and says why."""


class UnsupportedError(ValueError):
    """An image of a known format and an unusual kind; the message says which."""


def read_image(image: ImageLike) -> Image.Image:
    """Read an upright 8-bit RGB image from a path, a file's bytes, a Pillow image, or a uint8 array (height, width, 3).

    A path may lead into a tar file. EXIF orientation is applied; grey becomes three equal channels; transparent pixels
    are composited on white; grey of more than 8 bits is scaled as `nextvit.image.depth` says; only the first of several
    frames is read.

    Raises:
        DecodeError: the file is missing, no image, damaged, would take more memory or time than `nextvit.image.limits`
            allows, or has grey values of an unknown scale.
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
        if getattr(image, "fp", None):  # it is not decoded yet
            check_limits(image, is_turned=is_turned(image))
        decoded = decode_opened(image)
        return decoded.copy() if decoded is image else decoded  # the caller may draw on either
    except UNREADABLE as error:
        raise DecodeError(f"the image: {reason(error)}") from None


def read_file(file: Path | io.BytesIO, *, name: str | Path) -> Image.Image:
    """`read_image` for a path or a file's bytes. Pillow's warnings about odd metadata and large images are left to the
    caller, because silencing them here would not be thread-safe."""
    try:
        if isinstance(file, Path) and (archive := find_archive(file)):
            file = io.BytesIO(read_member(file, archive=archive, max_bytes=MAX_BYTES))
        with open_image(file) as opened:
            return decode_opened(opened)
    except DecodeError:
        raise
    except UNREADABLE as error:
        raise DecodeError(f"{name}: {reason(error)}") from None


def read_content(path: Path) -> bytes:
    """The bytes of an image file, or of a mask.

    Raises:
        DecodeError: there is no such file, it is no regular file, or it is larger than `MAX_BYTES`.
    """
    try:
        require_regular(path, max_bytes=MAX_BYTES)
        return path.read_bytes()
    except InputError as error:
        raise DecodeError(str(error)) from None
    except (OSError, ValueError) as error:
        raise DecodeError(f"{path}: {reason(error)}") from None


def open_image(file: Path | io.BytesIO) -> Image.Image:
    """Read the header of an image file; the pixels are decoded later.

    Raises:
        DecodeError: the path is no regular file.
        TooLargeError: decoding it would need too much memory or time.
        Others of `UNREADABLE`: it is no image of `FORMATS`, or damaged.
    """
    if isinstance(file, Path):
        try:
            require_regular(file)
        except InputError as error:
            raise DecodeError(str(error)) from None
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise UnsupportedError(describe_unsupported(file)) from None
    try:
        check_limits(image, is_turned=is_turned(image))
    except BaseException:
        image.close()
        raise
    return image


def describe_unsupported(file: Path | io.BytesIO) -> str:
    """Why Pillow recognises no format in a file: which one it is."""
    known = f"not an image in a known format ({', '.join(FORMATS)})"
    with file if isinstance(file, io.BytesIO) else file.open("rb") as content:
        content.seek(0)
        found = find_format(content.read(LENGTH))
        if found == "TIFF":
            return describe_tiff(content) or known
    readable = {name.replace("2000", " 2000") for name in FORMATS}
    return f"is {found}, {known}; convert it to JPEG or PNG" if found and found.upper() not in readable else known


def describe_tiff(content: BinaryIO) -> str:
    """Which values a TIFF has that Pillow does not read; empty for a damaged one."""
    content.seek(0)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(content.read(8))
        content.seek(tags.next)
        tags.load(content)
        if 256 not in tags or 257 not in tags:
            return ""
        bits, (kind, *_) = tags.get(258, (1,)), tags.get(339, (1,))
        samples = max(len(bits), int(tags.get(277, 1)))
    except UNREADABLE:
        return ""
    what = {1: "unsigned integers", 2: "signed integers", 3: "floats"}.get(kind, "values of another type")
    return f"a TIFF of {samples} x {max(bits)} bits ({what}), which is not read; save it with 8 bits, as PNG or TIFF"


def decode_opened(image: Image.Image) -> Image.Image:
    """Decode an opened image, to upright 8-bit RGB."""
    if is_binary_netpbm(image):
        return to_rgb(read_netpbm(image))
    depth = read_depth(image)
    image.load()
    check_colours(image, depth)
    return to_rgb(upright(reduce_depth(image, depth)))


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
        case TooLargeError() | NoScaleError() | UnsupportedError():
            return str(error)
        case _:
            return f"damaged ({str(error).partition(chr(10))[0] or type(error).__name__})"


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; broken EXIF blocks count as none. An upright image is returned itself."""
    try:
        return ImageOps.exif_transpose(image) if has_orientation(image) else image
    except UNREADABLE:
        return image


def has_orientation(image: Image.Image) -> bool:
    """Whether an image's EXIF says that it is to be turned or mirrored."""
    return image.getexif().get(ExifTags.Base.Orientation, 1) != 1


def is_turned(image: Image.Image) -> bool:
    """Whether `upright` would turn an opened image that is not decoded yet."""
    try:
        # Where a PNG has no EXIF before its pixels, asking for it would decode the image.
        return (image.format != "PNG" or "exif" in image.info) and has_orientation(image)
    except UNREADABLE:
        return False


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any Pillow mode with 8 bits as RGB; transparent pixels are composited on white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return image.convert("RGB")
    # Strip by strip, for three further images of this size would be in memory otherwise.
    flat = Image.new("RGB", image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        flat.paste(Image.alpha_composite(white, strip).convert("RGB"), (0, top))
    return flat


def to_pixels(image: Image.Image) -> Pixels:
    """The pixels of an RGB image (height, width, 3), strip by strip: Pillow's own conversion holds three copies."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels
