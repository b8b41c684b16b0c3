"""From logits to probabilities, in numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def softmax(logits: Floats, *, axis: int = -1, dtype: type[np.floating[Any]] = np.float64) -> Floats:
    """Probabilities that sum to 1 along an axis, computed in `dtype`."""
    shifted = np.exp(logits.astype(dtype, copy=False) - logits.max(axis=axis, keepdims=True))
    return shifted / shifted.sum(axis=axis, keepdims=True)


def sigmoid(logits: Floats) -> Floats:
    """The probability of each value alone, in float64."""
    small = np.exp(-np.abs(logits.astype(np.float64)))  # never overflows
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)
