"""Training's augmented view of an image with labels: from a file's bytes to pixels of the network's input size.

All randomness comes from the generator that is passed in, none from a global one.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nextvit.image.reading import Pixels
from nextvit.views.placement import Crop, Placement, decode_crop, lerp, render_view
from nextvit.views.rand_augment import RandAugment
from nextvit.views.settings import Augment

MAX_ATTEMPTS = 10
"""Draws of a crop that fits into the image."""


@dataclass(frozen=True)
class View:
    """Decodes an image and draws an augmented view of it."""

    settings: Augment
    image_size: tuple[int, int]
    """Height and width of the view."""
    rand_augment: RandAugment | None

    def __call__(self, content: bytes, *, name: Path, rng: np.random.Generator) -> Pixels:
        """The pixels of `draw`."""
        return self.draw(content, name=name, rng=rng)[0]

    def draw(self, content: bytes, *, name: Path, rng: np.random.Generator) -> tuple[Pixels, bool]:
        """Draw a view.

        Args:
            content: the bytes of an image file.
            name: used in messages.
            rng: source of all randomness.

        Returns:
            The view (*image_size, 3), uint8, RGB, and whether left and right are exchanged in it.

        Raises:
            DecodeError: as `nextvit.image.reading.read_image`.
        """

        def draw_placement(size_wh: tuple[int, int]) -> Placement:
            return Placement(draw_crop(size_wh, self.settings, rng), self.image_size, is_flipped=False)

        decoded = decode_crop(content, draw_placement, view_side_px=max(self.image_size), name=name)
        # The flip is drawn after decoding: if that fails, the generator goes on to another image from the same state.
        is_flipped = bool(rng.random() < self.settings.flip)
        pixels = render_view(decoded.pixels_CHW, replace(decoded.placement, is_flipped=is_flipped))
        return self.rand_augment(pixels, rng) if self.rand_augment else pixels, is_flipped


def build_view(settings: Augment, *, image_size: tuple[int, int]) -> View:
    """The view that the settings describe, of `image_size` (height, width)."""
    rand_augment = RandAugment(settings.rand_augment, settings.rand_augment_std, settings.rand_augment_ops)
    return View(settings, image_size, rand_augment if settings.rand_augment else None)


def draw_crop(size_wh: tuple[int, int], settings: Augment, rng: np.random.Generator) -> Crop:
    """Draw a random crop, as torchvision's RandomResizedCrop: uniform area, and aspect ratio uniform on a log scale.

    If no crop fits, it is the centre of the image, as large as the aspect ratio allows; torchvision and timm do the
    same.
    """
    width, height = size_wh
    min_aspect, max_aspect = settings.crop_aspect
    for _ in range(MAX_ATTEMPTS):
        at_area, at_aspect, at_left, at_top = rng.random(4).tolist()
        area = width * height * lerp(*settings.crop_scale, at=at_area)
        aspect = math.exp(lerp(math.log(min_aspect), math.log(max_aspect), at=at_aspect))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left, top = int(at_left * (width - crop_width + 1)), int(at_top * (height - crop_height + 1))
            return left, top, crop_width, crop_height
    crop_width = min(width, max(1, round(height * max_aspect)))
    crop_height = min(height, max(1, round(width / min_aspect)))
    return (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height
