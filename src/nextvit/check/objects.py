"""Check annotated objects: boxes, masks, classes, and the lists of images."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nextvit.check.same_boxes import find_same_boxes
from nextvit.check.survey import Survey, count_images, name_first
from nextvit.data.annotations import POLYGONS, RUN_LENGTHS, Annotations
from nextvit.data.findings import Finding

MIN_OBJECTS = 10
"""A class with fewer training objects is tiny."""
TINY_PX = 4
"""A box with a shorter side is tiny."""
BEYOND_PX = 1.0
"""How far a box may reach beyond its image: boxes may be rounded, or include their last pixel."""
MASK_PX, MASK_FRACTION = 2.0, 0.05
"""How far the edges of a mask and its box may be apart: pixels, plus a fraction of the box's longer side."""


def check_objects(survey: Survey) -> list[Finding]:
    """The findings of a dataset with annotated objects."""
    findings = [*check_counts(survey)]
    offset = 0
    for split, samples in survey.dataset.splits.items():
        annotations = survey.dataset.annotations[split]
        findings += check_image_sizes(survey, annotations, offset)
        findings += check_boxes(survey, annotations, offset)
        findings += check_masks(survey, annotations, offset)
        findings += check_same(survey, annotations, offset)
        empty = (np.flatnonzero(np.diff(annotations.offsets) == 0) + offset).tolist()
        if empty:
            message = f"{count_images(empty)} in {split} without any object, first: {name_first(survey, empty)}"
            findings.append(Finding("without_objects", message, tuple(empty)))
        offset += len(samples)
    return findings


def check_counts(survey: Survey) -> Iterator[Finding]:
    """Classes with few or no objects for training, or none for validation."""
    dataset = survey.dataset
    train, val = (dataset.annotations[split].counts(len(dataset.classes)) for split in ("train", "val"))
    for name, id, in_train, in_val in zip(dataset.classes, dataset.category_ids, train, val, strict=True):
        if not in_train and in_val:
            objects = "1 object" if in_val == 1 else f"{in_val} objects"
            yield Finding("class_only_in_val", f"class {name!r} has {objects} in val and none in train")
        elif not in_train:
            yield Finding("class_without_objects", f"class {name!r} (category id {id}) has no object")
        elif in_train < MIN_OBJECTS:
            yield Finding("tiny_class", f"class {name!r} has only {in_train} training objects")
        if in_train and not in_val and val.any():
            yield Finding("class_only_in_train", f"class {name!r} has no validation objects")


def check_image_sizes(survey: Survey, annotations: Annotations, offset: int) -> Iterator[Finding]:
    """Images of another size than the one that was annotated."""
    real = survey.rows["size_wh"][offset : offset + len(annotations)]
    for index in np.flatnonzero(find_size_mismatches(survey, annotations, offset)).tolist():
        (width, height), (annotated_width, annotated_height) = real[index], annotations.sizes_wh[index]
        message = (
            f"{survey.name(offset + index)}: is {width}x{height}, annotated as {annotated_width}x{annotated_height}"
        )
        if (width, height) == (annotated_height, annotated_width):
            message += "; rotated after it was annotated, perhaps by its EXIF"
        yield Finding("size_differs", message, (offset + index,))


def find_size_mismatches(survey: Survey, annotations: Annotations, offset: int) -> NDArray[np.bool_]:
    """Which images differ in size from their annotations: (N,), False for unreadable ones."""
    real = survey.rows["size_wh"][offset : offset + len(annotations)]
    return (real != annotations.sizes_wh).any(axis=1) & (real[:, 0] > 0)


def check_boxes(survey: Survey, annotations: Annotations, offset: int) -> Iterator[Finding]:
    """Boxes outside the image, of zero area, or tiny; images that differ in size from their annotations are skipped."""
    images = annotations.object_images()
    is_checked = ~find_size_mismatches(survey, annotations, offset)[images]
    left, top, right, bottom = annotations.boxes.T
    width, height = annotations.sizes_wh[images].T
    empty = (right <= left) | (bottom <= top)
    outside = ~empty & ((right <= 0) | (bottom <= 0) | (left >= width) | (top >= height))
    beyond = np.maximum.reduce([-left, -top, right - width, bottom - height]) > BEYOND_PX
    tiny = ~empty & (np.minimum(right - left, bottom - top) < TINY_PX)
    for kind, found, what in (
        ("box_outside", outside, "wholly outside"),
        ("box_beyond", beyond & ~outside & ~empty, f"more than {BEYOND_PX:g} px beyond the edge"),
        ("empty_box", empty, "of zero area"),
        ("tiny_object", tiny & ~annotations.crowd, f"with a side below {TINY_PX} px"),
    ):
        found &= is_checked
        for k in np.flatnonzero(found)[:1].tolist():
            box = "x {:g} to {:g}, y {:g} to {:g}".format(*annotations.boxes[k, [0, 2, 1, 3]].tolist())
            size = "{}x{}".format(*annotations.sizes_wh[images[k]])
            first = f"{name_object(survey, annotations, k, offset)} ({box} in {size})"
            yield make_object_finding(kind, f"{what}, first: {first}", found, images, offset)


def check_masks(survey: Survey, annotations: Annotations, offset: int) -> Iterator[Finding]:
    """Masks that disagree with their boxes or are empty, and objects without a mask among others with one."""
    if not annotations.has_masks:
        return
    images = annotations.object_images()
    missing = (annotations.mask_formats == 0) & ~annotations.crowd
    empty, differs = (np.zeros(len(images), np.bool_) for _ in range(2))
    for k in np.flatnonzero((annotations.mask_formats > 0) & ~annotations.crowd).tolist():
        bounds = find_mask_bounds(annotations, k, int(annotations.sizes_wh[images[k], 1]))
        box = annotations.boxes[k]
        allowed = MASK_PX + MASK_FRACTION * (box[2:] - box[:2]).max()
        empty[k] = bounds is None
        differs[k] = bounds is not None and np.abs(bounds - box).max() > allowed
    for kind, found, what in (
        ("mask_differs", differs, "whose mask and box disagree"),
        ("empty_mask", empty, "whose mask has no pixel"),
        ("mask_missing", missing, "without a mask"),
    ):
        for k in np.flatnonzero(found)[:1].tolist():
            first = name_object(survey, annotations, k, offset)
            yield make_object_finding(kind, f"{what}, first: {first}", found, images, offset)


def find_mask_bounds(annotations: Annotations, k: int, height: int) -> NDArray[np.float64] | None:
    """The bounds x1, y1, x2, y2 of object k's mask in an image of this height; None if it has no pixel."""
    parts = [annotations.parts[part] for part in range(annotations.part_offsets[k], annotations.part_offsets[k + 1])]
    if annotations.mask_formats[k] == POLYGONS:
        points = [part.reshape(-1, 2) for part in parts]
        if sum(abs(polygon_area(each)) for each in points) == 0:
            return None
        together = np.concatenate(points)
        return np.concatenate([together.min(axis=0), together.max(axis=0)])
    assert annotations.mask_formats[k] == RUN_LENGTHS
    offsets = np.cumsum(parts[0].astype(np.int64))
    end = offsets[1::2]
    start = offsets[::2][: len(end)]
    start, last = start[end > start], end[end > start] - 1
    if not len(start):
        return None
    # A run that continues in the next column touches the bottom of one and the top of the other.
    is_full_height = bool((start // height != last // height).any())
    top, bottom = (0, height) if is_full_height else ((start % height).min(), (last % height).max() + 1)
    return np.array([start[0] // height, top, last[-1] // height + 1, bottom], np.float64)


def polygon_area(points_xy: NDArray[np.float64]) -> float:
    """The signed area of a polygon with corners (P, 2)."""
    x, y = points_xy.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def check_same(survey: Survey, annotations: Annotations, offset: int) -> Iterator[Finding]:
    """Objects in the same place, of one class or of two."""
    images = annotations.object_images()
    duplicate, two_classes = (np.zeros(len(images), np.bool_) for _ in range(2))
    for start, end in zip(annotations.offsets[:-1].tolist(), annotations.offsets[1:].tolist(), strict=True):
        of_image = slice(start, end)
        duplicate[of_image], two_classes[of_image] = find_same_boxes(
            annotations.boxes[of_image], annotations.labels[of_image], annotations.crowd[of_image]
        )
    for kind, found, what in (
        ("duplicate_object", duplicate, "in the place of another of its class"),
        ("object_of_two_classes", two_classes, "in the place of one of another class"),
    ):
        for k in np.flatnonzero(found)[:1].tolist():
            first = name_object(survey, annotations, k, offset)
            yield make_object_finding(kind, f"{what}, first: {first}", found, images, offset)


def name_object(survey: Survey, annotations: Annotations, k: int, offset: int) -> str:
    """The name of an object in messages: its image, annotation id and class."""
    image = int(np.searchsorted(annotations.offsets, k, "right")) - 1
    label = survey.dataset.classes[annotations.labels[k]]
    return f"{survey.name(offset + image)}, annotation {annotations.ids[k]} {label!r}"


def make_object_finding(
    kind: str, what: str, found: NDArray[np.bool_], images: NDArray[np.int64], offset: int
) -> Finding:
    """A finding about some objects of a split.

    Args:
        kind: of the finding.
        what: is wrong with them.
        found: (K,), which objects.
        images: (K,), the index of each object's image in the split.
        offset: position of the split's first image in the survey.
    """
    objects = np.flatnonzero(found)
    count = "1 object" if len(objects) == 1 else f"{len(objects)} objects"
    positions = (images[objects] + offset).tolist()
    return Finding(kind, f"{count} {what}", tuple(positions), tuple(objects.tolist()))
