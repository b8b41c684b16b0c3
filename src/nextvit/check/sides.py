"""Classes whose names have a side: in a mirror image, as augmentation makes them, one is the other."""

from nextvit.bundle.sided_classes import TOP_BOTTOM, find_sides, list_alone, list_pairs
from nextvit.data.findings import Finding


def check_sides(classes: tuple[str, ...]) -> list[Finding]:
    """What horizontal flips do to the classes, and pairs that vertical ones would exchange."""
    sides, upright = find_sides(classes), find_sides(classes, TOP_BOTTOM)
    found: list[Finding] = []
    if sides.alone:
        found.append(Finding("side_without_counterpart", list_alone(sides, classes)))
    if sides.pairs:
        found.append(Finding("class_with_side", list_pairs(sides, classes)))
    if upright.pairs:
        found.append(Finding("class_above_or_below", list_pairs(upright, classes)))
    return found
