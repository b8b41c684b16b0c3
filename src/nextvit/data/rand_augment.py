"""RandAugment (arXiv:1909.13719) as timm has it under the name rand-m9-mstd0.5-inc1: the paper's recipe uses it.

The operations get stronger as the magnitude rises ("inc"). All are Pillow's own but shears and translations, which
took most of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from nextvit.data.shift import shift_rows
from nextvit.preprocess import IMAGENET_MEAN, Pixels

FILL = (round(255 * IMAGENET_MEAN[0]), round(255 * IMAGENET_MEAN[1]), round(255 * IMAGENET_MEAN[2]))
"""The colour that moves in at the borders."""

PROBABILITY = 0.5
"""Of each drawn operation to be done."""


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
        drawn = self.draw(rng)
        if not drawn:
            return pixels
        image = Image.fromarray(pixels)
        for name, amount in drawn:
            image = OPERATIONS[name](image, amount)
        return np.array(image)

    def draw(self, rng: np.random.Generator) -> list[tuple[str, float]]:
        """Names of operations with their amounts: strength / 10, negative half of the time."""
        drawn: list[tuple[str, float]] = []
        for _ in range(self.count):
            which, whether, sign = rng.random(3).tolist()
            if whether < PROBABILITY:
                amount = min(max(rng.normal(self.magnitude, self.std), 0.0), 10.0) / 10
                drawn.append((NAMES[int(which * len(NAMES))], amount if sign < 0.5 else -amount))
        return drawn


def rotate(image: Image.Image, amount: float) -> Image.Image:
    return image.rotate(amount * 30.0, resample=Image.Resampling.BICUBIC, fillcolor=FILL)


def posterize(image: Image.Image, amount: float) -> Image.Image:
    # timm goes down to 0 bits, a black picture; newer Pillows refuse that.
    return ImageOps.posterize(image, max(1, 4 - int(abs(amount) * 4)))


def solarize(image: Image.Image, amount: float) -> Image.Image:
    return ImageOps.solarize(image, 256 - int(abs(amount) * 256))


def solarize_add(image: Image.Image, amount: float) -> Image.Image:
    added = int(abs(amount) * 110)
    return image.point([min(255, value + added) if value < 128 else value for value in range(256)] * 3)


def factor(amount: float) -> float:
    """Of an enhancement: 1 leaves a picture as it is, 0.1 and 1.9 are furthest from that."""
    return max(0.1, 1.0 + amount * 0.9)


def shear_x(image: Image.Image, amount: float) -> Image.Image:
    shifts = amount * 0.3 * np.arange(0.5, image.height, dtype=np.float64)
    return Image.fromarray(shift_rows(np.asarray(image), shifts, fill=FILL))


def translate_x(image: Image.Image, amount: float) -> Image.Image:
    shifts = np.full(image.height, amount * 0.45 * image.width)
    return Image.fromarray(shift_rows(np.asarray(image), shifts, fill=FILL))


def along_y(operation: Callable[[Image.Image, float], Image.Image]) -> Callable[[Image.Image, float], Image.Image]:
    """The operation with x and y exchanged."""
    exchange = Image.Transpose.TRANSPOSE
    return lambda image, amount: operation(image.transpose(exchange), amount).transpose(exchange)


OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
    "rotate": rotate,
    "posterize": posterize,
    "solarize": solarize,
    "solarize_add": solarize_add,
    "color": lambda image, amount: ImageEnhance.Color(image).enhance(factor(amount)),
    "contrast": lambda image, amount: ImageEnhance.Contrast(image).enhance(factor(amount)),
    "brightness": lambda image, amount: ImageEnhance.Brightness(image).enhance(factor(amount)),
    "sharpness": lambda image, amount: ImageEnhance.Sharpness(image).enhance(factor(amount)),
    "shear_x": shear_x,
    "shear_y": along_y(shear_x),
    "translate_x": translate_x,
    "translate_y": along_y(translate_x),
}
"""What each does to an RGB image, given an amount in -1..1; its sign counts where there are two directions."""

NAMES = tuple(OPERATIONS)
