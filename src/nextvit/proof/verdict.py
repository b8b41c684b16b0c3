"""Whether an export is accepted: the bounds that the outputs and the scores of an exported file must keep."""

from typing import Any

import numpy as np

from nextvit.bundle.manifest import Precision
from nextvit.predictions.kind import Parity
from nextvit.predictions.score_names import display_name
from nextvit.predictions.tolerances import TOLERANCES

MAX_DROP = 0.5
"""Default for the points of the score that a precision without bounds on its outputs may lose."""


def allowed_drop(precision: Precision, max_drop: float | None) -> float | None:
    """Largest drop of a score, in points; None: the score is not bounded, only the outputs are."""
    return MAX_DROP if max_drop is None and precision not in TOLERANCES else max_drop


def failures(record: dict[str, Any], parity: Parity, precision: Precision, max_drop: float | None) -> list[str]:
    """One line for each bound that an export does not keep.

    A precision without bounds on its outputs is bounded by the drop of every main score of the task. Without labels
    every prediction that differs from PyTorch's counts as an error, which is the worst case. Images without a single
    prediction prove nothing.

    Args:
        record: what is known of the scores: `objects` (detections compared), `drop`, `before`, `after`, `further`.
        max_drop: allowed drop in points; None: `MAX_DROP`, or for a precision with bounds on its outputs none.
    """
    if record.get("objects") == 0:
        return ["no object was found on these images, so nothing was compared; pass images with objects with --data"]
    found = parity.failures(precision) if precision in TOLERANCES else []
    max_drop = allowed_drop(precision, max_drop)
    if max_drop is None:
        return found
    if not np.isfinite(parity.max_error):
        return [*found, "it puts out NaN or infinity"]
    if "drop" in record:
        return [*found, *drop_failures(record, max_drop)]
    if (differing := 100 * (1 - parity.agreement)) > max_drop:
        found.append(f"{differing:.2f} % of the predictions differ, more than --max-drop {max_drop:g}")
    return found


def drop_failures(record: dict[str, Any], max_drop: float) -> list[str]:
    """One line for each main score that fell by more than `max_drop` points."""
    before, after = (record[name]["score"] for name in ("before", "after"))
    found: list[str] = []
    if not record["drop"] <= max_drop:
        found.append(f"the score fell from {before:.2f} to {after:.2f}, more than --max-drop {max_drop:g}")
    for name, each in record.get("further", {}).items():
        if not each["before"] - each["after"] <= max_drop:
            found.append(
                f"{display_name(name)} fell from {each['before']:.2f} to {each['after']:.2f}, "
                f"more than --max-drop {max_drop:g}"
            )
    return found
