"""Check masks: values, sizes, unlabelled pixels and missing classes."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nextvit.check.mask_copies import check_copies
from nextvit.check.survey import Survey, count_images, list_names, name_first
from nextvit.data.class_masks import BadMask, MaskEncoding, Masks
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.image.masks import IGNORE_INDEX
from nextvit.machine.cores import usable_cores

MIN_IMAGES = 10
"""A class on fewer training images is tiny."""
MAX_RATIO = 100
"""Pixels of the largest class divided by those of the smallest; above it the classes are imbalanced."""
MAX_UNLABELLED = 0.5
"""A mask with a larger fraction of unlabelled pixels is mostly unlabelled."""
MAX_SHOWN = 8
"""Values that a message lists."""
CHUNK = 2048
"""Masks that are queued for the threads at a time."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MaskSurvey:
    """What was read of every mask of a dataset, in the order of a `Survey`: N rows, zeros for unusable masks."""

    counts: NDArray[np.uint32]
    """(N, 256), the number of pixels of each value."""
    sizes_wh: NDArray[np.int32]
    """(N, 2), width and height."""
    digests: NDArray[np.uint64]
    """(N,), equal for equal masks."""
    unusable: dict[int, BadMask]
    """The reason, by position."""


def survey_masks(dataset: Dataset, *, watch: Callable[[int], None] | None = None) -> MaskSurvey:
    """Read every mask, in threads.

    Args:
        dataset: what to read.
        watch: called with the number of masks read so far.
    """
    total = sum(map(len, dataset.masks.values()))
    counts, sizes_wh, digests = (
        np.zeros((total, 256), np.uint32),
        np.zeros((total, 2), np.int32),
        np.zeros(total, np.uint64),
    )
    unusable: dict[int, BadMask] = {}
    references = ((masks, index) for masks in dataset.masks.values() for index in range(len(masks)))
    done = 0
    with ThreadPoolExecutor(usable_cores()) as pool:
        while chunk := list(islice(references, CHUNK)):
            for row_or_error in pool.map(survey_mask, chunk):
                if isinstance(row_or_error, BadMask):
                    unusable[done] = row_or_error
                else:
                    counts[done], sizes_wh[done], digests[done] = row_or_error
                done += 1
            if watch:
                watch(done)
    return MaskSurvey(counts=counts, sizes_wh=sizes_wh, digests=digests, unusable=unusable)


def survey_mask(reference: tuple[Masks, int]) -> tuple[Integers, tuple[int, int], int] | BadMask:
    """The number of pixels of each value in a mask, its width and height, and a digest; or why it is unusable."""
    masks, index = reference
    try:
        values_HW = np.ascontiguousarray(masks.values(index))
    except BadMask as error:
        return error
    height, width = values_HW.shape
    digest = hashlib.sha256(values_HW.tobytes() + width.to_bytes(4, "big")).digest()
    return np.bincount(values_HW.reshape(-1), minlength=256), (width, height), int.from_bytes(digest[:8], "big")


def count_class_pixels(counts_NV: NDArray[np.uint32], encoding: MaskEncoding) -> Integers:
    """Pixel counts of classes (N, classes + 1) from those of values (N, 256); the last column is of unlabelled ones."""
    columns = np.zeros((256, encoding.num_classes + 1), np.int64)
    known = np.flatnonzero(encoding.known)
    columns[known, np.where(encoding.table[known] == IGNORE_INDEX, encoding.num_classes, encoding.table[known])] = 1
    return counts_NV.astype(np.int64) @ columns


def get_mask_survey(dataset: Dataset, *, watch: Callable[[int], None] | None = None) -> MaskSurvey:
    """The survey of all masks of a dataset; they are read only on the first call."""
    return dataset.compute_once("mask survey", lambda: survey_masks(dataset, watch=watch))


def count_training_pixels(dataset: Dataset) -> Integers:
    """The number of pixels of each class in the training split: (classes,)."""
    masks = dataset.masks["train"]
    if next(iter(dataset.masks)) == "train" and "mask survey" in dataset.computed:
        survey = get_mask_survey(dataset)
    else:
        survey = dataset.compute_once(
            "training mask survey", lambda: survey_masks(replace(dataset, masks={"train": masks}))
        )
    return count_class_pixels(survey.counts[: len(masks)], masks.encoding)[:, :-1].sum(axis=0)


def count_images_per_class(dataset: Dataset, masks: MaskSurvey) -> dict[str, Integers]:
    """For each split, the number of images with at least one pixel of each class: (classes,)."""
    has_class = count_class_pixels(masks.counts, next(iter(dataset.masks.values())).encoding)[:, :-1] > 0
    ends = np.cumsum([len(samples) for samples in dataset.splits.values()])
    parts = np.split(has_class, ends[:-1])
    return {split: part.sum(axis=0) for split, part in zip(dataset.splits, parts, strict=True)}


def check_masks(survey: Survey, masks: MaskSurvey) -> list[Finding]:
    """The findings of a dataset with a mask for each image."""
    dataset = survey.dataset
    encoding = next(iter(dataset.masks.values())).encoding
    counts = count_class_pixels(masks.counts, encoding)
    unreliable = [
        *check_usable(survey, masks),
        *check_values(survey, masks, encoding),
        *check_white(survey, masks, encoding),
    ]
    findings = [*unreliable, *check_mask_sizes(survey, masks), *check_copies(survey, masks.sizes_wh, masks.digests)]
    start, counts_of = 0, {}
    for split, samples in dataset.splits.items():
        counts_of[split] = counts[start : start + len(samples)]
        findings += check_unlabelled(survey, split, counts_of[split], start)
        start += len(samples)
    return [
        *findings,
        *check_classes(dataset.classes, counts_of["train"], counts_of["val"], is_complete=not unreliable),
    ]


def check_usable(survey: Survey, masks: MaskSurvey) -> Iterator[Finding]:
    """Unusable masks; those with the same problem share a finding."""
    by_problem: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, error in masks.unusable.items():
        if error.kind == "unreadable":  # the image has a finding of its own
            continue
        by_problem[error.kind, error.problem if error.kind == "bad_mask" else ""].append(at)
    for (kind, problem), positions in by_problem.items():
        first = masks.unusable[positions[0]]
        if problem and len(positions) == 1:
            message = f"the mask of {survey.name(positions[0])}: {problem}"
        else:
            message = (
                f"the mask of {count_images(positions)}{':' if problem else ''} {first.problem}; first: {first.name}"
            )
        yield Finding(kind, message, tuple(positions))


def check_mask_sizes(survey: Survey, masks: MaskSurvey) -> Iterator[Finding]:
    """Masks that differ in size from their images."""
    real = survey.rows["size_wh"]
    is_read = (real[:, 0] > 0) & (masks.sizes_wh[:, 0] > 0)
    for at in np.flatnonzero(is_read & (real != masks.sizes_wh).any(axis=1)).tolist():
        (width, height), (mask_width, mask_height) = real[at].tolist(), masks.sizes_wh[at].tolist()
        message = f"{survey.name(at)}: is {width}x{height}, its mask {mask_width}x{mask_height}"
        if (width, height) == (mask_height, mask_width):
            message += "; one of the two was rotated, perhaps the image by its EXIF"
        yield Finding("mask_size_differs", message, (at,))


def check_values(survey: Survey, masks: MaskSurvey, encoding: MaskEncoding) -> Iterator[Finding]:
    """Values that are not class indices: either classes that are missing in the list, or something else."""
    unknown_NV = (masks.counts > 0) & ~encoding.known
    values = np.flatnonzero(unknown_NV.any(axis=0))
    if not len(values):
        return
    first = int(encoding.zero_is_ignored)
    last = first + encoding.num_classes - 1
    positions = np.flatnonzero(unknown_NV.any(axis=1)).tolist()
    used_values = np.flatnonzero(masks.counts.any(axis=0))
    owners = f"{count_images(positions)}, first: {name_first(survey, positions)}"
    if np.array_equal(values, last + 1 + np.arange(len(values))):
        message = (
            f"{format_values(values)} in the mask of {owners}; "
            f"the last of the {encoding.num_classes} classes is {last}, {survey.dataset.classes[-1]!r}"
        )
        if used_values[0] > 0 and len(values) == 1:
            message += "; no pixel is 0: do the masks count from 1?"
        yield Finding("class_not_listed", message, tuple(positions))
        return
    message = f"{format_values(values)} in the mask of {owners}; a class is {first} to {last}, and 255 is no label"
    step = math.gcd(*used_values[used_values < IGNORE_INDEX].tolist())
    if step > 1:
        message += f"; all are multiples of {step}: were they scaled to be visible?"
    yield Finding("value_out_of_range", message, tuple(positions))


def format_values(values: Integers) -> str:
    """ "the value 3" or "the values 3, 4, ..."."""
    shown = ", ".join(map(str, values[:MAX_SHOWN].tolist())) + (", ..." if len(values) > MAX_SHOWN else "")
    return f"the value {shown}" if len(values) == 1 else f"the values {shown}"


def check_white(survey: Survey, masks: MaskSurvey, encoding: MaskEncoding) -> Iterator[Finding]:
    """Masks saved as black and white images, whose white means unlabelled: all of them, or some among others."""
    if encoding.zero_is_ignored:
        return
    is_used = masks.counts > 0
    is_white = is_used[:, 0] & is_used[:, IGNORE_INDEX] & (is_used.sum(axis=1) == 2)
    positions = tuple(np.flatnonzero(is_white).tolist())
    name = survey.dataset.classes[0]
    if np.flatnonzero(is_used.any(axis=0)).tolist() == [0, IGNORE_INDEX]:
        message = f"every pixel is 0, {name!r}, or 255, no label, so {name!r} is the only class that can be learned"
        yield Finding("white_mask", f"{message}; first: {name_first(survey, positions)}", positions)
    elif positions:
        message = f"the mask of {count_images(list(positions))} has only 0, {name!r}, and 255, no label; others have 1"
        yield Finding("some_white_masks", f"{message} and more: {list_names(survey, list(positions))}", positions)


def check_unlabelled(survey: Survey, split: str, counts: Integers, offset: int) -> Iterator[Finding]:
    """Unlabelled pixels of a split.

    Args:
        survey: of the images.
        split: its name.
        counts: pixels (n, classes + 1) of its images, as `count_class_pixels` gives them.
        offset: position of its first image.
    """
    unlabelled, total = counts[:, -1], counts.sum(axis=1)
    if not total.any() or not unlabelled.any():
        return
    if (unlabelled == total).all():
        kind = "empty_split" if split == "train" else "nothing_to_validate"
        yield Finding(kind, f"{survey.dataset.root}: no pixel is labelled in the split {split}")
        return
    positions = (np.flatnonzero(unlabelled) + offset).tolist()
    percent = 100 * unlabelled.sum() / total.sum()
    yield Finding(
        "unlabelled", f"{percent:.2g} % of the pixels in {split}, on {count_images(positions)}", tuple(positions)
    )
    mostly = (np.flatnonzero(unlabelled > MAX_UNLABELLED * total) + offset).tolist()
    if mostly:
        message = f"{count_images(mostly)} in {split} with more than half of the pixels unlabelled, first: "
        yield Finding("mostly_unlabelled", message + name_first(survey, mostly), tuple(mostly))


def check_classes(classes: tuple[str, ...], train: Integers, val: Integers, *, is_complete: bool) -> Iterator[Finding]:
    """Classes with few or no pixels for training or validation.

    Args:
        classes: their names.
        train: pixels (n, classes + 1) of each training image, as `count_class_pixels` gives them.
        val: the same of each validation image.
        is_complete: whether the class of every pixel is known. If not, no class is reported as missing.
    """
    train_pixels, val_pixels = train.sum(axis=0)[:-1], val.sum(axis=0)[:-1]
    train_images = (train > 0).sum(axis=0)[:-1]
    for name, in_train, in_val, num_images in zip(
        classes, train_pixels.tolist(), val_pixels.tolist(), train_images.tolist(), strict=True
    ):
        if not in_train and not is_complete:
            continue
        if not in_train and in_val:
            yield Finding("class_only_in_val", f"class {name!r} has {in_val:,} pixels in val and none in train")
        elif not in_train:
            yield Finding("class_without_pixels", f"class {name!r} has no pixel")
        elif num_images < MIN_IMAGES:
            images = "1 training image" if num_images == 1 else f"{num_images} training images"
            yield Finding("tiny_class", f"class {name!r} is on only {images}")
        if in_train and not in_val and val_pixels.any() and is_complete:
            yield Finding("class_only_in_train", f"class {name!r} has no validation pixels")
    present = np.flatnonzero(train_pixels)
    if len(present) == 1 and is_complete:
        yield Finding("single_class", f"every labelled pixel in train is {classes[present[0]]!r}")
    elif len(present) and train_pixels.max() > MAX_RATIO * train_pixels[present].min():
        most, least = int(train_pixels.argmax()), int(present[train_pixels[present].argmin()])
        percents = 100 * train_pixels / train_pixels.sum()
        message = (
            f"{percents[most]:.1f} % of the labelled training pixels are {classes[most]!r}, {percents[least]:.2g} % "
        )
        yield Finding("imbalance", f"{message}{classes[least]!r}; see --loss.balance and --masks.rare-crops")
