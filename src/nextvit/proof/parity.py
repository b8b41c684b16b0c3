"""How far an exported model may be from PyTorch, and how far it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Precision
from nextvit.predictions.postprocess import present
from nextvit.proof.detection_parity import DetectionParity, compare_detections
from nextvit.proof.segmentation_parity import SegmentationParity, compare_maps
from nextvit.proof.tolerances import TOLERANCES
from nextvit.tasks.answers import Answers

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How two sets of outputs of the same images compare."""

    images: int
    max_error: float
    """Largest difference, relative to the standard deviation of the reference."""
    mean_error: float
    """Mean difference, likewise."""
    cosine: float
    """Least cosine similarity of any image's outputs."""
    agreement: float
    """Share of equal decisions: of images with the same best class, or of classes that are both answered or both not."""

    def failures(self, precision: Precision) -> list[str]:
        """One line for each bound that is not kept; none means proven."""
        if precision not in TOLERANCES:
            return [f"{precision} has no bound on its outputs; it is judged by the score"]
        allowed = TOLERANCES[precision]
        bounds = [
            (self.max_error <= allowed.max_error, f"largest error {self.max_error:.2e} > {allowed.max_error:.0e}"),
            (self.agreement >= allowed.min_agreement, f"agreement {self.agreement:.4f} < {allowed.min_agreement}"),
            (self.cosine >= allowed.min_cosine, f"cosine {self.cosine:.5f} < {allowed.min_cosine}"),
        ]
        return [message for kept, message in bounds if not kept]


def compare(reference: Floats, other: Floats, *, thresholds: Sequence[float] = ()) -> Parity:
    """Compare outputs (N, classes) with a reference of the same images. Values that are no numbers count as infinite.

    Args:
        thresholds: those of a multi-label model's card. Each class of an image is then a decision of its own: whole sets
            of labels would differ more often the more classes there are, and no bound could hold for all.
    """
    assert reference.shape == other.shape and len(reference), (reference.shape, other.shape)
    reference, other = reference.astype(np.float64), other.astype(np.float64)
    if not np.isfinite(other).all():
        return Parity(images=len(other), max_error=math.inf, mean_error=math.inf, cosine=-1.0, agreement=0.0)
    spread = reference.std() or 1.0
    error = np.abs(other - reference) / spread
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(other, axis=1)
    cosine = (reference * other).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return Parity(
        images=len(reference),
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        cosine=float(cosine.min()),
        agreement=float(np.mean(decisions(reference, thresholds) == decisions(other, thresholds))),
    )


AnyParity = Parity | DetectionParity | SegmentationParity


def compare_answers(
    reference: Answers, other: Answers, card: ModelCard, *, logits_error: float | None = None
) -> AnyParity:
    """Compare answers to the same images, at least one, as the card's task judges them.

    Args:
        logits_error: of a segmentation model that answers its logits, too, what `LogitsDifference` found of these.
    """
    if card.task == "detection":
        return compare_detections(reference, other, card)
    if card.task == "segmentation":
        return compare_maps(reference, other, logits_error=logits_error)
    return compare(reference, other, thresholds=card.thresholds)


def decisions(logits: Floats, thresholds: Sequence[float]) -> NDArray[Any]:
    """The best class of each row (N,), or which classes reach their threshold (N, classes)."""
    return present(logits, thresholds) if thresholds else logits.argmax(axis=1)
