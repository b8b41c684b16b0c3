"""Random changes of brightness, contrast, saturation and hue, in two forms."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.image.reading import Pixels

BRIGHTNESS, CONTRAST, SATURATION, HUE_DEGREES = 32.0, 0.5, 0.5, 18.0
"""The largest changes at a strength of 1, as in SSD (Liu et al., arXiv:1512.02325)."""
DISTORTED_HUE_DEGREES = 36.0
"""The same for `distort_colours`: MMSegmentation's 18 steps of hue are in bytes, of two degrees each; MMDetection's are
in floats, of one."""
NUM_HUES = 255
"""Steps of a full turn of hue in Pillow."""

LUMA = (0.299, 0.587, 0.114)
TO_YIQ = np.array([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])


def jitter_colours(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Change brightness, contrast, saturation and hue at once, as one affine map of red, green and blue.

    Each change is uniform within its limit times `strength`. Hue is a rotation about the axis of greys.

    Args:
        pixels: (H, W, 3).
        strength: 0 to 1.
        rng: source of all randomness.
    """
    brightness, contrast, saturation, hue = (strength * (2 * rng.random(4) - 1)).tolist()
    angle, gain = math.radians(HUE_DEGREES * hue), 1 + CONTRAST * contrast
    rotation = np.array([(1, 0, 0), (0, math.cos(angle), -math.sin(angle)), (0, math.sin(angle), math.cos(angle))])
    chroma = np.diag([1.0, 1 + SATURATION * saturation, 1 + SATURATION * saturation])
    matrix = gain * (np.linalg.inv(TO_YIQ) @ chroma @ rotation @ TO_YIQ)
    offset = 127.5 * (1 - gain) + BRIGHTNESS * brightness
    rows = np.concatenate([matrix, np.full((3, 1), offset)], axis=1)
    return np.array(Image.fromarray(pixels).convert("RGB", tuple(rows.ravel().tolist())))


def distort_colours(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """MMSegmentation's PhotoMetricDistortion: each of the four is changed with probability 0.5, one after the other.

    Each change is uniform within its limit times `strength`, in bytes; contrast comes before or after saturation and
    hue.

    Args:
        pixels: (H, W, 3).
        strength: 0 to 1.
        rng: source of all randomness.
    """
    amounts = strength * (2 * rng.random(4) - 1)
    brightness, contrast, saturation, hue = np.where(rng.random(4) < 0.5, amounts, 0.0).tolist()
    contrast_table, brightness_table = (
        make_lookup_table(gain=1 + CONTRAST * contrast),
        make_lookup_table(offset=BRIGHTNESS * brightness),
    )
    is_contrast_first = rng.random() < 0.5
    first_table = contrast_table[brightness_table] if is_contrast_first else brightness_table
    image = Image.fromarray(pixels).point(3 * first_table.tolist())
    if saturation or hue:
        hues = (np.arange(256) + round(NUM_HUES * DISTORTED_HUE_DEGREES * hue / 360)) % NUM_HUES
        tables = np.concatenate([hues, make_lookup_table(gain=1 + SATURATION * saturation), make_lookup_table()])
        image = image.convert("HSV").point(tables.tolist()).convert("RGB")
    return np.array(image if is_contrast_first else image.point(3 * contrast_table.tolist()))


def make_lookup_table(*, gain: float = 1.0, offset: float = 0.0) -> NDArray[np.uint8]:
    """The result (256,) of `gain * value + offset` for each value of a byte, clipped to 0..255."""
    return (np.arange(256) * gain + offset).clip(0, 255).astype(np.uint8)


COLOUR_CHANGES: dict[str, Callable[[Pixels, float, np.random.Generator], Pixels]] = {
    "linear": jitter_colours,
    "published": distort_colours,
}
"""By the names of the setting masks.colours."""
