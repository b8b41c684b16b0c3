"""Grey images of more than 8 bits as 8 bits: which value is white, by the file's header and by what most pixels say.

The scale never depends on a single pixel: a few outliers are clipped, and where no scale fits the image is refused
rather than read as black. Integers are scaled by the depth that their header states. Floats have none: they are 0 to 1
or 0 to 255.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.image.limits import is_deep

STRIP_PIXELS = 2**20
"""Images are converted so many pixels at a time, to hold no second one of a larger type."""
OVERSHOOT = 0.05
"""In units of white: resampling goes beyond black and white by a few percent."""
OUTLIERS = 1000
"""One of so many pixels may lie beyond the scale, as hot pixels do; it is clipped."""
BRIGHT = 0.1
"""In units of white: of an image of 0 to 255 a hundredth of the pixels must be above that, at least. Otherwise values
such as -2 to 2, or 0 to 10 metres, would be read as almost black."""

BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE, SIGNED_MAX_SAMPLE = 258, 262, 281, 341
"""Tags of TIFF."""
COLOURS = ("RGB", "RGBA")
"""Modes of images in colours; Pillow keeps 8 bits of them."""


class NoScaleError(ValueError):
    """It is not known which value of an image is white; the message says which values there are, and what to do."""


@dataclass(frozen=True)
class Depth:
    """What a file's header says of the values of its pixels."""

    white: int | None = None
    """None: it does not say."""
    is_inverted: bool = False
    """Whether 0 is white."""
    significant_bits: int = 16
    """Of 16, in a PNG. By its standard they are the high ones; files with the low ones are common."""


def read_depth(image: Image.Image) -> Depth:
    """What the header of an opened image says; to be called before it is decoded."""
    if image.format == "TIFF":
        return read_tiff_depth(cast(dict[int, Any], getattr(image, "tag_v2", {})), image.mode)
    if image.mode == "I" and image.format not in ("PPM", "PNG"):  # Pillow scales these to 16 bits
        return Depth()
    file = cast(BinaryIO | None, getattr(image, "fp", None))
    return Depth(65535, significant_bits=read_significant_bits(file) if image.format == "PNG" and file else 16)


def read_tiff_depth(tags: dict[int, Any], mode: str) -> Depth:
    """The depth by the tags of a TIFF.

    MaxSampleValue is often no more than the largest value of the image, and counts only where it is one below a power
    of two: it is then the depth of a camera of 10, 12 or 14 bits.
    """
    bits = int(tags.get(BITS_PER_SAMPLE, (16,))[0])
    white = 2**bits - 1 if mode.startswith("I;16") or (bits == 16 and mode in COLOURS) else None
    stated = tags.get(SIGNED_MAX_SAMPLE, tags.get(MAX_SAMPLE))
    stated = stated[0] if isinstance(stated, tuple) and stated else stated
    if isinstance(stated, int) and 255 <= stated < 2**bits and stated & (stated + 1) == 0:
        white = stated
    significant_bits = white.bit_length() if white and mode in COLOURS else 16
    return Depth(white, is_inverted=tags.get(PHOTOMETRIC, 1) == 0, significant_bits=significant_bits)


def read_significant_bits(file: BinaryIO) -> int:
    """The bits that the sBIT chunk of a 16-bit PNG states, of the first channel; 16 where there is none."""
    position = file.tell()
    try:
        file.seek(24)
        if file.read(1) != b"\x10":
            return 16
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"sBIT":
                bits = int.from_bytes(file.read(1), "big")
                return bits if 8 <= bits < 16 else 16
            file.seek(length + 4, 1)
    finally:
        file.seek(position)
    return 16


def reduce_depth(image: Image.Image, depth: Depth) -> Image.Image:
    """An image as it is, or a grey one of more than 8 bits with 8, where black stays black and white stays white.

    NaN and minus infinity become black, infinity white. A transparent value becomes white.

    Raises:
        NoScaleError: the values do not show which of them is white.
    """
    if not is_deep(image):
        return image
    white = choose_white(image, depth)
    transparent = image.info.get("transparency")
    reduced = Image.new("L", image.size)
    for top, values in strips(image):
        grey = scale_to_8_bit(values, white)
        if depth.is_inverted:
            grey = 255 - grey
        if isinstance(transparent, int):
            grey[values == transparent] = 255
        reduced.paste(Image.fromarray(grey), (0, top))
    reduced.info = {key: value for key, value in image.info.items() if key != "transparency"}  # EXIF is in there
    return reduced


def check_colours(image: Image.Image, depth: Depth) -> None:
    """Refuse colours of fewer than 16 bits in the low bits of 16, of which Pillow keeps the high ones.

    Raises:
        NoScaleError: it is one; all that is left of it would be almost black.
    """
    if depth.significant_bits == 16 or image.mode not in COLOURS:
        return
    counts = np.array(image.histogram()).reshape(-1, 256)[:3]
    bright = counts[:, 2 ** (depth.significant_bits - 8) :].sum()
    if counts[:, 1:].any() and bright <= count_outliers(3 * image.width * image.height):
        raise NoScaleError(
            f"has colours of {depth.significant_bits} bits in the low bits of 16; save it with 8 bits, "
            "or with 16 where 65535 is white"
        )


def strips(image: Image.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    """The values of an image from top to bottom, with the row where each strip begins."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))


def scale_to_8_bit(values: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Values of 0 to `white` as 0 to 255; others are clipped."""
    if np.issubdtype(values.dtype, np.floating):
        values = np.nan_to_num(values, nan=0.0, posinf=white, neginf=0.0)
    return np.rint(np.clip(values, 0, white) * (255.0 / white)).astype(np.uint8)


def choose_white(image: Image.Image, depth: Depth) -> float:
    """The value that is white.

    Raises:
        NoScaleError: it is not known.
    """
    if image.mode == "F":
        return choose_float_white(image)
    if depth.significant_bits < 16 and are_low_bits(image, depth.significant_bits):
        depth = Depth(2**depth.significant_bits - 1)
    if depth.white is None:
        low, high = value_range(image)
        raise NoScaleError(
            f"has integers of {low:g} to {high:g}, and its header does not say which is white; "
            "save it with 8 bits, or with 16 bits without sign, where 65535 is white"
        )
    if depth.white == 65535 and image.mode.startswith("I;16"):
        return depth.white
    beyond = sum(int(((values < 0) | (values > depth.white)).sum()) for _, values in strips(image))
    if beyond > count_outliers(image.width * image.height):
        low, high = value_range(image)
        raise NoScaleError(
            f"has values of {low:g} to {high:g}, but its header says that {depth.white} is white; correct one of them"
        )
    return depth.white


def are_low_bits(image: Image.Image, bits: int) -> bool:
    """Whether the significant bits of a 16-bit image are the low ones.

    In the high bits, a value below 2**bits is a multiple of 2**(16 - bits), whether the low ones are zero or repeat the
    high ones. Most values that are not zero decide.
    """
    low = present = 0
    for _, values in strips(image):
        present += np.count_nonzero(values)
        low += np.count_nonzero((values < 2**bits) & (values % 2 ** (16 - bits) != 0))
    return low > present / 2


def choose_float_white(image: Image.Image) -> float:
    """1 or 255, whichever fits the finite values of a float image.

    Raises:
        NoScaleError: neither does.
    """
    count, bright = 0, 0
    beyond = {1.0: 0, 255.0: 0}
    for _, values in strips(image):
        finite = values[np.isfinite(values)]
        count += finite.size
        bright += np.count_nonzero(finite > BRIGHT * 255)
        for white in beyond:
            is_beyond = (finite < -OVERSHOOT * white) | (finite > (1 + OVERSHOOT) * white)
            beyond[white] += np.count_nonzero(is_beyond)
    few = count_outliers(count)
    if count and beyond[1.0] <= few:
        return 1.0
    # Between the two a gap stays where neither fits: a single pixel never changes one scale into the other.
    if beyond[255.0] <= few and bright > max(count / 100, 2 * few):
        return 255.0
    low, high = value_range(image)
    raise NoScaleError(
        f"has floats of {low:g} to {high:g}, which fit neither 0 to 1 nor 0 to 255; scale them to 0 to 1, "
        "or save it with 8 or 16 bits"
        if count
        else "has no finite value"
    )


def count_outliers(pixels: int) -> int:
    """How many of so many pixels may be outliers; a few also of a small image."""
    return max(pixels // OUTLIERS, min(4, pixels // 16))


def value_range(image: Image.Image) -> tuple[float, float]:
    """The least and the largest finite value, for a message; 0 and 0 where there is none."""
    ranges = [
        (finite.min(), finite.max()) for _, values in strips(image) if (finite := values[np.isfinite(values)]).size
    ]
    return (float(min(low for low, _ in ranges)), float(max(high for _, high in ranges))) if ranges else (0.0, 0.0)
