"""How far the outputs of each precision may be from the reference: the bounds of every proof but a detector's."""

from dataclasses import dataclass

from nextvit.bundle.manifest import Precision


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far the outputs of a precision may be from the reference."""

    max_error: float
    """Largest difference of any output, relative to the standard deviation of the reference's outputs."""
    min_agreement: float
    """Least fraction of equal decisions."""
    min_overlap: float
    """Least IoU of the pixels that both assign to a class, because a rare class hardly counts among all pixels. Where
    two classes are equally probable, a boundary moves with the last digit, and thin objects consist mostly of
    boundary."""
    min_cosine: float = 0.0
    """Least cosine similarity of an image's outputs; 0: not bounded."""


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(max_error=1e-4, min_agreement=0.999, min_overlap=0.99),
    "fp16": Tolerance(max_error=2e-2, min_agreement=0.995, min_overlap=0.8),
    "bf16": Tolerance(max_error=0.15, min_agreement=0.995, min_overlap=0.5, min_cosine=0.999),
}
