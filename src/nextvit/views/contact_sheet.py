"""A batch as one picture, for people to see what training does to their images. Needs no torch."""

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.files.durable import write_durably

COLUMNS, MOST_SHOWN = 8, 16
SIDE_PX, GAP_PX = 112, 4


def write_contact_sheet(
    path: Path, images_NHWC: NDArray[np.uint8], *, side_px: int = SIDE_PX, columns: int = COLUMNS
) -> None:
    """Write the first images of a batch (N, H, W, 3), side by side, as a PNG."""
    buffer = io.BytesIO()
    contact_sheet(images_NHWC, side_px=side_px, columns=columns).save(buffer, "PNG")
    write_durably(path, buffer.getvalue())


def contact_sheet(images_NHWC: NDArray[np.uint8], *, side_px: int = SIDE_PX, columns: int = COLUMNS) -> Image.Image:
    """The first images of a batch (N, H, W, 3) in rows of `columns`, each scaled so that its longer side is `side_px`."""
    shown = images_NHWC[:MOST_SHOWN]
    height, width = shown.shape[1:3]
    scale = side_px / max(height, width)
    tile_wh = max(1, round(width * scale)), max(1, round(height * scale))
    columns, rows = min(columns, len(shown)), math.ceil(len(shown) / columns)
    step_x, step_y = tile_wh[0] + GAP_PX, tile_wh[1] + GAP_PX
    sheet = Image.new("RGB", (columns * step_x - GAP_PX, rows * step_y - GAP_PX), "white")
    for index, pixels in enumerate(shown):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(pixels).resize(tile_wh), (column * step_x, row * step_y))
    return sheet
