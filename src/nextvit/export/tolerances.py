"""What each precision may cost: the bounds of every proof but a detector's."""

from dataclasses import dataclass

from nextvit.bundle import Precision


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What a precision may cost."""

    max_error: float
    """Largest difference of any output, relative to the standard deviation of the reference's outputs."""
    min_agreement: float
    """Least share of equal decisions."""
    min_cosine: float = 0.0


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(max_error=1e-4, min_agreement=0.999),
    "fp16": Tolerance(max_error=2e-2, min_agreement=0.995),
    "bf16": Tolerance(max_error=0.15, min_agreement=0.995, min_cosine=0.999),
}
