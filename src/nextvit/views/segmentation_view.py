"""The view that training gets of a picture with a mask: from a file's bytes to pixels and the class of each.

As for objects, all that moves pixels is one `Placement`, so that pixels and mask stay in step. Every view of a training is of
the same size; where a picture is smaller, the rest is of the mean colour, or its mirror image, and its mask says that there is no
label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nextvit.data.class_masks import ClassMask
from nextvit.errors import InputError
from nextvit.image.masks import IGNORED
from nextvit.image.resizing import IMAGENET_MEAN, STRIDE_PX, Pixels, fitted_size
from nextvit.views.decode import decode, read_jpeg_header
from nextvit.views.detection_view import BRIGHTNESS, CONTRAST, SATURATION, Placement, pixels_under, recoloured
from nextvit.views.label_view import LARGE, Crop, between, cut, reduced, resize
from nextvit.views.large_jpeg import open_large_jpeg, reduction_for
from nextvit.views.settings import SegmentationAugment

ATTEMPTS = 10
"""To draw a crop that is not filled by one class."""
DISTORTED_HUE_DEGREES = 36.0
"""MMSegmentation's 18 steps of hue in a byte, which are of two degrees; MMDetection's, of floats, are of one."""
HUES = 255
"""Into which Pillow divides a turn."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SegmentationView:
    """Decodes a picture and draws an augmented view of it and its mask."""

    settings: SegmentationAugment
    image_size: tuple[int, int]
    """Of the input: height and width, or with "fit" limits of the shorter and the longer side; pixels."""
    resize: Literal["squash", "fit"] = "fit"
    rarity: Floats | None = None
    """(classes,), how much each class is sought by `rare_crops`: see `rarity_of`."""
    mean: Sequence[float] = IMAGENET_MEAN
    """What the network subtracts from red, green and blue, 0..1: the colour of what lies beyond the picture."""
    mirrored: bool = False
    """Lay the picture's mirror image there instead, which has its light: for models that standardise what they see, whole."""

    def __post_init__(self) -> None:
        assert self.rarity is not None or not self.settings.rare_crops, "rare_crops needs to know what is rare"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every view."""
        sides = (self.image_size[0],) * 2 if self.resize == "fit" else self.image_size
        height, width = (max(1, round(self.settings.crop * side / STRIDE_PX)) * STRIDE_PX for side in sides)
        return height, width

    def __call__(
        self, content: bytes, mask_HW: ClassMask, *, name: Path, rng: np.random.Generator
    ) -> tuple[Pixels, ClassMask]:
        """A view (*size, 3), uint8, RGB, of the content of an image file, and the classes (*size) of its pixels.

        Args:
            content: the file's bytes.
            mask_HW: the class of each pixel of the upright picture.
            name: stands in messages.
            rng: decides all that is random.

        Raises:
            DecodeError: as `nextvit.image.resizing.read_image`.
            InputError: the mask is of another size than the picture.
        """
        part_CHW, placement = self.decode_part(content, mask_HW, name=name, rng=rng)
        view_1CHW = resize(part_CHW, placement.size)
        if placement.flip:
            view_1CHW = view_1CHW.flip(3)
        seen = view_1CHW[0].permute(1, 2, 0).contiguous().numpy()
        if self.settings.photometric:
            change = {"linear": recoloured, "published": distorted}[self.settings.colours]
            seen = change(seen, self.settings.photometric, rng)
        height, width = placement.size
        classes = np.full(self.size, IGNORED, np.uint8)
        classes[:height, :width] = placed_mask(mask_HW, placement)
        return self.filled(seen), classes

    def filled(self, seen: Pixels) -> Pixels:
        """What is seen of a picture (h, w, 3), and beyond it to the view's size what the settings say."""
        height, width, _ = seen.shape
        if self.mirrored:
            beyond = (0, self.size[0] - height), (0, self.size[1] - width), (0, 0)
            return np.pad(seen, beyond, mode="symmetric")
        pixels = np.empty((*self.size, 3), np.uint8)
        pixels[:] = np.rint(255 * np.array(self.mean))
        pixels[:height, :width] = seen
        return pixels

    def decode_part(
        self, content: bytes, mask_HW: ClassMask, *, name: Path, rng: np.random.Generator
    ) -> tuple[Tensor, Placement]:
        """The part (3, h, w) of a picture that is seen, and where it is placed; a large JPEG is reduced as far as does not
        show, and the placement is then that of the pixels that were kept."""
        header = read_jpeg_header(content)
        if header is None or min(header.width, header.height) < LARGE * self.settings.scale[0] * min(self.image_size):
            image_CHW = decode(content, name=name)
            check_size(mask_HW, (image_CHW.shape[1], image_CHW.shape[2]), name=name)
            placement = self.draw_placement(mask_HW, rng)
            return cut(image_CHW, placement.part), placement
        large = open_large_jpeg(content, name=name)
        check_size(mask_HW, (large.height, large.width), name=name)
        placement = self.draw_placement(mask_HW, rng)
        (view_height, view_width), (_, _, width, height) = placement.size, placement.part
        reduction = reduction_for((width, height), needed_wh=(view_width, view_height))
        part = reduced(placement.part, reduction)
        left, top, width, height = (edge * reduction for edge in part)
        reduced_CHW = torch.from_numpy(large.pixels(reduction=reduction)).permute(2, 0, 1)
        return cut(reduced_CHW, part), Placement((left, top, width, height), placement.size, placement.flip)

    def draw_placement(self, mask_HW: ClassMask, rng: np.random.Generator) -> Placement:
        """A random placement of the picture that the mask belongs to."""
        settings, (height, width) = self.settings, mask_HW.shape
        flip = bool(rng.random() < settings.flip)
        scale = between(*settings.scale, at=rng.random())
        full = fitted_size((height, width), self.image_size) if self.resize == "fit" else self.image_size
        # What is seen of a side, in the picture and in the view.
        (part_height, view_height), (part_width, view_width) = (
            seen_of(side, max(1.0, scale * pixels), view)
            for side, pixels, view in zip((height, width), full, self.size, strict=True)
        )
        part_hw = (part_height, part_width)
        if rng.random() < settings.rare_crops and (middle := self.rare_pixel(mask_HW, rng)):
            part = part_around(middle, part_hw, (height, width), rng)
        else:
            part = varied_part(mask_HW, part_hw, settings.most_of_one_class, rng)
        return Placement(part, (view_height, view_width), flip)

    def rare_pixel(self, mask_HW: ClassMask, rng: np.random.Generator) -> tuple[int, int] | None:
        """Row and column of a pixel of a class of this mask, which is drawn by its rarity; None without one."""
        assert self.rarity is not None
        counts = np.bincount(mask_HW.reshape(-1), minlength=256)[: len(self.rarity)]
        weights = np.cumsum(np.where(counts > 0, self.rarity, 0))
        if weights[-1] <= 0:
            return None
        label = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
        place = np.flatnonzero(mask_HW == label)[int(rng.integers(counts[label]))]
        row, column = divmod(int(place), mask_HW.shape[1])
        return row, column


def seen_of(side: int, scaled: float, view: int) -> tuple[int, int]:
    """Of a picture's side that is scaled to `scaled` pixels: the length of a part that fills a view, and how much of the view
    it fills; the whole side where that is not enough."""
    length = max(1, round(side * view / scaled))
    return (length, view) if length < side else (side, min(view, round(scaled)))


def check_size(mask_HW: ClassMask, size: tuple[int, int], *, name: Path) -> None:
    """Raise InputError where a mask is not of its picture's height and width."""
    if mask_HW.shape != size:
        height, width = mask_HW.shape
        raise InputError(f"{name}: is {size[1]}x{size[0]} px, its mask {width}x{height}; see nextvit check")


def part_around(
    middle: tuple[int, int], part_hw: Sequence[int], size: tuple[int, int], rng: np.random.Generator
) -> Crop:
    """A random part of a picture of this height and width that holds a pixel."""
    starts: list[int] = []
    for at, length, side in zip(middle, part_hw, size, strict=True):
        first, last = max(0, at - length + 1), min(at, side - length)
        starts.append(int(rng.integers(first, last + 1)))
    return starts[1], starts[0], part_hw[1], part_hw[0]


def varied_part(mask_HW: ClassMask, part_hw: Sequence[int], most: float, rng: np.random.Generator) -> Crop:
    """A random part of a picture, at most this share of whose labelled pixels are of one class, if ten draws find one."""
    height, width = part_hw
    top, left = 0, 0
    for _ in range(ATTEMPTS):
        top, left = (int(rng.integers(side - length + 1)) for side, length in zip(mask_HW.shape, part_hw, strict=True))
        if most >= 1 or largest_share(mask_HW[top : top + height, left : left + width]) < most:
            break
    return left, top, width, height


def largest_share(mask_HW: ClassMask) -> float:
    """The share of the most frequent class among the pixels that have a label; 1 without any."""
    counts = np.bincount(mask_HW.reshape(-1), minlength=256)[:IGNORED]
    return float(counts.max() / counts.sum()) if counts.any() else 1.0


def placed_mask(mask_HW: ClassMask, placement: Placement) -> ClassMask:
    """The classes (height, width) of a view's pixels: each is the picture's that lies under its middle."""
    left, top, width, height = placement.part
    rows = pixels_under(placement.size[0], top, height, limit=mask_HW.shape[0])
    columns = pixels_under(placement.size[1], left, width, limit=mask_HW.shape[1])
    classes = mask_HW.take(rows, axis=0).take(columns, axis=1)
    return classes[:, ::-1] if placement.flip else classes


def distorted(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Pixels (H, W, 3) with brightness, contrast, saturation and hue changed, each in half of the cases, evenly up to its limit
    times `strength`, as MMSegmentation changes them: one after the other, in bytes, contrast before or after the last two.
    """
    amounts = strength * (2 * rng.random(4) - 1)
    brightness, contrast, saturation, hue = np.where(rng.random(4) < 0.5, amounts, 0.0).tolist()
    more, brighter = curve(gain=1 + CONTRAST * contrast), curve(offset=BRIGHTNESS * brightness)
    contrast_first = rng.random() < 0.5
    image = Image.fromarray(pixels).point(3 * (more[brighter] if contrast_first else brighter).tolist())
    if saturation or hue:
        hues = (np.arange(256) + round(HUES * DISTORTED_HUE_DEGREES * hue / 360)) % HUES
        tables = np.concatenate([hues, curve(gain=1 + SATURATION * saturation), curve()])
        image = image.convert("HSV").point(tables.tolist()).convert("RGB")
    return np.array(image if contrast_first else image.point(3 * more.tolist()))


def curve(*, gain: float = 1.0, offset: float = 0.0) -> NDArray[np.uint8]:
    """What becomes of each value (256,) that is multiplied and added to."""
    return (np.arange(256) * gain + offset).clip(0, 255).astype(np.uint8)


def rarity_of(pixels_C: NDArray[np.integer[Any]]) -> Floats:
    """How much each class is to be sought, from its pixels in the training data: (classes,), with a sum of 1.

    One over the square root of its share: halfway between the data as it is and classes of equal weight. A class with more
    than its part of the pixels comes into every crop and is not sought.
    """
    there = (pixels_C > 0) & (pixels_C * len(pixels_C) < pixels_C.sum())
    weights = np.where(there, 1 / np.sqrt(np.maximum(1, pixels_C)), 0.0)
    return weights / max(weights.sum(), np.finfo(np.float64).tiny)


def picture_weights(counts_NC: NDArray[np.integer[Any]], *, common: float = 0.1) -> Floats:
    """How often each picture is to be drawn, from the pixels of each class on it: (N,), at least 1.

    Classes on fewer than the share `common` of the pictures are repeated by the square root of what they lack, and a picture by
    the rarest class on it (Gupta et al., arXiv:1908.03195, appendix B).
    """
    there_NC = counts_NC > 0
    share_C = there_NC.mean(axis=0)
    repeat_C = np.sqrt(np.maximum(1.0, common / np.maximum(share_C, 1 / max(1, len(there_NC)))))
    return np.where(there_NC, repeat_C, 1.0).max(axis=1)
