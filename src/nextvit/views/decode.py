"""Decode images for training: JPEGs with libjpeg into a tensor, other formats with Pillow.

For JPEGs this is a little faster than Pillow, and the tensor is dense with channels last, as the resize after it needs.
A test bounds the difference from Pillow's pixels. Serving and evaluation use `nextvit.image.reading`, which is Pillow
alone.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from nextvit.image.reading import MAX_PIXELS, DecodeError, Encoded, read_image

START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True)
class JpegHeader:
    """The frame header of a JPEG."""

    width: int
    height: int
    components: int
    precision_bits: int


def decode(content: bytes, *, name: Path) -> Tensor:
    """Decode an image file.

    Args:
        content: the file's bytes.
        name: used in messages.

    Returns:
        The upright image in RGB, uint8 (3, H, W).

    Raises:
        DecodeError: as `nextvit.image.reading.read_image`.
    """
    header = read_jpeg_header(content)
    # decode_jpeg has no limit of pixels, and treats CMYK differently from Pillow: both are handled here.
    if header and header.components in (1, 3) and header.precision_bits == 8:
        if header.width * header.height > MAX_PIXELS:
            raise DecodeError(f"{name}: {header.width}x{header.height} is more than {MAX_PIXELS:,} pixels")
        # decode_jpeg fills a truncated image with grey; Pillow refuses it.
        if content.rstrip(b"\0").endswith(b"\xff\xd9"):
            try:
                encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
                return cast(Tensor, decode_jpeg(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=True))
            except RuntimeError:
                pass  # Pillow decides, and gives the reason
    return torch.from_numpy(np.array(read_image(Encoded(content, name)))).permute(2, 0, 1)


def read_jpeg_header(content: bytes) -> JpegHeader | None:
    """The frame header of a JPEG; None if the content is not a JPEG or has no frame header."""
    stream = io.BytesIO(content)
    if stream.read(2) != b"\xff\xd8":
        return None
    while stream.read(1) == b"\xff":
        while (marker := stream.read(1)) == b"\xff":
            pass  # fill bytes
        if not marker:
            return None
        if marker[0] in WITHOUT_LENGTH:
            continue
        length = int.from_bytes(stream.read(2), "big")
        if length < 2:  # truncated or damaged; going on would read the same bytes forever
            return None
        if marker[0] in START_OF_FRAME:
            frame = stream.read(6)
            if len(frame) < 6:
                return None
            height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
            return JpegHeader(width=width, height=height, components=frame[5], precision_bits=frame[0])
        stream.seek(length - 2, io.SEEK_CUR)
    return None
