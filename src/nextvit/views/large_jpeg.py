"""JPEGs of far more pixels than training looks at: decoded at a half, a quarter or an eighth of their size.

libjpeg leaves out what would be averaged away: 12 megapixels take about a third of the time. It is reached through
Pillow, because torchvision's decode_jpeg cannot.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nextvit.image.resizing import MAX_PIXELS, UNREADABLE, DecodeError, Pixels, reason, to_rgb, upright

REDUCTIONS = (8, 4, 2)


@dataclass
class LargeJpeg:
    """A JPEG whose pixels are not read yet."""

    image: Image.Image
    name: Path
    width: int
    """Upright, in pixels of the file."""
    height: int

    def pixels(self, *, reduction: int) -> Pixels:
        """RGB, upright, of 1 / `reduction` of the size (1, 2, 4 or 8), rounded up; to be called once.

        Raises:
            DecodeError: as `nextvit.image.resizing.read_image`.
        """
        try:
            self.image.draft(None, (self.image.width // reduction, self.image.height // reduction))
            return np.array(to_rgb(upright(self.image)))
        except UNREADABLE as error:
            raise DecodeError(f"{self.name}: {reason(error)}") from None


def open_large_jpeg(content: bytes, *, name: Path) -> LargeJpeg:
    """Read what a JPEG says of itself; `name` stands in messages.

    Raises:
        DecodeError: as `nextvit.image.resizing.read_image`.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=("JPEG",))
    except UNREADABLE as error:
        raise DecodeError(f"{name}: {reason(error)}") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DecodeError(f"{name}: {width}x{height} is more than {MAX_PIXELS:,} pixels")
    probe = Image.new("L", (2, 1))  # asks `upright` itself, which also decides what counts as a broken EXIF block
    probe.info = image.info
    if upright(probe).size == (1, 2):
        width, height = height, width
    return LargeJpeg(image, name, width, height)


def reduction_for(size_wh: tuple[int, int], *, needed_wh: tuple[int, int]) -> int:
    """The strongest of 1, 2, 4 and 8 that leaves a region of a picture twice the pixels a side that are needed.

    With only as many as needed, libjpeg's way of averaging would show: it differs from a bicubic resize by twice as
    much as Lanczos does. With twice as many it differs less than Lanczos.
    """
    for reduction in REDUCTIONS:
        if size_wh[0] >= 2 * reduction * needed_wh[0] and size_wh[1] >= 2 * reduction * needed_wh[1]:
            return reduction
    return 1
