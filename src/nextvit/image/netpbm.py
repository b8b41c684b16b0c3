"""Read binary PGM and PPM whose largest value is neither 255 nor 65535, as cameras of 10 and 12 bits write them.

Pillow decodes these value by value in Python, at a megapixel a second.
"""

from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from nextvit.image.depth import STRIP_PIXELS


def is_scaled_netpbm(image: Image.Image) -> bool:
    """Whether Pillow would change the values of an opened image, so that its largest possible one becomes white."""
    tiles = getattr(image, "tile", ())
    if not tiles or image.mode == "1":
        return False
    codec, _, _, args = tiles[0]
    return codec == "ppm" or (codec == "ppm_plain" and args[-1] != 255)


def read_netpbm(image: Image.Image) -> Image.Image:
    """The pixels of an opened image for which `is_binary_netpbm` holds, scaled to 8 bits: grey, or RGB.

    Raises:
        OSError: the file is cut off.
    """
    (_, _, offset, (_, largest)), *_ = image.tile  # pyright: ignore[reportAttributeAccessIssue] (of opened images)
    file = cast(BinaryIO, image.fp)  # pyright: ignore[reportAttributeAccessIssue] (likewise)
    file.seek(offset)
    channels = 3 if image.mode == "RGB" else 1
    type_ = np.dtype(np.uint8 if largest < 256 else ">u2")
    decoded = Image.new("RGB" if channels == 3 else "L", image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        shape = (min(rows, image.height - top), image.width, channels)
        content = file.read(int(np.prod(shape)) * type_.itemsize)
        if len(content) < np.prod(shape) * type_.itemsize:
            raise OSError("the file is cut off")
        values = np.minimum(np.frombuffer(content, type_).reshape(shape), largest)
        scaled = np.rint(values / largest * 255).astype(np.uint8)
        decoded.paste(Image.fromarray(scaled if channels == 3 else scaled[..., 0]), (0, top))
    return decoded
