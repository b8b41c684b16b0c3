"""From a file to the network's input: the one definition that evaluation, export's proof and serving share.

Decoding and resizing are Pillow's. What leaves is uint8, height x width x RGB; the cast to float and the normalisation
happen inside the network's graph.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from nextvit.errors import InputError
from nextvit.files.tar_members import archive_of, read_member

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width in pixels."""

INPUT_NAME, SIZES_NAME = "images", "sizes"
"""Of the graph's inputs: the pictures, and with "fit" the size of each inside its frame."""
STRIDE_PX = 32
"""Of the network's coarsest map: frames are multiples of it."""
WHOLE_PICTURES = 4
"""Images at once where they are taken whole, and are larger than a classifier's."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_PIXELS = 2**27
"""Refused before decoding: 134 million pixels are 0.4 GB of RGB, and no camera makes more."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
"""What Pillow may open (MPO counts as JPEG); formats that call other programs or are rarely meant (EPS, PSD, ...) stay shut."""

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError, ArithmeticError),
    *(AttributeError, RuntimeError, AssertionError, struct.error, zlib.error, Image.DecompressionBombError, Warning),
)
"""What Pillow's decoders raise on damaged files: whatever the damage leads them to; warnings where they are errors."""

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
"""File names that are taken for images when a folder is read."""


@dataclass(frozen=True)
class Encoded:
    """The bytes of an image file, and the name that it goes by in messages."""

    content: bytes
    name: str | Path


ImageLike = str | Path | Encoded | Image.Image | Pixels


class TooElongatedError(ValueError):
    """An image that would become huge when its shorter side is scaled to the input's size."""


class DecodeError(InputError):
    """A file that is no image we can read; the message names it and says why."""


@dataclass(frozen=True)
class Prepared:
    """One image as the network takes it."""

    pixels: Pixels
    """(height, width, 3), RGB, resized."""
    original: Size
    """Of the upright image before."""

    @property
    def size(self) -> Size:
        height, width, _ = self.pixels.shape
        return height, width


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image of any size becomes the network's input."""

    image_size: Size
    """Of the network's input; with "fit" the most that the shorter and the longer side of a picture may have."""
    resize: Literal["crop", "squash", "fit", "keep"] = "crop"
    """"crop": keep the aspect ratio, fill the input and cut what sticks out; "squash": scale each side alone; "fit": keep
    the aspect ratio and the whole picture, as large as the limits allow, laid into a frame of multiples of 32 px; "keep": the
    picture's own pixels, one picture at once, for what makes the network's input of them itself."""
    crop_ratio: float = 1.0
    """With "crop", the share of the shorter side that is kept: 0.875 is ImageNet's Resize 256, CenterCrop 224."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Subtracted from each channel, of pixels scaled to 0..1, inside the graph."""
    std: tuple[float, ...] = IMAGENET_STD
    """Each channel is divided by it, inside the graph."""

    def __post_init__(self) -> None:
        if min(self.image_size) < 32:
            raise InputError(
                f"the network's input must be at least 32 px a side, got {self.image_size[1]}x{self.image_size[0]} "
                "(pictures that are smaller get enlarged to it)"
            )
        if math.prod(self.image_size) > MAX_PIXELS:
            raise InputError(f"the network's input may have {MAX_PIXELS:,} pixels at most, got {self.image_size}")
        if self.resize == "fit" and self.image_size[0] > self.image_size[1]:
            raise InputError(
                f"with resize fit, image_size limits the shorter and then the longer side, got {self.image_size}"
            )
        if not 0.5 <= self.crop_ratio <= 1:
            raise InputError(f"crop_ratio must be between 0.5 and 1, got {self.crop_ratio}")

    @property
    def words(self) -> str:
        """The size in words, width first."""
        height, width = self.image_size
        return f"at most {width}x{height} px, either way up" if self.resize == "fit" else f"{width}x{height} px"

    def __call__(self, image: ImageLike) -> Pixels:
        """Read (where it is a path), resize and crop: (height, width, 3), RGB."""
        return self.prepare(image).pixels

    def prepare(self, image: ImageLike) -> Prepared:
        """The same, with the size that the image had.

        Raises:
            DecodeError: as `read_image`, or the image is too elongated to be resized.
            InputError: as `read_image`.
        """
        try:
            read = read_image(image)
            return Prepared(fit(read, self), (read.height, read.width))
        except TooElongatedError as error:
            source = image.name if isinstance(image, Encoded) else image if isinstance(image, str | Path) else "image"
            raise DecodeError(f"{source}: {error}") from None

    def network_inputs(self, pixels: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """The graph's inputs for at least one image: "images" (N, H, W, 3) uint8, and with "fit", where sizes differ, "sizes"
        (N, 2) int64: each lies at the top left of a frame that is as large as the largest needs."""
        if self.resize == "keep":
            [picture_HWC] = pixels
            return {INPUT_NAME: picture_HWC[None]}
        if self.resize != "fit":
            return {INPUT_NAME: np.stack(pixels)}
        images_NHWC, sizes_N2 = framed(pixels)
        return {INPUT_NAME: images_NHWC, SIZES_NAME: sizes_N2}


def framed(pixels: Sequence[Pixels]) -> tuple[Pixels, NDArray[np.int64]]:
    """Images of different sizes in one array (N, H, W, 3), and the height and width (N, 2) of each: every one lies at the top
    left of a frame whose sides are the multiples of `STRIDE_PX` that the largest need."""
    sizes_N2 = np.array([each.shape[:2] for each in pixels], np.int64)
    height, width = frame_size(sizes_N2)
    images_NHWC = np.zeros((len(pixels), height, width, 3), np.uint8)
    for frame, each in zip(images_NHWC, pixels, strict=True):
        frame[: each.shape[0], : each.shape[1]] = each
    return images_NHWC, sizes_N2


def frame_size(sizes_N2: NDArray[np.int64]) -> Size:
    """The height and width that pictures of these heights and widths need, in multiples of `STRIDE_PX`."""
    height, width = (-(-sizes_N2.max(axis=0) // STRIDE_PX) * STRIDE_PX).tolist()
    return height, width


def alike(images: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
    """Pictures that follow each other and need a frame of one size: in it each is answered as it is alone."""
    for _, group in groupby(images, key=lambda image: frame_size(np.array([image.size]))):
        yield list(group)


def read_image(image: ImageLike) -> Image.Image:
    """An upright 8-bit RGB image from a path, a file's bytes, a Pillow image, or a uint8 array of (height, width, 3).

    A path may lead into a tar file. EXIF orientation is applied; grey becomes three equal channels; transparency is laid on white; 16-bit values are
    scaled, not clipped; of several frames the first counts.

    Raises:
        DecodeError: the file is missing, no image, damaged, or larger than `MAX_PIXELS`.
        InputError: the array has another shape or type, or no pixels.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(f"an image array must be uint8 of shape (H, W, 3), got {image.dtype} {image.shape}")
        return Image.fromarray(image)
    if isinstance(image, Image.Image):
        return read_opened(image)
    if isinstance(image, Encoded):
        return read_file(io.BytesIO(image.content), name=image.name)
    if not isinstance(image, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance] (callers may have no types)
        raise InputError(f"an image is a path, a Pillow image or a uint8 array, got {type(image).__name__}")
    return read_file(Path(image), name=image)


def read_opened(image: Image.Image) -> Image.Image:
    """`read_image` for a Pillow image, which may still have to be decoded, and may have been closed."""
    try:
        if 0 in image.size:
            raise ValueError("it has no pixels")
        image.load()
        return to_rgb(upright(image))
    except UNREADABLE as error:
        raise DecodeError(f"the image: {reason(error)}") from None


def read_file(file: Path | io.BytesIO, *, name: str | Path) -> Image.Image:
    """`read_image` for a path or a file's bytes. Pillow's warnings about odd metadata and large pictures are left to the caller:
    silencing them here would not be safe between threads."""
    try:
        if isinstance(file, Path) and (archive := archive_of(file)):
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


def fit(image: Image.Image, spec: Preprocess) -> Pixels:
    """Resize and crop an RGB image to the input's size, bicubic with antialiasing: (height, width, 3).

    With "fit" bilinear: where a picture is enlarged, as COCO's are, those are the pixels of the published detectors.
    """
    if spec.resize == "keep":
        return np.asarray(image)
    if spec.resize == "fit":
        height, width = fitted_size((image.height, image.width), spec.image_size)
        return np.array(image.resize((width, height), Image.Resampling.BILINEAR))
    height, width = spec.image_size
    if spec.resize == "squash":
        return np.array(image.resize((width, height), Image.Resampling.BICUBIC))
    scaled_height, scaled_width = scaled_size(image.size, spec)
    if scaled_height * scaled_width > MAX_PIXELS:
        raise TooElongatedError(f"too elongated, {image.width}x{image.height}; crop it, or use data.resize squash")
    resized = image.resize((scaled_width, scaled_height), Image.Resampling.BICUBIC)
    left, top = round((scaled_width - width) / 2), round((scaled_height - height) / 2)
    return np.array(resized.crop((left, top, left + width, top + height)))


def fitted_size(size: Size, limits: tuple[float, float]) -> Size:
    """The largest size of the same aspect whose shorter and longer side keep the limits, each at least a pixel; height first
    or width first, as it is given."""
    scale = min(limits[0] / min(size), limits[1] / max(size))
    height, width = (max(1, int(side * scale + 0.5)) for side in size)
    return height, width


def scaled_size(size_wh: tuple[int, int], spec: Preprocess) -> tuple[int, int]:
    """Height and width to scale to before cropping: the side that fits tighter reaches input / crop_ratio exactly."""
    height, width = spec.image_size
    target_height, target_width = math.floor(height / spec.crop_ratio), math.floor(width / spec.crop_ratio)
    image_width, image_height = size_wh
    if image_width * target_height <= image_height * target_width:
        return max(target_height, int(target_width * image_height / image_width)), target_width
    return target_height, max(target_width, int(target_height * image_width / image_height))
