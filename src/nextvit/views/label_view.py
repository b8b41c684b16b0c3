"""The view that training gets of a picture: from a file's bytes to pixels of the network's input size.

Nothing is drawn from a global generator, and one resize of the crop gives the input: torch's kernel for uint8 pixels
whose channels lie side by side takes a quarter of the time of Pillow's.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nextvit.image.resizing import Pixels
from nextvit.views.decode import decode, read_jpeg_header
from nextvit.views.large_jpeg import open_large_jpeg, reduction_for
from nextvit.views.rand_augment import RandAugment
from nextvit.views.settings import Augment

Crop = tuple[int, int, int, int]  # left, top, width, height

LARGE = 4
"""A JPEG whose sides have this many pixels for each of the input's is read with `open_large_jpeg`."""

ATTEMPTS = 10
"""To draw a crop that fits into the picture."""


@dataclass(frozen=True)
class View:
    """Decodes a picture and draws an augmented view of it."""

    settings: Augment
    image_size: tuple[int, int]
    """Height and width of the view."""
    rand_augment: RandAugment | None

    def __call__(self, content: bytes, *, name: Path, rng: np.random.Generator) -> Pixels:
        """A view (*image_size, 3), uint8, RGB, of the content of an image file; `name` stands in messages.

        Raises:
            DecodeError: as `nextvit.image.resizing.read_image`.
        """
        crop_CHW = self.decode_crop(content, name=name, rng=rng)
        view_1CHW = resize(crop_CHW, self.image_size)
        if rng.random() < self.settings.flip:
            view_1CHW = view_1CHW.flip(3)
        pixels = view_1CHW[0].permute(1, 2, 0).contiguous().numpy()
        return self.rand_augment(pixels, rng) if self.rand_augment else pixels

    def decode_crop(self, content: bytes, *, name: Path, rng: np.random.Generator) -> Tensor:
        """A random part of a picture, uint8 (3, h, w); of a large JPEG, reduced as far as does not show."""
        header = read_jpeg_header(content)
        height, width = self.image_size
        if header is None or min(header.width, header.height) < LARGE * max(height, width):
            image_CHW = decode(content, name=name)
            return cut(image_CHW, draw_crop((image_CHW.shape[2], image_CHW.shape[1]), self.settings, rng))
        large = open_large_jpeg(content, name=name)
        crop = draw_crop((large.width, large.height), self.settings, rng)
        reduction = reduction_for((crop[2], crop[3]), needed_wh=(width, height))
        reduced_CHW = torch.from_numpy(large.pixels(reduction=reduction)).permute(2, 0, 1)
        return cut(reduced_CHW, reduced(crop, reduction))


def build_view(settings: Augment, *, image_size: tuple[int, int]) -> View:
    """The view that the settings describe, of `image_size` (height, width)."""
    rand_augment = RandAugment(settings.rand_augment, settings.rand_augment_std, settings.rand_augment_ops)
    return View(settings, image_size, rand_augment if settings.rand_augment else None)


def draw_crop(size_wh: tuple[int, int], settings: Augment, rng: np.random.Generator) -> Crop:
    """Left, top, width and height of a random part: its share of the area even, its aspect even on a log scale.

    As in torchvision and timm, the middle of the picture, as much as the aspect allows, where no crop fits.
    """
    width, height = size_wh
    lowest, highest = settings.crop_aspect
    for _ in range(ATTEMPTS):
        share, shape, across, down = rng.random(4).tolist()
        area = width * height * between(*settings.crop_scale, at=share)
        aspect = math.exp(between(math.log(lowest), math.log(highest), at=shape))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left, top = int(across * (width - crop_width + 1)), int(down * (height - crop_height + 1))
            return left, top, crop_width, crop_height
    crop_width = min(width, max(1, round(height * highest)))
    crop_height = min(height, max(1, round(width / lowest)))
    return (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height


def reduced(crop: Crop, reduction: int) -> Crop:
    """The crop in a picture of 1 / `reduction` of the size; its edges move by half a pixel of that at most."""
    left, top, width, height = crop
    right, bottom = round((left + width) / reduction), round((top + height) / reduction)
    left, top = round(left / reduction), round(top / reduction)
    return left, top, right - left, bottom - top


def between(low: float, high: float, *, at: float) -> float:
    return low + (high - low) * at


def cut(image_CHW: Tensor, crop: Crop) -> Tensor:
    """The part of an image (3, H, W) that is the crop."""
    left, top, width, height = crop
    return image_CHW[:, top : top + height, left : left + width]


def resize(crop_CHW: Tensor, image_size: tuple[int, int]) -> Tensor:
    """A uint8 image as (1, 3, *image_size), bicubic with antialiasing, channels last in memory."""
    # The fast kernel takes dense memory alone, and gives back the order of channels that it got.
    crop_1CHW = crop_CHW[None].contiguous(memory_format=torch.channels_last)
    return interpolate(crop_1CHW, size=image_size, mode="bicubic", antialias=True)
