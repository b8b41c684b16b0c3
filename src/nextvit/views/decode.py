"""Decode images for training: JPEGs with libjpeg into a tensor, other formats with Pillow.

For JPEGs this is a little faster than Pillow, and the tensor is dense with channels last, as the resize after it needs.
A test bounds the difference from Pillow's pixels. Serving and evaluation use `nextvit.image.reading`, which is Pillow
alone.
"""

import io
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from nextvit.image.jpeg_header import read_jpeg_header
from nextvit.image.limits import TooLargeError, check_jpeg_content
from nextvit.image.reading import DecodeError, Encoded, read_image, to_pixels


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
    header = read_jpeg_header(io.BytesIO(content))
    # decode_jpeg has no limits, and treats CMYK differently from Pillow: both are handled here.
    if header and header.components in (1, 3) and header.precision_bits == 8:
        try:
            check_jpeg_content(header, content)
        except TooLargeError as error:
            raise DecodeError(f"{name}: {error}") from None
        # decode_jpeg fills a truncated image with grey; Pillow refuses it.
        if content.rstrip(b"\0").endswith(b"\xff\xd9"):
            try:
                encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
                return cast(Tensor, decode_jpeg(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=True))
            except RuntimeError:
                pass  # Pillow decides, and gives the reason
    return torch.from_numpy(to_pixels(read_image(Encoded(content, name)))).permute(2, 0, 1)
