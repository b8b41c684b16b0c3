"""Read the rows of YOLO's label files. What a row means is stated by data.yaml, not guessed from its length."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nextvit.convert.foreign import Record
from nextvit.convert.outlines import to_box, to_outline
from nextvit.convert.text_file import read_text
from nextvit.errors import InputError

TOLERANCE = 0.01
"""How far a fraction may be outside of 0..1, for rounding; Ultralytics allows as much."""
TASKS = frozenset({"detect", "segment", "obb", "pose"})
"""Ultralytics' names; other programs may write others, which say nothing here."""


@dataclass(frozen=True)
class RowFormat:
    """What data.yaml states of the rows."""

    keypoints: tuple[int, int] | None = None
    """How many keypoints follow each box, and how many numbers each has."""
    task: str = ""
    """Ultralytics' name of the task; "" if none is stated."""


def read_row_format(source: str, settings: Record) -> RowFormat:
    """What the entries `kpt_shape` and `task` state.

    Args:
        source: the file, for messages.
        settings: its entries, as text.

    Raises:
        InputError: kpt_shape is not what Ultralytics defines, or there are keypoints of unknown number.
    """
    task = str(settings.get("task", "")).strip().lower()
    task = task if task in TASKS else ""
    shape = settings.get("kpt_shape")
    if shape is None:
        if task == "pose" or "flip_idx" in settings:
            raise InputError(f"{source}: is of keypoints, but states no kpt_shape, such as [17, 3]; add it")
        return RowFormat(task=task)
    match shape:
        case [str(count), str(size)] if count.isdecimal() and size in ("2", "3") and 0 < int(count) < 10_000:
            return RowFormat((int(count), int(size)), task)
        case _:
            raise InputError(f"{source}: kpt_shape must be a number of keypoints and 2 or 3, got {shape!r:.60}")


def read_label_file(path: Path, size_wh: tuple[int, int], names: dict[int, str], row_format: RowFormat) -> list[Record]:
    """The objects in a label file, as COCO annotations."""
    objects: list[Record] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            try:
                objects.append(read_row(line.split(), size_wh, names, row_format))
            except ValueError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
    return objects


def read_row(words: list[str], size_wh: tuple[int, int], names: dict[int, str], row_format: RowFormat) -> Record:
    """One object as a COCO annotation.

    Args:
        words: the class number, then the centre, width and height of a box, or the corners x, y, x, y, ... of an
            outline, in fractions of the image's sides. Keypoints may follow a box.
        size_wh: width and height of the image in pixels.
        names: class names by number.
        row_format: what data.yaml states.

    Raises:
        ValueError: the row is not what is stated, or neither a box nor an outline.
    """
    try:
        category, *values = map(float, words)
    except ValueError:
        raise ValueError(f"expected numbers, got {' '.join(words)[:60]!r}") from None
    if category not in names:
        raise ValueError(f"class {words[0]} has no name; there are {len(names)}")
    if row_format.keypoints:
        values = take_box(values, row_format.keypoints)
    check_values(words, values, row_format)
    record: Record = {"category_id": int(category)}
    if len(values) > 4:
        return {**record, **to_outline(np.array(values).reshape(-1, 2) * size_wh)}
    center_xy, sides_wh = np.array(values[:2]) * size_wh, np.array(values[2:]) * size_wh
    if (sides_wh < 0).any():
        raise ValueError("a box with a negative side")
    left, top = (center_xy - sides_wh / 2).tolist()
    return {**record, **to_box(left, top, *sides_wh.tolist())}


def take_box(values: list[float], keypoints: tuple[int, int]) -> list[float]:
    """The numbers of the box in front of keypoints."""
    count, size = keypoints
    if len(values) != 4 + count * size:
        raise ValueError(
            f"expected a class, a box and {count} keypoints of {size} numbers, as kpt_shape states, which are "
            f"{5 + count * size} numbers, got {1 + len(values)}"
        )
    return values[:4]


def check_values(words: list[str], values: list[float], row_format: RowFormat) -> None:
    """Raise ValueError for numbers behind the class that are neither a box nor an outline."""
    count = len(values)
    if not np.isfinite(values).all() or (count != 4 and (count < 6 or count % 2)):
        more = "; a fifth may be the confidence of a prediction or an angle, which are not read" if count == 5 else ""
        raise ValueError(f"expected a class and 4 numbers for a box, or 6, 8, ... for an outline, got {count}{more}")
    if row_format.task == "obb" and count != 8:
        raise ValueError(
            f"expected a class and the 4 corners of a rotated box, as task obb states, got {count} numbers"
        )
    if row_format.task == "detect" and count != 4:
        raise ValueError(f"expected a class and 4 numbers for a box, as task detect states, got {count}")
    outside = [value for value in values if not -TOLERANCE <= value <= 1 + TOLERANCE]
    if outside and not (count == 4 and min(values[2:]) < 0):
        raise ValueError(
            f"{outside[0]:g} is no fraction of the image, 0 to 1: pixels, keypoints (state kpt_shape in data.yaml), "
            "confidences and track numbers are not read; divide by width and height, or remove those columns"
        )
    if count == 6 and row_format.task != "segment" and any(word.isdecimal() for word in words[-2:]):
        raise ValueError(
            "6 numbers with a whole one at the end are a box with confidence and track number; remove those columns "
            "(if it is an outline of 3 corners, state task: segment in data.yaml)"
        )
