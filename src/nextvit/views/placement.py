"""From an image file's bytes to the pixels of a training view: decode, crop, resize, flip. All tasks share this path.

Everything that moves pixels is in one `Placement`. Boxes and masks follow from it, so they stay aligned with the
pixels.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from nextvit.image.jpeg_header import read_jpeg_header
from nextvit.image.reading import Pixels
from nextvit.views.decode import decode
from nextvit.views.large_jpeg import choose_reduction, open_large_jpeg

# C channels, H W height and width, K objects

Crop = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""

LARGE_FACTOR = 4
"""A JPEG is decoded at a reduced size if its shorter side has this many times the pixels that a view needs."""


@dataclass(frozen=True)
class Placement:
    """Which part of an image a view shows, and how."""

    crop: Crop
    """In the image's pixels."""
    view_size: tuple[int, int]
    """Height and width of the view."""
    is_flipped: bool
    """Whether left and right are exchanged."""

    def transform_boxes(self, boxes_K4: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes x1, y1, x2, y2 of the image as boxes of the view (K, 4), clipped to it."""
        left, top, width, height = self.crop
        view_height, view_width = self.view_size
        scale_x, scale_y = view_width / width, view_height / height
        x = (boxes_K4[:, 0::2].astype(np.float64) - left) * scale_x
        y = (boxes_K4[:, 1::2].astype(np.float64) - top) * scale_y
        if self.is_flipped:
            x = view_width - x[:, ::-1]
        x, y = x.clip(0, view_width), y.clip(0, view_height)
        return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).astype(np.float32)

    def find_cut_boxes(self, boxes_K4: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which boxes (K,) of the image are not entirely inside the crop."""
        left, top, width, height = self.crop
        x1, y1, x2, y2 = boxes_K4.T
        return (x1 < left) | (y1 < top) | (x2 > left + width) | (y2 > top + height)


@dataclass(frozen=True)
class DecodedCrop:
    """The part of an image that a view shows, before it is resized."""

    pixels_CHW: Tensor
    """uint8, RGB; from a large JPEG at a reduced size."""
    placement: Placement
    """After a reduction, of exactly the pixels that were kept."""
    size_wh: tuple[int, int]
    """Width and height of the whole upright image in the file's pixels."""


def decode_crop(
    content: bytes, draw_placement: Callable[[tuple[int, int]], Placement], *, view_side_px: float, name: Path
) -> DecodedCrop:
    """Decode an image and cut out what its view shows.

    Args:
        content: the file's bytes.
        draw_placement: called once with the upright image's width and height; its errors are passed on.
        view_side_px: the size that a view of the whole image may have. JPEGs with `LARGE_FACTOR` times as many pixels
            a side are decoded at a half, a quarter or an eighth of their size, as far as the view does not show it.
        name: used in messages.

    Raises:
        DecodeError: as `nextvit.image.reading.read_image`.
    """
    header = read_jpeg_header(io.BytesIO(content))
    if header is None or min(header.width, header.height) < LARGE_FACTOR * view_side_px:
        image_CHW = decode(content, name=name)
        size_wh = (image_CHW.shape[2], image_CHW.shape[1])
        placement = draw_placement(size_wh)
        return DecodedCrop(crop_image(image_CHW, placement.crop), placement, size_wh)
    large = open_large_jpeg(content, name=name)
    size_wh = (large.width, large.height)
    placement = draw_placement(size_wh)
    (view_height, view_width), (_, _, width, height) = placement.view_size, placement.crop
    reduction = choose_reduction((width, height), needed_wh=(view_width, view_height))
    reduced_crop = reduce_crop(placement.crop, reduction)
    left, top, width, height = (edge * reduction for edge in reduced_crop)
    reduced_CHW = torch.from_numpy(large.decode(reduction=reduction)).permute(2, 0, 1)
    kept = replace(placement, crop=(left, top, width, height))
    return DecodedCrop(crop_image(reduced_CHW, reduced_crop), kept, size_wh)


def render_view(crop_CHW: Tensor, placement: Placement) -> Pixels:
    """Resize, and perhaps flip, a crop (3, h, w) to the pixels (height, width, 3) of its view."""
    view_1CHW = resize_bicubic(crop_CHW, placement.view_size)
    if placement.is_flipped:
        view_1CHW = view_1CHW.flip(3)
    return view_1CHW[0].permute(1, 2, 0).contiguous().numpy()


def resize_bicubic(crop_CHW: Tensor, view_size: tuple[int, int]) -> Tensor:
    """A uint8 image as (1, 3, *view_size), bicubic with antialiasing, channels last in memory.

    For uint8 pixels with channels last, torch's kernel takes a quarter of the time of Pillow's.
    """
    # The fast kernel accepts only dense memory, and returns the order of channels that it was given.
    crop_1CHW = crop_CHW[None].contiguous(memory_format=torch.channels_last)
    return interpolate(crop_1CHW, size=view_size, mode="bicubic", antialias=True)


def crop_image(image_CHW: Tensor, crop: Crop) -> Tensor:
    """The crop of an image (3, H, W), as a view of the same memory."""
    left, top, width, height = crop
    return image_CHW[:, top : top + height, left : left + width]


def reduce_crop(crop: Crop, reduction: int) -> Crop:
    """The crop in an image of 1 / `reduction` of the size; its edges move by at most half a pixel of that image."""
    left, top, width, height = crop
    right, bottom = round((left + width) / reduction), round((top + height) / reduction)
    left, top = round(left / reduction), round(top / reduction)
    return left, top, right - left, bottom - top


def find_source_pixels(count: int, start: int, length: int, *, limit: int) -> NDArray[np.int64]:
    """Nearest-neighbour sampling along one axis: the source pixel under the centre of each pixel of a view.

    Args:
        count: pixels of the view.
        start: first pixel of the crop.
        length: pixels of the crop.
        limit: pixels of the image; indices stay below it.

    Returns:
        Indices into the image, (count,).
    """
    centers = start + (np.arange(count) + 0.5) * (length / count)
    return np.minimum(centers.astype(np.int64), limit - 1)


def lerp(low: float, high: float, *, at: float) -> float:
    """The value at a fraction (0 to 1) of the way from `low` to `high`."""
    return low + (high - low) * at
