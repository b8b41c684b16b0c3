"""What is wrong with masks: values, sizes, labels that are missing, and classes that are."""

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nextvit.check.survey import Survey, counted, listed, named
from nextvit.data.class_masks import BadMask, Coding, Masks
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.image.masks import IGNORE_INDEX

FEW_PICTURES = 10
MAX_RATIO = 100
"""Of the pixels of the largest class to those of the smallest."""
MOSTLY = 0.5
"""A picture with a larger share of pixels without label can teach little."""
SHOWN = 8
"""Values that a message lists."""
CHUNK = 2048
"""Masks that are handed to the threads at once."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MaskSurvey:
    """Every mask of a dataset read once, in the order of a `Survey`: N rows, zeros where a mask cannot be used."""

    counts: NDArray[np.uint32]
    """(N, 256), how many pixels have each value."""
    sizes_wh: NDArray[np.int32]
    """(N, 2)"""
    digests: NDArray[np.uint64]
    """(N,), the same for the same mask."""
    unusable: dict[int, BadMask]
    """Why, by position."""


def survey_masks(dataset: Dataset, *, watch: Callable[[int], None] | None = None) -> MaskSurvey:
    """Read every mask, in threads. `watch` is told how many were read."""
    total = sum(map(len, dataset.masks.values()))
    counts, sizes_wh, digests = (
        np.zeros((total, 256), np.uint32),
        np.zeros((total, 2), np.int32),
        np.zeros(total, np.uint64),
    )
    unusable: dict[int, BadMask] = {}
    places = ((masks, index) for masks in dataset.masks.values() for index in range(len(masks)))
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(places, CHUNK)):
            for seen in pool.map(look_at, chunk):
                if isinstance(seen, BadMask):
                    unusable[done] = seen
                else:
                    counts[done], sizes_wh[done], digests[done] = seen
                done += 1
            if watch:
                watch(done)
    return MaskSurvey(counts=counts, sizes_wh=sizes_wh, digests=digests, unusable=unusable)


def look_at(place: tuple[Masks, int]) -> tuple[Integers, tuple[int, int], int] | BadMask:
    """The count of each value in a mask, its width and height, and a digest; or why it cannot be used."""
    masks, index = place
    try:
        values_HW = np.ascontiguousarray(masks.values(index))
    except BadMask as error:
        return error
    height, width = values_HW.shape
    digest = hashlib.sha256(values_HW.tobytes() + width.to_bytes(4, "big")).digest()
    return np.bincount(values_HW.reshape(-1), minlength=256), (width, height), int.from_bytes(digest[:8], "big")


def class_counts(counts_NV: NDArray[np.uint32], coding: Coding) -> Integers:
    """Pixels of each class, and in the last column those without label: (N, classes + 1) from those of each value (N, 256)."""
    columns = np.zeros((256, coding.num_classes + 1), np.int64)
    known = np.flatnonzero(coding.known)
    columns[known, np.where(coding.table[known] == IGNORE_INDEX, coding.num_classes, coding.table[known])] = 1
    return counts_NV.astype(np.int64) @ columns


def mask_survey_of(dataset: Dataset, *, watch: Callable[[int], None] | None = None) -> MaskSurvey:
    """The survey of all masks of a dataset, which are read once, whoever asks."""
    return dataset.once("mask survey", lambda: survey_masks(dataset, watch=watch))


def training_pixels(dataset: Dataset) -> Integers:
    """How many pixels of the training split have each class: (classes,)."""
    masks = dataset.masks["train"]
    if next(iter(dataset.masks)) == "train" and "mask survey" in dataset.made:
        survey = mask_survey_of(dataset)
    else:
        survey = dataset.once("training mask survey", lambda: survey_masks(replace(dataset, masks={"train": masks})))
    return class_counts(survey.counts[: len(masks)], masks.coding)[:, :-1].sum(axis=0)


def pictures_with(dataset: Dataset, masks: MaskSurvey) -> dict[str, Integers]:
    """Of each split, on how many pictures each class is: (classes,)."""
    there = class_counts(masks.counts, next(iter(dataset.masks.values())).coding)[:, :-1] > 0
    ends = np.cumsum([len(samples) for samples in dataset.splits.values()])
    parts = np.split(there, ends[:-1])
    return {split: part.sum(axis=0) for split, part in zip(dataset.splits, parts, strict=True)}


def check_masks(survey: Survey, masks: MaskSurvey) -> list[Finding]:
    """The findings of data with a mask for each picture."""
    dataset = survey.dataset
    coding = next(iter(dataset.masks.values())).coding
    counts = class_counts(masks.counts, coding)
    not_told = [*check_usable(survey, masks), *check_values(survey, masks, coding), *check_white(survey, masks, coding)]
    findings = [*not_told, *check_mask_sizes(survey, masks), *check_copies(survey, masks)]
    start, of_split = 0, {}
    for split, samples in dataset.splits.items():
        of_split[split] = counts[start : start + len(samples)]
        findings += check_unlabelled(survey, split, of_split[split], start)
        start += len(samples)
    return [*findings, *check_classes(dataset.classes, of_split["train"], of_split["val"], complete=not not_told)]


def check_usable(survey: Survey, masks: MaskSurvey) -> Iterator[Finding]:
    """Masks that cannot be used; what is the same with several of them is one finding."""
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, error in masks.unusable.items():
        alike[error.kind, error.problem if error.kind == "bad_mask" else ""].append(at)
    for (kind, problem), positions in alike.items():
        first = masks.unusable[positions[0]]
        if problem and len(positions) == 1:
            message = f"the mask of {survey.name(positions[0])}: {problem}"
        else:
            message = f"the mask of {counted(positions)}{':' if problem else ''} {first.problem}; first: {first.name}"
        yield Finding(kind, message, tuple(positions))


def check_mask_sizes(survey: Survey, masks: MaskSurvey) -> Iterator[Finding]:
    """Masks of another size than their pictures."""
    real = survey.rows["size_wh"]
    both = (real[:, 0] > 0) & (masks.sizes_wh[:, 0] > 0)
    for at in np.flatnonzero(both & (real != masks.sizes_wh).any(axis=1)).tolist():
        (width, height), (mask_width, mask_height) = real[at].tolist(), masks.sizes_wh[at].tolist()
        message = f"{survey.name(at)}: is {width}x{height}, its mask {mask_width}x{mask_height}"
        if (width, height) == (mask_height, mask_width):
            message += "; one of the two was turned, perhaps the image by its EXIF"
        yield Finding("mask_size_differs", message, (at,))


def check_values(survey: Survey, masks: MaskSurvey, coding: Coding) -> Iterator[Finding]:
    """Values that are no class: names that are missing in the list, or something else than indices."""
    strange_NV = (masks.counts > 0) & ~coding.known
    values = np.flatnonzero(strange_NV.any(axis=0))
    if not len(values):
        return
    first = int(coding.zero_is_ignored)
    last = first + coding.num_classes - 1
    positions = np.flatnonzero(strange_NV.any(axis=1)).tolist()
    there = np.flatnonzero(masks.counts.any(axis=0))
    whose = f"{counted(positions)}, first: {named(survey, positions)}"
    if np.array_equal(values, last + 1 + np.arange(len(values))):
        message = (
            f"{enumerated(values)} in the mask of {whose}; the last of the {coding.num_classes} classes is {last}, "
            f"{survey.dataset.classes[-1]!r}"
        )
        if there[0] > 0 and len(values) == 1:
            message += "; no pixel is 0: do the masks count from 1?"
        yield Finding("class_not_listed", message, tuple(positions))
        return
    message = f"{enumerated(values)} in the mask of {whose}; a class is {first} to {last}, and 255 is no label"
    step = math.gcd(*there[there < IGNORE_INDEX].tolist())
    if step > 1:
        message += f"; all are multiples of {step}: were they spread to be seen?"
    yield Finding("value_out_of_range", message, tuple(positions))


def enumerated(values: Integers) -> str:
    shown = ", ".join(map(str, values[:SHOWN].tolist())) + (", ..." if len(values) > SHOWN else "")
    return f"the value {shown}" if len(values) == 1 else f"the values {shown}"


def check_white(survey: Survey, masks: MaskSurvey, coding: Coding) -> Iterator[Finding]:
    """Masks as black and white pictures, whose white is no class."""
    if np.flatnonzero(masks.counts.any(axis=0)).tolist() == [0, IGNORE_INDEX] and not coding.zero_is_ignored:
        positions = np.flatnonzero(masks.counts[:, IGNORE_INDEX]).tolist()
        name = survey.dataset.classes[0]
        message = f"every pixel is 0, {name!r}, or 255, no label, so {name!r} is all that can be learnt"
        yield Finding("white_mask", f"{message}; first: {named(survey, positions)}", tuple(positions))


def check_copies(survey: Survey, masks: MaskSurvey) -> Iterator[Finding]:
    """Files with the same bytes whose masks differ."""
    copies: dict[bytes, list[int]] = defaultdict(list)
    for at in np.flatnonzero((survey.rows["size_wh"][:, 0] > 0) & (masks.sizes_wh[:, 0] > 0)).tolist():
        copies[survey.rows["digest"][at].tobytes()].append(at)
    for same in copies.values():
        if len({int(masks.digests[at]) for at in same}) > 1:
            yield Finding("other_mask_of_copy", listed(survey, same), tuple(same))


def check_unlabelled(survey: Survey, split: str, counts: Integers, offset: int) -> Iterator[Finding]:
    """How much of a split has no label, from the pixels (n, classes + 1) of its pictures."""
    unlabelled, total = counts[:, -1], counts.sum(axis=1)
    if not total.any() or not unlabelled.any():
        return
    if (unlabelled == total).all():
        kind = "empty_split" if split == "train" else "nothing_to_validate"
        yield Finding(kind, f"{survey.dataset.root}: no pixel is labelled in the split {split}")
        return
    pictures = (np.flatnonzero(unlabelled) + offset).tolist()
    share = 100 * unlabelled.sum() / total.sum()
    yield Finding("unlabelled", f"{share:.2g} % of the pixels in {split}, on {counted(pictures)}", tuple(pictures))
    mostly = (np.flatnonzero(unlabelled > MOSTLY * total) + offset).tolist()
    if mostly:
        message = f"{counted(mostly)} in {split} with more than half of the pixels unlabelled, first: "
        yield Finding("mostly_unlabelled", message + named(survey, mostly), tuple(mostly))


def check_classes(classes: tuple[str, ...], train: Integers, val: Integers, *, complete: bool) -> Iterator[Finding]:
    """Classes with nothing or little to learn from or to judge on, from the pixels (n, classes + 1) of each picture.

    Args:
        complete: the class of every pixel is told. Otherwise no class is said to be missing: it may be what is not told.
    """
    learnt, judged = train.sum(axis=0)[:-1], val.sum(axis=0)[:-1]
    pictures = (train > 0).sum(axis=0)[:-1]
    for name, pixels, of_val, count in zip(classes, learnt.tolist(), judged.tolist(), pictures.tolist(), strict=True):
        if not pixels and not complete:
            continue
        if not pixels and of_val:
            yield Finding("class_only_in_val", f"class {name!r} has {of_val:,} pixels in val and none in train")
        elif not pixels:
            yield Finding("class_without_pixels", f"class {name!r} has no pixel")
        elif count < FEW_PICTURES:
            yield Finding(
                "tiny_class", f"class {name!r} is on only {count} training {'picture' if count == 1 else 'pictures'}"
            )
        if pixels and not of_val and judged.any() and complete:
            yield Finding("class_only_in_train", f"class {name!r} has no validation pixels")
    present = np.flatnonzero(learnt)
    if len(present) == 1 and complete:
        yield Finding("single_class", f"every labelled pixel in train is {classes[present[0]]!r}")
    elif len(present) and learnt.max() > MAX_RATIO * learnt[present].min():
        most, least = int(learnt.argmax()), int(present[learnt[present].argmin()])
        shares = 100 * learnt / learnt.sum()
        message = f"{shares[most]:.1f} % of the labelled training pixels are {classes[most]!r}, {shares[least]:.2g} % "
        yield Finding("imbalance", f"{message}{classes[least]!r}; see --loss.balance and --masks.rare-crops")
