"""Show a batch of training images as one image. Needs no torch."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.files.durable import write_durably

GAP_PX = 4


@dataclass(frozen=True)
class Sheet:
    """How images are laid out."""

    images: int = 16
    """The most that are shown."""
    columns: int = 8
    side_px: int = 112
    """Longer side of each, in pixels."""


SMALL = Sheet()
LARGE = Sheet(images=8, columns=4, side_px=320)
"""For images with objects or masks drawn on them."""


def write_contact_sheet(path: Path, images_NHWC: NDArray[np.uint8], sheet: Sheet = Sheet()) -> None:
    """Write the first images of a batch (N, H, W, 3), side by side, as a PNG."""
    buffer = io.BytesIO()
    make_contact_sheet(images_NHWC, sheet).save(buffer, "PNG")
    write_durably(path, buffer.getvalue())


def make_contact_sheet(images_NHWC: NDArray[np.uint8], layout: Sheet = Sheet()) -> Image.Image:
    """The first images of a batch (N, H, W, 3) in rows, each scaled to `layout.side_px` on its longer side."""
    shown = images_NHWC[: layout.images]
    height, width = shown.shape[1:3]
    scale = layout.side_px / max(height, width)
    tile_wh = max(1, round(width * scale)), max(1, round(height * scale))
    columns, rows = min(layout.columns, len(shown)), math.ceil(len(shown) / layout.columns)
    step_x, step_y = tile_wh[0] + GAP_PX, tile_wh[1] + GAP_PX
    sheet = Image.new("RGB", (columns * step_x - GAP_PX, rows * step_y - GAP_PX), "white")
    for index, pixels in enumerate(shown):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(pixels).resize(tile_wh), (column * step_x, row * step_y))
    return sheet
