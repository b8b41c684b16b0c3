"""What is wrong with annotated objects: boxes, masks, classes, and the lists of pictures."""

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nextvit.check.survey import Survey, counted, named
from nextvit.data.annotations import POLYGONS, RUNS, Annotations
from nextvit.data.coco import find_sources
from nextvit.data.findings import Finding
from nextvit.data.image_files import image_files

FEW_OBJECTS = 10
TINY_PX = 4
"""Shorter side of a box."""
BEYOND_PX = 1.0
"""Within it boxes are rounded, or count pixels inclusively."""
MASK_PX, MASK_SHARE = 2.0, 0.05
"""How far a mask's edge may lie from its box's: pixels, and a share of the box's longer side."""
SAME_IOU = 0.95
ROWS = 256
"""Boxes compared with all others of a picture at once."""


def check_objects(survey: Survey) -> list[Finding]:
    """The findings of data with objects."""
    findings = [*check_counts(survey), *check_listed(survey)]
    offset = 0
    for split, samples in survey.dataset.splits.items():
        annotations = survey.dataset.annotations[split]
        findings += check_picture_sizes(survey, annotations, offset)
        findings += check_boxes(survey, annotations, offset)
        findings += check_masks(survey, annotations, offset)
        findings += check_same(survey, annotations, offset)
        bare = (np.flatnonzero(np.diff(annotations.ends) == 0) + offset).tolist()
        if bare:
            message = f"{counted(bare)} in {split} without any object, first: {named(survey, bare)}"
            findings.append(Finding("without_objects", message, tuple(bare)))
        offset += len(samples)
    return findings


def check_counts(survey: Survey) -> Iterator[Finding]:
    """Classes with no or few objects to learn from, or none to validate on."""
    dataset = survey.dataset
    train, val = (dataset.annotations[split].counts(len(dataset.classes)) for split in ("train", "val"))
    for name, id, learnt, judged in zip(dataset.classes, dataset.category_ids, train, val, strict=True):
        if not learnt and judged:
            objects = "1 object" if judged == 1 else f"{judged} objects"
            yield Finding("class_only_in_val", f"class {name!r} has {objects} in val and none in train")
        elif not learnt:
            yield Finding("class_without_objects", f"class {name!r} (category id {id}) has no object")
        elif learnt < FEW_OBJECTS:
            yield Finding("tiny_class", f"class {name!r} has only {learnt} training objects")
        if learnt and not judged and val.any():
            yield Finding("class_only_in_train", f"class {name!r} has no validation objects")


def check_listed(survey: Survey) -> Iterator[Finding]:
    """Pictures in the folders that no file of annotations lists."""
    used = {os.path.normpath(name) for samples in survey.dataset.splits.values() for name in samples.names()}
    for source in find_sources(survey.dataset.root):
        there = image_files(source.images, [])
        if unlisted := [path for path in there if os.path.normpath(path) not in used]:
            what = "1 picture is" if len(unlisted) == 1 else f"{len(unlisted)} pictures are"
            file, first = (os.path.relpath(path, survey.dataset.root) for path in (source.annotations, unlisted[0]))
            yield Finding("unlisted_image", f"{what} not listed in {file}, first: {first}")


def check_picture_sizes(survey: Survey, annotations: Annotations, offset: int) -> Iterator[Finding]:
    """Pictures of another size than was annotated."""
    real = survey.rows["size_wh"][offset : offset + len(annotations)]
    for index in np.flatnonzero(differently_sized(survey, annotations, offset)).tolist():
        (width, height), (annotated_width, annotated_height) = real[index], annotations.sizes_wh[index]
        message = (
            f"{survey.name(offset + index)}: is {width}x{height}, annotated as {annotated_width}x{annotated_height}"
        )
        if (width, height) == (annotated_height, annotated_width):
            message += "; turned after it was annotated, perhaps by its EXIF"
        yield Finding("size_differs", message, (offset + index,))


def differently_sized(survey: Survey, annotations: Annotations, offset: int) -> NDArray[np.bool_]:
    """Which pictures are not as large as annotated: (N,); those that cannot be read do not count."""
    real = survey.rows["size_wh"][offset : offset + len(annotations)]
    return (real != annotations.sizes_wh).any(axis=1) & (real[:, 0] > 0)


def check_boxes(survey: Survey, annotations: Annotations, offset: int) -> Iterator[Finding]:
    """Boxes outside the picture, of zero area, or tiny. Where the size differs, that is the one thing to mend."""
    pictures = annotations.pictures()
    judged = ~differently_sized(survey, annotations, offset)[pictures]
    left, top, right, bottom = annotations.boxes.T
    width, height = annotations.sizes_wh[pictures].T
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
        found &= judged
        for k in np.flatnonzero(found)[:1].tolist():
            box = "x {:g} to {:g}, y {:g} to {:g}".format(*annotations.boxes[k, [0, 2, 1, 3]].tolist())
            size = "{}x{}".format(*annotations.sizes_wh[pictures[k]])
            first = f"{object_name(survey, annotations, k, offset)} ({box} in {size})"
            yield about_objects(kind, f"{what}, first: {first}", found, pictures, offset)


def check_masks(survey: Survey, annotations: Annotations, offset: int) -> Iterator[Finding]:
    """Masks that do not fill their boxes or have no pixel, and objects without."""
    if not annotations.has_masks:
        return
    pictures = annotations.pictures()
    missing = (annotations.forms == 0) & ~annotations.crowd
    empty, differs = (np.zeros(len(pictures), np.bool_) for _ in range(2))
    for k in np.flatnonzero((annotations.forms > 0) & ~annotations.crowd).tolist():
        edges = mask_edges(annotations, k, int(annotations.sizes_wh[pictures[k], 1]))
        box = annotations.boxes[k]
        allowed = MASK_PX + MASK_SHARE * (box[2:] - box[:2]).max()
        empty[k] = edges is None
        differs[k] = edges is not None and np.abs(edges - box).max() > allowed
    for kind, found, what in (
        ("mask_differs", differs, "whose mask and box disagree"),
        ("empty_mask", empty, "whose mask has no pixel"),
        ("mask_missing", missing, "without a mask"),
    ):
        for k in np.flatnonzero(found)[:1].tolist():
            first = object_name(survey, annotations, k, offset)
            yield about_objects(kind, f"{what}, first: {first}", found, pictures, offset)


def mask_edges(annotations: Annotations, k: int, height: int) -> NDArray[np.float64] | None:
    """x1, y1, x2, y2 of what object k's mask covers; None if that is nothing."""
    parts = [annotations.parts[part] for part in range(annotations.part_ends[k], annotations.part_ends[k + 1])]
    if annotations.forms[k] == POLYGONS:
        points = [part.reshape(-1, 2) for part in parts]
        if sum(abs(polygon_area(each)) for each in points) == 0:
            return None
        together = np.concatenate(points)
        return np.concatenate([together.min(axis=0), together.max(axis=0)])
    assert annotations.forms[k] == RUNS
    ends = np.cumsum(parts[0].astype(np.int64))
    end = ends[1::2]
    start = ends[::2][: len(end)]
    start, last = start[end > start], end[end > start] - 1
    if not len(start):
        return None
    whole = bool((start // height != last // height).any())  # a run from one column into the next
    top, bottom = (0, height) if whole else ((start % height).min(), (last % height).max() + 1)
    return np.array([start[0] // height, top, last[-1] // height + 1, bottom], np.float64)


def polygon_area(points_xy: NDArray[np.float64]) -> float:
    """Signed, of (P, 2) corners."""
    x, y = points_xy.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def check_same(survey: Survey, annotations: Annotations, offset: int) -> Iterator[Finding]:
    """Objects in the same place, of one class or of two."""
    pictures = annotations.pictures()
    twice, two_classes = (np.zeros(len(pictures), np.bool_) for _ in range(2))
    for start, end in zip(annotations.ends[:-1].tolist(), annotations.ends[1:].tolist(), strict=True):
        for earlier, later in same_boxes(annotations.boxes[start:end], annotations.crowd[start:end]):
            is_same = annotations.labels[start + earlier] == annotations.labels[start + later]
            (twice if is_same else two_classes)[start + later] = True
    for kind, found, what in (
        ("duplicate_object", twice, "in the place of another of its class"),
        ("object_of_two_classes", two_classes, "in the place of one of another class"),
    ):
        for k in np.flatnonzero(found)[:1].tolist():
            first = object_name(survey, annotations, k, offset)
            yield about_objects(kind, f"{what}, first: {first}", found, pictures, offset)


def same_boxes(boxes: NDArray[np.float32], crowd: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Pairs of boxes of (K, 4) that cover nearly the same, the first index the smaller one."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for start in range(0, len(boxes), ROWS):
        rows = boxes[start : start + ROWS, None]
        sides = np.minimum(rows[..., 2:], boxes[:, 2:]) - np.maximum(rows[..., :2], boxes[:, :2])
        shared = np.prod(np.maximum(sides, 0), axis=2)
        same = shared > SAME_IOU * (areas[start : start + ROWS, None] + areas - shared)
        for row, other in zip(*np.nonzero(same), strict=True):
            if start + row < other and not (crowd[start + row] or crowd[other]):
                yield int(start + row), int(other)


def object_name(survey: Survey, annotations: Annotations, k: int, offset: int) -> str:
    """A picture and one of its objects."""
    picture = int(np.searchsorted(annotations.ends, k, "right")) - 1
    label = survey.dataset.classes[annotations.labels[k]]
    return f"{survey.name(offset + picture)}, annotation {annotations.ids[k]} {label!r}"


def about_objects(kind: str, what: str, found: NDArray[np.bool_], pictures: NDArray[np.int64], offset: int) -> Finding:
    """A finding about the objects where `found`, (K,), is true."""
    objects = np.flatnonzero(found)
    count = "1 object" if len(objects) == 1 else f"{len(objects)} objects"
    positions = (pictures[objects] + offset).tolist()
    return Finding(kind, f"{count} {what}", tuple(positions), tuple(objects.tolist()))
