"""How far the classes that an exported segmentation model tells are from those that PyTorch tells."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nextvit.bundle import Precision
from nextvit.tasks.answers import PackedMap

MIN_AGREEMENT = 0.999
"""Least share of pixels of the same class: where two classes are as probable, the last digit decides."""


@dataclass(frozen=True, kw_only=True)
class SegmentationParity:
    """How two lists of class maps of the same images compare, in the pixels that the network saw."""

    images: int
    pixels: int
    """Of all images."""
    max_error: float
    """Largest share of differing pixels on an image."""
    mean_error: float
    """Mean of the images' shares."""
    agreement: float
    """Share of pixels of the same class."""

    def failures(self, precision: Precision) -> list[str]:
        """One line for each bound that is not kept; none means proven."""
        if precision != "fp32":
            return [f"{precision} has no bound on its classes; it is judged by the score"]
        return [] if self.agreement >= MIN_AGREEMENT else [f"same pixels {self.agreement:.5f} < {MIN_AGREEMENT}"]


def compare_maps(reference: Sequence[PackedMap], other: Sequence[PackedMap]) -> SegmentationParity:
    """Compare maps pixel by pixel; one image at a time is unpacked."""
    assert len(reference) == len(other) and len(reference), (len(reference), len(other))
    pixels, differing = (np.zeros(len(reference), np.int64) for _ in range(2))
    for number, (expected, got) in enumerate(zip(reference, other, strict=True)):
        assert expected.shape == got.shape, (expected.shape, got.shape)
        different_HW = expected.classes() != got.classes()
        pixels[number], differing[number] = different_HW.size, different_HW.sum()
    shares = differing / pixels
    return SegmentationParity(
        images=len(reference),
        pixels=int(pixels.sum()),
        max_error=float(shares.max()),
        mean_error=float(shares.mean()),
        agreement=float(1 - differing.sum() / pixels.sum()),
    )
