"""Parity of an exported segmentation model: its class maps compared with those of PyTorch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.manifest import Precision
from nextvit.predictions.packed_class_map import PackedClassMap
from nextvit.predictions.tolerances import TOLERANCES

MIN_CLASS_PIXELS = 1000
"""The IoU of a class with fewer pixels, over all images, is not bounded: a few pixels on a boundary would decide."""


@dataclass(frozen=True, kw_only=True)
class SegmentationParity:
    """How two lists of class maps of the same images compare, in the pixels that the network saw."""

    images: int
    pixels: int
    """Of all images."""
    max_error: float
    """Largest fraction of differing pixels of an image."""
    mean_error: float
    """Mean over the images of that fraction."""
    agreement: float
    """Fraction of pixels with the same class."""
    least_overlap: float | None
    """Least IoU of a class that one or the other predicts on at least `MIN_CLASS_PIXELS` pixels; None: there is no such
    class."""
    logits_error: float | None = None
    """Largest difference of a logit, relative to the standard deviation of the reference's; None: logits are not an
    output."""

    def failures(self, precision: Precision) -> list[str]:
        """One line for each bound that is not kept; none means proven."""
        allowed = TOLERANCES[precision]
        # Where two classes are equally probable, the last digit decides.
        found = (
            []
            if self.agreement >= allowed.min_agreement
            else [f"same pixels {self.agreement:.5f} < {allowed.min_agreement}"]
        )
        if self.least_overlap is not None and self.least_overlap < allowed.min_overlap:
            found.append(f"least overlap of a class {self.least_overlap:.3f} < {allowed.min_overlap}")
        if self.logits_error is not None and not self.logits_error <= allowed.max_error:
            found.append(f"largest error of the logits {self.logits_error:.2e} > {allowed.max_error:.0e}")
        return found


@dataclass
class LogitsDifference:
    """Difference of logits, accumulated batch by batch: those of all images would not fit into memory."""

    count: int = 0
    largest: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def add(self, reference: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> None:
        """Compare the logits (N, C, h, w) of a batch. NaN and infinity count as an infinite difference."""
        assert reference.shape == other.shape, (reference.shape, other.shape)
        values = reference.astype(np.float64)
        largest = float(np.abs(other - values).max())
        self.largest = max(self.largest, largest if math.isfinite(largest) else math.inf)
        self.count += values.size
        self.total += float(values.sum())
        self.squares += float(np.square(values).sum())

    @property
    def error(self) -> float | None:
        """The largest difference, relative to the standard deviation of all of the reference; None: nothing was
        added."""
        if not self.count:
            return None
        variance = self.squares / self.count - (self.total / self.count) ** 2
        return self.largest / (math.sqrt(max(0.0, variance)) or 1.0)


def compare_maps(
    reference: Sequence[PackedClassMap], other: Sequence[PackedClassMap], *, logits_error: float | None = None
) -> SegmentationParity:
    """Compare maps pixel by pixel, of which only one image at a time is unpacked.

    Args:
        reference: PyTorch's maps, of at least one image.
        other: those of the exported model, of the same images.
        logits_error: the `LogitsDifference.error` of the same images.
    """
    assert len(reference) == len(other) and len(reference), (len(reference), len(other))
    pixels, differing = (np.zeros(len(reference), np.int64) for _ in range(2))
    both, either = (np.zeros(256, np.int64) for _ in range(2))
    for number, (expected, got) in enumerate(zip(reference, other, strict=True)):
        assert expected.shape == got.shape, (expected.shape, got.shape)
        expected_HW, got_HW = expected.classes(), got.classes()
        same_HW = expected_HW == got_HW
        pixels[number], differing[number] = same_HW.size, same_HW.size - same_HW.sum()
        shared, first, second = (
            np.bincount(classes.reshape(-1), minlength=256) for classes in (expected_HW[same_HW], expected_HW, got_HW)
        )
        both += shared
        either += first + second - shared
    fractions = differing / pixels
    is_large = either >= MIN_CLASS_PIXELS
    return SegmentationParity(
        images=len(reference),
        pixels=int(pixels.sum()),
        max_error=float(fractions.max()),
        mean_error=float(fractions.mean()),
        agreement=float(1 - differing.sum() / pixels.sum()),
        least_overlap=float((both[is_large] / either[is_large]).min()) if is_large.any() else None,
        logits_error=logits_error,
    )
