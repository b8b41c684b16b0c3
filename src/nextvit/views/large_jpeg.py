"""Decode JPEGs that are much larger than a training view at a half, a quarter or an eighth of their size.

libjpeg then skips detail that the resize would average away: 12 megapixels take about a third of the time. This uses
Pillow, because torchvision's decode_jpeg has no such option.
"""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nextvit.image.limits import check_limits
from nextvit.image.reading import UNREADABLE, DecodeError, Pixels, reason, to_pixels, to_rgb, upright

REDUCTIONS = (8, 4, 2)


@dataclass
class LargeJpeg:
    """A JPEG whose header is read and whose pixels are not decoded yet."""

    image: Image.Image
    name: Path
    """Used in messages."""
    width: int
    """Of the upright image, in the file's pixels."""
    height: int

    def decode(self, *, reduction: int) -> Pixels:
        """Decode the image; call this only once.

        Args:
            reduction: 1, 2, 4 or 8.

        Returns:
            The upright image in RGB, at 1 / `reduction` of its size, rounded up.

        Raises:
            DecodeError: as `nextvit.image.reading.read_image`.
        """
        try:
            self.image.draft(None, (self.image.width // reduction, self.image.height // reduction))
            return to_pixels(to_rgb(upright(self.image)))
        except UNREADABLE as error:
            raise DecodeError(f"{self.name}: {reason(error)}") from None


def open_large_jpeg(content: bytes, *, name: Path) -> LargeJpeg:
    """Read the header of a JPEG; `name` is used in messages.

    Raises:
        DecodeError: as `nextvit.image.reading.read_image`.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=("JPEG",))
        check_limits(image, is_turned=False)  # what is turned has been reduced before
    except UNREADABLE as error:
        raise DecodeError(f"{name}: {reason(error)}") from None
    width, height = image.size
    probe = Image.new(
        "L", (2, 1)
    )  # two pixels show whether `upright` would transpose the image, broken EXIF blocks included
    probe.info = image.info
    if upright(probe).size == (1, 2):
        width, height = height, width
    return LargeJpeg(image, name, width, height)


def choose_reduction(size_wh: tuple[int, int], *, needed_wh: tuple[int, int]) -> int:
    """The largest of 1, 2, 4 and 8 that leaves a region twice as many pixels a side as are needed.

    With only as many as needed, libjpeg's averaging would be visible: it differs from a bicubic resize by twice as much
    as Lanczos does. With twice as many it differs less than Lanczos.
    """
    for reduction in REDUCTIONS:
        if size_wh[0] >= 2 * reduction * needed_wh[0] and size_wh[1] >= 2 * reduction * needed_wh[1]:
            return reduction
    return 1
