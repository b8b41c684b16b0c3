"""What horizontal flips do to classes with a side, such as left_mirror: in a flipped view it is a right_mirror."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.sided_classes import find_sides, list_alone, list_pairs
from nextvit.errors import InputError
from nextvit.views.settings import Flipping


def resolve_flips(settings: Flipping, classes: tuple[str, ...]) -> Flipping:
    """The settings with `flip_sides` resolved by the names of the classes; without flips where a class with a side has
    no counterpart.

    Raises:
        InputError: sides are to be exchanged, and one has no counterpart.
    """
    sides = find_sides(classes)
    if settings.flip_sides == "ignore" or not settings.flip:
        return replace(settings, flip_sides="ignore")
    if not sides.alone:
        return replace(settings, flip_sides="exchange" if sides.pairs else "ignore")
    if settings.flip_sides == "exchange":
        raise InputError(
            f"flip_sides exchange needs the mirror image of each class with a side, and there is none of "
            f"{list_alone(sides, classes)}; set flip_sides to ignore, or flip to 0"
        )
    return replace(settings, flip=0.0, flip_sides="ignore")


def describe_flips(before: Flipping, after: Flipping, classes: tuple[str, ...]) -> str | None:
    """What was resolved, in one line for people; None: the names of the classes have no say in it."""
    sides = find_sides(classes)
    if after.flip_sides == "exchange":
        pairs = list_pairs(sides, classes)
        return f"classes with a side: a flipped view exchanges {pairs} (flip_sides ignore: it does not)"
    if before.flip and not after.flip:
        return (
            f"classes with a side: views are not flipped, as there is no mirror image of {list_alone(sides, classes)} "
            "(flip_sides ignore: they are)"
        )
    return None


def exchanged_by_flips(settings: Flipping, classes: tuple[str, ...]) -> NDArray[np.int64] | None:
    """(classes,), what each class is in a flipped view, by resolved settings; None: the same."""
    return find_sides(classes).exchanged(len(classes)) if settings.flip_sides == "exchange" else None
