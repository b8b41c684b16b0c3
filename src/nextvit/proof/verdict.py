"""Whether an export is accepted: the bounds that the outputs and the scores of an exported file must keep."""

import math
from typing import Any

import numpy as np

from nextvit.bundle.manifest import Precision
from nextvit.predictions.kind import Parity
from nextvit.predictions.score_names import display_name
from nextvit.predictions.tolerances import TOLERANCES

MAX_DROP = 0.5
"""Default for the points of the score that an export may lose where it is accepted by its score."""


def is_accepted_by_score(precision: Precision, *, labelled: bool) -> bool:
    """Whether an export is accepted by what it costs, its drop of the score, rather than by how near its outputs are.

    fp32 is always held to its outputs: there is no reason why they should differ. Without labels the others are held to
    theirs where they have bounds.
    """
    return precision not in TOLERANCES or (labelled and precision != "fp32")


def allowed_drop(precision: Precision, max_drop: float | None, *, labelled: bool) -> float | None:
    """Largest drop of a score, in points; None: the score is not bounded, only the outputs are."""
    return MAX_DROP if max_drop is None and is_accepted_by_score(precision, labelled=labelled) else max_drop


def failures(record: dict[str, Any], parity: Parity, precision: Precision, max_drop: float | None) -> list[str]:
    """One line for each bound that an export does not keep.

    What is accepted by its score is bounded by the drop of every main score of the task. Without labels, every
    prediction that differs from PyTorch's then counts as an error, which is the worst case. Images without a single
    prediction prove nothing.

    Args:
        record: what is known of the scores: `objects` (detections compared), `drop`, `before`, `after`, `further`.
        max_drop: allowed drop in points; None: `MAX_DROP` where the export is accepted by its score, else none.
    """
    if record.get("objects") == 0:
        return ["no object was found on these images, so nothing was compared; pass images with objects with --data"]
    labelled = "drop" in record
    found = [] if is_accepted_by_score(precision, labelled=labelled) else parity.failures(precision)
    max_drop = allowed_drop(precision, max_drop, labelled=labelled)
    if max_drop is None:
        return found
    if not np.isfinite(parity.max_error):
        return [*found, "it puts out NaN or infinity"]
    if labelled:
        return [*found, *drop_failures(record, max_drop)]
    if (differing := 100 * (1 - parity.agreement)) > max_drop:
        found.append(f"{differing:.2f} % of the predictions differ, more than --max-drop {max_drop:g}")
    return found


def beyond_tolerances(parity: Parity, precision: Precision) -> list[str]:
    """One line for each bound of a precision's outputs that is not kept, to be reported beside the score; none where
    the precision has no such bounds."""
    return parity.failures(precision) if precision in TOLERANCES else []


def way_out(record: dict[str, Any], parity: Parity, precision: Precision) -> str | None:
    """Which flag accepts an export that `failures` refuses, for people; None: none does."""
    if precision == "fp32" or record.get("objects") == 0 or not np.isfinite(parity.max_error):
        return None
    labelled_images = "labelled images let the score decide, within --max-drop (--data DATASET)"
    if "drop" not in record and precision in TOLERANCES:
        return labelled_images
    further = record.get("further", {}).values()
    drops = [record["drop"], *(each["before"] - each["after"] for each in further)] if "drop" in record else []
    if not np.isfinite(drops).all():
        return None
    needed = max(drops, default=100 * (1 - parity.agreement))
    accepts = f"--max-drop {math.ceil(10 * needed) / 10:g} accepts it"
    return accepts if drops else f"{accepts}, or {labelled_images}"


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
