"""What each precision may cost: the bounds of every proof but a detector's."""

from dataclasses import dataclass

from nextvit.bundle.manifest import Precision


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What a precision may cost."""

    max_error: float
    """Largest difference of any output, relative to the standard deviation of the reference's outputs."""
    min_agreement: float
    """Least share of equal decisions."""
    min_overlap: float
    """Least intersection over union of the pixels that both hold for a class: a rare class hardly counts among all
    pixels. Where two classes are as probable, an edge moves with the last digits, and of thin things an edge is
    much."""
    min_cosine: float = 0.0


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(max_error=1e-4, min_agreement=0.999, min_overlap=0.99),
    "fp16": Tolerance(max_error=2e-2, min_agreement=0.995, min_overlap=0.8),
    "bf16": Tolerance(max_error=0.15, min_agreement=0.995, min_overlap=0.5, min_cosine=0.999),
}
