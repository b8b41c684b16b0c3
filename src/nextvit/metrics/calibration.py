"""Calibration of a classifier, whether it is right as often as its confidence says: reliability bins and the ECE.

Guo et al., "On Calibration of Modern Neural Networks" (arXiv:1706.04599), section 2: predictions are grouped by
confidence into bins of equal width ((m - 1) / M, m / M]; the expected calibration error (ECE) is the mean gap between
accuracy and confidence over all predictions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Predictions grouped by confidence; an empty bin has the confidence and accuracy 0."""

    counts: NDArray[np.int64]
    """Predictions in each bin (bins,)."""
    confidence: NDArray[np.float64]
    """Mean confidence of each bin (bins,), 0 to 1."""
    accuracy: NDArray[np.float64]
    """Fraction of correct predictions in each bin (bins,), 0 to 1."""

    @property
    def ece(self) -> float:
        """The expected calibration error, 0 to 1."""
        return float((self.counts * np.abs(self.accuracy - self.confidence)).sum() / max(1, self.counts.sum()))


def bin_by_confidence(confidence: Floats, correct: NDArray[np.bool_], *, bins: int = 15) -> Reliability:
    """Group predictions, each with its confidence (N,) in 0..1 and whether it is correct (N,)."""
    confidence = confidence.astype(np.float64)
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    return Reliability(
        counts=counts,
        confidence=np.bincount(index, weights=confidence, minlength=bins) / np.maximum(1, counts),
        accuracy=np.bincount(index, weights=correct, minlength=bins) / np.maximum(1, counts),
    )
