"""RandAugment (arXiv:1909.13719) in timm's form rand-m9-mstd0.5-inc1, which the paper's recipe uses.

All operations get stronger as the magnitude rises ("inc"). Simple ones are numpy; shears and translations, which took
most of the time, are in `nextvit.views.shift`; the rest is Pillow's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from nextvit.image.reading import Pixels
from nextvit.image.resizing import IMAGENET_MEAN
from nextvit.views.shift import shift_rows

FILL = (round(255 * IMAGENET_MEAN[0]), round(255 * IMAGENET_MEAN[1]), round(255 * IMAGENET_MEAN[2]))
"""The colour beyond the image's borders."""

PROBABILITY = 0.5
"""That an operation that was drawn is applied."""

Operation = Callable[[Pixels, float], Pixels]


@dataclass(frozen=True)
class RandAugment:
    """Applies a few random operations to each image."""

    magnitude: float
    """Mean magnitude, 0..10."""
    std: float
    """Standard deviation of the magnitude, which is clipped to 0..10."""
    count: int
    """Operations drawn, with replacement; each is applied with probability 0.5."""

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Apply the operations that `rng` draws to pixels (H, W, 3)."""
        for name, amount in self.draw(rng):
            pixels = OPERATIONS[name](pixels, amount)
        return pixels

    def draw(self, rng: np.random.Generator) -> list[tuple[str, float]]:
        """Draw names of operations with their amounts: magnitude / 10, negated with probability 0.5."""
        drawn: list[tuple[str, float]] = []
        for _ in range(self.count):
            at_name, at_applied, at_sign = rng.random(3).tolist()
            if at_applied < PROBABILITY:
                amount = min(max(rng.normal(self.magnitude, self.std), 0.0), 10.0) / 10
                drawn.append((NAMES[int(at_name * len(NAMES))], amount if at_sign < 0.5 else -amount))
        return drawn


def wrap_pillow(operation: Callable[[Image.Image, float], Image.Image]) -> Operation:
    """An operation on Pillow images as one on pixels."""
    return lambda pixels, amount: np.array(operation(Image.fromarray(pixels), amount))


def rotate(image: Image.Image, amount: float) -> Image.Image:
    return image.rotate(amount * 30.0, resample=Image.Resampling.BICUBIC, fillcolor=FILL)


def posterize(pixels: Pixels, amount: float) -> Pixels:
    # timm goes down to 0 bits, a black image; newer versions of Pillow refuse that.
    bits = max(1, 4 - int(abs(amount) * 4))
    return pixels & np.uint8(256 - 2 ** (8 - bits))


def solarize(pixels: Pixels, amount: float) -> Pixels:
    bright = pixels >= 256 - int(abs(amount) * 256)
    return pixels ^ (bright * np.uint8(255))  # inverted where bright


def solarize_add(pixels: Pixels, amount: float) -> Pixels:
    return pixels + (pixels < 128) * np.uint8(abs(amount) * 110)


def enhancement_factor(amount: float) -> float:
    """The factor of Pillow's enhancements, from 0.1 to 1.9; 1 leaves an image unchanged."""
    return max(0.1, 1.0 + amount * 0.9)


def shear_x(pixels: Pixels, amount: float) -> Pixels:
    return shift_rows(pixels, amount * 0.3 * np.arange(0.5, pixels.shape[0], dtype=np.float64), fill=FILL)


def translate_x(pixels: Pixels, amount: float) -> Pixels:
    return shift_rows(pixels, np.full(pixels.shape[0], amount * 0.45 * pixels.shape[1]), fill=FILL)


def swap_axes(operation: Operation) -> Operation:
    """The operation with x and y exchanged."""
    return lambda pixels, amount: transpose(operation(transpose(pixels), amount))


def transpose(pixels: Pixels) -> Pixels:
    """Exchange rows and columns. Pillow copies pixels in this order faster than numpy."""
    return np.array(Image.fromarray(pixels).transpose(Image.Transpose.TRANSPOSE))


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": wrap_pillow(lambda image, _: ImageOps.autocontrast(image)),
    "equalize": wrap_pillow(lambda image, _: ImageOps.equalize(image)),
    "invert": lambda pixels, _: 255 - pixels,
    "rotate": wrap_pillow(rotate),
    "posterize": posterize,
    "solarize": solarize,
    "solarize_add": solarize_add,
    "color": wrap_pillow(lambda image, amount: ImageEnhance.Color(image).enhance(enhancement_factor(amount))),
    "contrast": wrap_pillow(lambda image, amount: ImageEnhance.Contrast(image).enhance(enhancement_factor(amount))),
    "brightness": wrap_pillow(lambda image, amount: ImageEnhance.Brightness(image).enhance(enhancement_factor(amount))),
    "sharpness": wrap_pillow(lambda image, amount: ImageEnhance.Sharpness(image).enhance(enhancement_factor(amount))),
    "shear_x": shear_x,
    "shear_y": swap_axes(shear_x),
    "translate_x": translate_x,
    "translate_y": swap_axes(translate_x),
}
"""Functions of RGB pixels (H, W, 3) and an amount in -1..1, whose sign matters for operations with two directions."""

NAMES = tuple(OPERATIONS)
