"""RandAugment (arXiv:1909.13719) as timm has it under the name rand-m9-mstd0.5-inc1: the paper's recipe uses it.

The operations get stronger as the magnitude rises ("inc"). What is a line of numpy is written out, shears and
translations are ours because they took most of the time, and all else is Pillow's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from nextvit.image.resizing import IMAGENET_MEAN, Pixels
from nextvit.views.shift import shift_rows

FILL = (round(255 * IMAGENET_MEAN[0]), round(255 * IMAGENET_MEAN[1]), round(255 * IMAGENET_MEAN[2]))
"""The colour that moves in at the borders."""

PROBABILITY = 0.5
"""Of each drawn operation to be done."""

Operation = Callable[[Pixels, float], Pixels]


@dataclass(frozen=True)
class RandAugment:
    """A few operations, drawn anew for each picture."""

    magnitude: float
    """Mean strength, 0..10."""
    std: float
    """Standard deviation of the strength; what falls beyond 0..10 is put at the limit."""
    count: int
    """Operations drawn, with replacement; each is done with a probability of one half."""

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Pixels (H, W, 3) after the operations that `rng` draws."""
        for name, amount in self.draw(rng):
            pixels = OPERATIONS[name](pixels, amount)
        return pixels

    def draw(self, rng: np.random.Generator) -> list[tuple[str, float]]:
        """Names of operations with their amounts: strength / 10, negative half of the time."""
        drawn: list[tuple[str, float]] = []
        for _ in range(self.count):
            which, whether, sign = rng.random(3).tolist()
            if whether < PROBABILITY:
                amount = min(max(rng.normal(self.magnitude, self.std), 0.0), 10.0) / 10
                drawn.append((NAMES[int(which * len(NAMES))], amount if sign < 0.5 else -amount))
        return drawn


def with_pillow(operation: Callable[[Image.Image, float], Image.Image]) -> Operation:
    return lambda pixels, amount: np.array(operation(Image.fromarray(pixels), amount))


def rotate(image: Image.Image, amount: float) -> Image.Image:
    return image.rotate(amount * 30.0, resample=Image.Resampling.BICUBIC, fillcolor=FILL)


def posterize(pixels: Pixels, amount: float) -> Pixels:
    # timm goes down to 0 bits, a black picture; newer Pillows refuse that.
    bits = max(1, 4 - int(abs(amount) * 4))
    return pixels & np.uint8(256 - 2 ** (8 - bits))


def solarize(pixels: Pixels, amount: float) -> Pixels:
    bright = pixels >= 256 - int(abs(amount) * 256)
    return pixels ^ (bright * np.uint8(255))  # inverted where bright


def solarize_add(pixels: Pixels, amount: float) -> Pixels:
    return pixels + (pixels < 128) * np.uint8(abs(amount) * 110)


def factor(amount: float) -> float:
    """Of an enhancement: 1 leaves a picture as it is, 0.1 and 1.9 are furthest from that."""
    return max(0.1, 1.0 + amount * 0.9)


def shear_x(pixels: Pixels, amount: float) -> Pixels:
    return shift_rows(pixels, amount * 0.3 * np.arange(0.5, pixels.shape[0], dtype=np.float64), fill=FILL)


def translate_x(pixels: Pixels, amount: float) -> Pixels:
    return shift_rows(pixels, np.full(pixels.shape[0], amount * 0.45 * pixels.shape[1]), fill=FILL)


def along_y(operation: Operation) -> Operation:
    """The operation with x and y exchanged."""
    return lambda pixels, amount: exchanged(operation(exchanged(pixels), amount))


def exchanged(pixels: Pixels) -> Pixels:
    """Rows as columns; Pillow copies pixels in this order faster than numpy."""
    return np.array(Image.fromarray(pixels).transpose(Image.Transpose.TRANSPOSE))


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": with_pillow(lambda image, _: ImageOps.autocontrast(image)),
    "equalize": with_pillow(lambda image, _: ImageOps.equalize(image)),
    "invert": lambda pixels, _: 255 - pixels,
    "rotate": with_pillow(rotate),
    "posterize": posterize,
    "solarize": solarize,
    "solarize_add": solarize_add,
    "color": with_pillow(lambda image, amount: ImageEnhance.Color(image).enhance(factor(amount))),
    "contrast": with_pillow(lambda image, amount: ImageEnhance.Contrast(image).enhance(factor(amount))),
    "brightness": with_pillow(lambda image, amount: ImageEnhance.Brightness(image).enhance(factor(amount))),
    "sharpness": with_pillow(lambda image, amount: ImageEnhance.Sharpness(image).enhance(factor(amount))),
    "shear_x": shear_x,
    "shear_y": along_y(shear_x),
    "translate_x": translate_x,
    "translate_y": along_y(translate_x),
}
"""What each does to RGB pixels (H, W, 3), given an amount in -1..1; its sign counts where there are two directions."""

NAMES = tuple(OPERATIONS)
