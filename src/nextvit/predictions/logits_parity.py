"""Parity of an exported classifier: its logits compared with PyTorch's, and the bounds that they must keep."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.manifest import Precision
from nextvit.predictions.activations import sigmoid
from nextvit.predictions.tolerances import TOLERANCES

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class LogitsParity:
    """Comparison of two sets of outputs for the same images."""

    images: int
    max_error: float
    """Largest difference, relative to the standard deviation of the reference."""
    mean_error: float
    """Mean difference, relative to the same."""
    cosine: float
    """Least cosine similarity of any image's outputs."""
    agreement: float
    """Fraction of equal decisions: of images with the same best class, or of classes that both predict or both do
    not."""

    def failures(self, precision: Precision) -> list[str]:
        """One line for each bound that is not kept; none means proven."""
        if precision not in TOLERANCES:
            return [f"{precision} has no bound on its outputs; it is bounded by the drop of the score"]
        allowed = TOLERANCES[precision]
        bounds = [
            (self.max_error <= allowed.max_error, f"largest error {self.max_error:.2e} > {allowed.max_error:.0e}"),
            (self.agreement >= allowed.min_agreement, f"agreement {self.agreement:.4f} < {allowed.min_agreement}"),
            (self.cosine >= allowed.min_cosine, f"cosine {self.cosine:.5f} < {allowed.min_cosine}"),
        ]
        return [message for kept, message in bounds if not kept]


def compare_logits(reference: Floats, other: Floats, *, thresholds: Sequence[float] = ()) -> LogitsParity:
    """Compare outputs (N, classes) with a reference of the same images. NaN and infinity count as infinitely far.

    Args:
        thresholds: those of a multi-label model's card. Each class of an image is then a decision of its own: whole
            sets of labels would differ more often the more classes there are, and no bound could hold for all.
    """
    assert reference.shape == other.shape and len(reference), (reference.shape, other.shape)
    reference, other = reference.astype(np.float64), other.astype(np.float64)
    if not np.isfinite(other).all():
        return LogitsParity(images=len(other), max_error=math.inf, mean_error=math.inf, cosine=-1.0, agreement=0.0)
    error = np.abs(other - reference) / (reference.std() or 1.0)
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(other, axis=1)
    cosine = (reference * other).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return LogitsParity(
        images=len(reference),
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        cosine=float(cosine.min()),
        agreement=float(np.mean(decisions(reference, thresholds) == decisions(other, thresholds))),
    )


def decisions(logits: Floats, thresholds: Sequence[float]) -> NDArray[Any]:
    """The best class of each row (N,), or with thresholds which classes reach theirs (N, classes)."""
    return sigmoid(logits) >= np.asarray(thresholds) if thresholds else logits.argmax(axis=1)
