"""Classes whose names have a side, such as left_mirror and front_right_door: in a mirror image one is the other."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEFT_RIGHT: Mapping[str, str] = {"left": "right", "right": "left"}
TOP_BOTTOM: Mapping[str, str] = {"top": "bottom", "bottom": "top", "upper": "lower", "lower": "upper"}
"""Sides, each with the one that it becomes in a mirror."""

WORDS = re.compile(r"\d+|[^\W\d_]+")
HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where a word of camelCase begins: leftMirror, LEFTMirror."""


@dataclass(frozen=True)
class Sides:
    """The classes with a side, by index."""

    pairs: tuple[tuple[int, int], ...]
    """Classes that are each other's mirror image."""
    alone: tuple[int, ...]
    """Classes with a side whose mirror image is no class, or several."""

    def exchanged(self, num_classes: int) -> NDArray[np.int64]:
        """For each class (classes,), the index of what it is in a mirror image: its counterpart, or itself."""
        indices = np.arange(num_classes)
        for one, other in self.pairs:
            indices[one], indices[other] = other, one
        return indices


def find_sides(classes: Sequence[str], opposites: Mapping[str, str] = LEFT_RIGHT) -> Sides:
    """The classes whose names have a side as a word: left_mirror and frontRightDoor do, bright and leftover do not."""
    words = [split_words(name) for name in classes]
    count, index_of = Counter(words), {each: index for index, each in enumerate(words)}
    pairs: list[tuple[int, int]] = []
    alone: list[int] = []
    for index, own in enumerate(words):
        mirrored = tuple(opposites.get(word, word) for word in own)
        if mirrored == own:
            continue
        if count[own] > 1 or count[mirrored] != 1:
            alone.append(index)
        elif index < index_of[mirrored]:
            pairs.append((index, index_of[mirrored]))
    return Sides(tuple(pairs), tuple(alone))


def split_words(name: str) -> tuple[str, ...]:
    """The words and numbers of a name, in small letters."""
    return tuple(part.lower() for word in WORDS.findall(name) for part in HUMPS.split(word))


def list_pairs(sides: Sides, classes: Sequence[str]) -> str:
    """The pairs, for people."""
    return ", ".join(f"{classes[one]} with {classes[other]}" for one, other in sides.pairs)


def list_alone(sides: Sides, classes: Sequence[str]) -> str:
    """The classes without a counterpart, for people."""
    return ", ".join(classes[index] for index in sides.alone)
