"""Training's augmented view of an image with a class mask: from a file's bytes to pixels and the class of each.

The mask follows from the `Placement` of the pixels. All views of a training have one size; an image that does not fill
its view is padded with the mean colour or with its mirror image, and the mask there says that there is no label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.data.class_masks import ClassMask
from nextvit.errors import InputError
from nextvit.image.canvas import STRIDE_PX
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.reading import Pixels
from nextvit.image.resizing import IMAGENET_MEAN, size_within
from nextvit.views.colour import COLOUR_CHANGES
from nextvit.views.placement import Crop, Placement, decode_crop, find_source_pixels, lerp, render_view
from nextvit.views.settings import SegmentationAugment

MAX_ATTEMPTS = 10
"""Draws of a crop that is not dominated by one class."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SegmentationView:
    """Decodes an image and draws an augmented view of it and its mask."""

    settings: SegmentationAugment
    image_size: tuple[int, int]
    """Of the input in pixels: height and width, or with `padded` limits of the shorter and the longer side."""
    padded: bool = True
    """Whether images keep their aspect ratio within these limits; else each side is scaled to the input's."""
    rarity: Floats | None = None
    """(classes,), the probability of each class to be the centre of a rare crop: see `compute_class_rarity`."""
    mean: Sequence[float] = IMAGENET_MEAN
    """The mean of red, green and blue that the network subtracts, 0..1: the colour of the padding."""
    mirrored: bool = False
    """Pad with the mirror image instead: for models that standardise each image by its own statistics."""
    exchanged: NDArray[np.int64] | None = None
    """(classes,), what each class is in a flipped view; None: the same."""

    def __post_init__(self) -> None:
        assert self.rarity is not None or not self.settings.rare_crops, "rare_crops needs the rarity of the classes"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every view."""
        sides = (self.image_size[0],) * 2 if self.padded else self.image_size
        height, width = (max(1, round(self.settings.crop * side / STRIDE_PX)) * STRIDE_PX for side in sides)
        return height, width

    def __call__(
        self, content: bytes, mask_HW: ClassMask, *, name: Path, rng: np.random.Generator
    ) -> tuple[Pixels, ClassMask]:
        """Draw a view.

        Args:
            content: the bytes of an image file.
            mask_HW: the class of each pixel of the upright image.
            name: used in messages.
            rng: source of all randomness.

        Returns:
            The view (*size, 3), uint8, RGB, and the classes (*size) of its pixels.

        Raises:
            DecodeError: as `nextvit.image.reading.read_image`.
            InputError: mask and image differ in size.
        """

        def draw_placement(size_wh: tuple[int, int]) -> Placement:
            check_size(mask_HW, size_wh, name=name)
            return self.draw_placement(mask_HW, rng)

        # 1. Pixels
        view_side_px = self.settings.scale[0] * min(self.image_size)
        decoded = decode_crop(content, draw_placement, view_side_px=view_side_px, name=name)
        pixels = render_view(decoded.pixels_CHW, decoded.placement)
        if self.settings.photometric:
            pixels = COLOUR_CHANGES[self.settings.colours](pixels, self.settings.photometric, rng)
        # 2. Mask
        height, width = decoded.placement.view_size
        classes = np.full(self.size, IGNORE_INDEX, np.uint8)
        classes[:height, :width] = transform_class_mask(mask_HW, decoded.placement)
        if decoded.placement.is_flipped and self.exchanged is not None:
            classes = exchange_values(classes, self.exchanged)
        return self.pad(pixels), classes

    def pad(self, pixels: Pixels) -> Pixels:
        """Pixels (h, w, 3), padded at the right and the bottom to the view's size."""
        height, width, _ = pixels.shape
        if self.mirrored:
            padding = (0, self.size[0] - height), (0, self.size[1] - width), (0, 0)
            return np.pad(pixels, padding, mode="symmetric")
        padded = np.empty((*self.size, 3), np.uint8)
        padded[:] = np.rint(255 * np.array(self.mean))
        padded[:height, :width] = pixels
        return padded

    def draw_placement(self, mask_HW: ClassMask, rng: np.random.Generator) -> Placement:
        """Draw a random placement of the image that the mask belongs to."""
        settings, (height, width) = self.settings, mask_HW.shape
        is_flipped = bool(rng.random() < settings.flip)
        scale = lerp(*settings.scale, at=rng.random())
        # 1. The size of the crop, and of the part of the view that it fills
        full_size = size_within((height, width), self.image_size) if self.padded else self.image_size
        (crop_height, view_height), (crop_width, view_width) = (
            fit_axis(side, max(1.0, scale * full_side), view_side)
            for side, full_side, view_side in zip((height, width), full_size, self.size, strict=True)
        )
        crop_hw = (crop_height, crop_width)
        # 2. The position of the crop
        if rng.random() < settings.rare_crops and (pixel := self.draw_rare_pixel(mask_HW, rng)):
            crop = draw_crop_around(pixel, crop_hw, (height, width), rng)
        else:
            crop = draw_varied_crop(mask_HW, crop_hw, settings.most_of_one_class, rng)
        return Placement(crop, (view_height, view_width), is_flipped)

    def draw_rare_pixel(self, mask_HW: ClassMask, rng: np.random.Generator) -> tuple[int, int] | None:
        """Row and column of a random pixel of a class drawn by rarity; None if the mask has no rare class."""
        assert self.rarity is not None
        counts = np.bincount(mask_HW.reshape(-1), minlength=256)[: len(self.rarity)]
        cumulative = np.cumsum(np.where(counts > 0, self.rarity, 0))
        if cumulative[-1] <= 0:
            return None
        label = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        flat_index = np.flatnonzero(mask_HW == label)[int(rng.integers(counts[label]))]
        row, column = divmod(int(flat_index), mask_HW.shape[1])
        return row, column


def fit_axis(side: int, scaled: float, view_side: int) -> tuple[int, int]:
    """Along one axis: the length of the crop, and how many pixels of the view it fills.

    Args:
        side: of the image.
        scaled: the same after scaling.
        view_side: of the view; an image that is scaled to less is shown whole.
    """
    length = max(1, round(side * view_side / scaled))
    return (length, view_side) if length < side else (side, min(view_side, round(scaled)))


def check_size(mask_HW: ClassMask, size_wh: tuple[int, int], *, name: Path) -> None:
    """Raise InputError if a mask does not have its image's width and height."""
    height, width = mask_HW.shape
    if (width, height) != size_wh:
        raise InputError(f"{name}: is {size_wh[0]}x{size_wh[1]} px, its mask {width}x{height}; see nextvit check")


def draw_crop_around(
    pixel: tuple[int, int], crop_hw: Sequence[int], size: tuple[int, int], rng: np.random.Generator
) -> Crop:
    """Draw a random crop that contains a pixel (row, column), in an image of this height and width."""
    starts: list[int] = []
    for position, length, side in zip(pixel, crop_hw, size, strict=True):
        first, last = max(0, position - length + 1), min(position, side - length)
        starts.append(int(rng.integers(first, last + 1)))
    return starts[1], starts[0], crop_hw[1], crop_hw[0]


def draw_varied_crop(mask_HW: ClassMask, crop_hw: Sequence[int], max_fraction: float, rng: np.random.Generator) -> Crop:
    """Draw a random crop in which no class has `max_fraction` of the labelled pixels; after ten draws, any crop."""
    height, width = crop_hw
    top, left = 0, 0
    for _ in range(MAX_ATTEMPTS):
        top, left = (int(rng.integers(side - length + 1)) for side, length in zip(mask_HW.shape, crop_hw, strict=True))
        crop_HW = mask_HW[top : top + height, left : left + width]
        if max_fraction >= 1 or measure_largest_class_fraction(crop_HW) < max_fraction:
            break
    return left, top, width, height


def measure_largest_class_fraction(mask_HW: ClassMask) -> float:
    """The fraction of the most frequent class among the labelled pixels; 1 if there are none."""
    counts = np.bincount(mask_HW.reshape(-1), minlength=256)[:IGNORE_INDEX]
    return float(counts.max() / counts.sum()) if counts.any() else 1.0


def transform_class_mask(mask_HW: ClassMask, placement: Placement) -> ClassMask:
    """The classes (height, width) of a view's pixels, sampled from the image's mask by nearest neighbour."""
    left, top, width, height = placement.crop
    rows = find_source_pixels(placement.view_size[0], top, height, limit=mask_HW.shape[0])
    columns = find_source_pixels(placement.view_size[1], left, width, limit=mask_HW.shape[1])
    classes = mask_HW.take(rows, axis=0).take(columns, axis=1)
    return classes[:, ::-1] if placement.is_flipped else classes


def exchange_values(classes_HW: ClassMask, exchanged: NDArray[np.int64]) -> ClassMask:
    """A class map in which each class is what it is in a mirror image; values that are no class stay."""
    values = np.arange(256, dtype=np.uint8)
    values[: len(exchanged)] = exchanged
    return values[classes_HW]


def compute_class_rarity(pixels_C: NDArray[np.integer[Any]]) -> Floats:
    """How often rare crops are centred on each class, from the pixel counts (classes,) of the training data.

    Proportional to one over the square root of the count: halfway between the distribution of the data and equal
    weights. Classes with more pixels than the average class get 0: they are in most crops anyway.

    Returns:
        Probabilities (classes,) with a sum of 1, or all 0.
    """
    is_rare = (pixels_C > 0) & (pixels_C * len(pixels_C) < pixels_C.sum())
    weights = np.where(is_rare, 1 / np.sqrt(np.maximum(1, pixels_C)), 0.0)
    return weights / max(weights.sum(), np.finfo(np.float64).tiny)


def compute_repeat_factors(counts_NC: NDArray[np.integer[Any]], *, threshold: float = 0.1) -> Floats:
    """Repeat factor sampling (Gupta et al., arXiv:1908.03195, appendix B): how often to draw each image.

    Args:
        counts_NC: pixels of each class on each image.
        threshold: a class on a smaller fraction f of the images gets the factor sqrt(threshold / f), others 1.

    Returns:
        The factor (N,) of the rarest class on each image, at least 1.
    """
    has_class_NC = counts_NC > 0
    fraction_C = has_class_NC.mean(axis=0)
    factor_C = np.sqrt(np.maximum(1.0, threshold / np.maximum(fraction_C, 1 / max(1, len(has_class_NC)))))
    return np.where(has_class_NC, factor_C, 1.0).max(axis=1)
