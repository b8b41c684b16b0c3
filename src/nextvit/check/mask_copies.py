"""Find images that are there twice with different masks, and how much these differ."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nextvit.check.survey import Survey, list_names
from nextvit.data.class_masks import BadMask, ClassMask
from nextvit.data.findings import Finding
from nextvit.image.masks import IGNORE_INDEX

NEARLY_EQUAL = 0.8
"""Mean IoU of two masks of one image from which on they count as drawn twice; below, one of them is wrong."""


def check_copies(survey: Survey, sizes_wh: NDArray[np.int32], digests: NDArray[np.uint64]) -> Iterator[Finding]:
    """Files with the same bytes whose masks differ: an error where they differ much.

    Args:
        survey: of the images.
        sizes_wh: (N, 2), of their masks; zeros for those that cannot be used.
        digests: (N,), equal for equal masks.
    """
    copies: dict[bytes, list[int]] = defaultdict(list)
    for at in np.flatnonzero((survey.rows["size_wh"][:, 0] > 0) & (sizes_wh[:, 0] > 0)).tolist():
        copies[survey.rows["digest"][at].tobytes()].append(at)
    for same in copies.values():
        others = [at for at in same if digests[at] != digests[same[0]]]
        if others:
            iou = min(compare_masks(survey, same[0], at) for at in others)
            kind = "nearly_other_mask_of_copy" if iou >= NEARLY_EQUAL else "other_mask_of_copy"
            message = f"{list_names(survey, same)}; the masks agree with a mean IoU of {100 * iou:.1f} %"
            yield Finding(kind, message, tuple(same))


def compare_masks(survey: Survey, one: int, other: int) -> float:
    """The mean IoU of the masks at two positions, 0 to 1, over the pixels with a label in both; 0 where one cannot be
    used."""
    try:
        first, second = read_mask(survey, one), read_mask(survey, other)
    except BadMask:
        return 0.0
    if first.shape != second.shape:
        return 0.0
    return mean_iou(first, second)


def read_mask(survey: Survey, position: int) -> ClassMask:
    """The mask at a position; BadMask where it cannot be used."""
    split, index = survey.split_and_index(position)
    return survey.dataset.masks[split][index]


def mean_iou(one: ClassMask, other: ClassMask) -> float:
    """The mean over the classes in either mask; 0 where no pixel has a label in both."""
    labelled = (one != IGNORE_INDEX) & (other != IGNORE_INDEX)
    pairs = np.bincount(one[labelled].astype(np.int64) * 256 + other[labelled], minlength=256**2).reshape(256, 256)
    hits = np.diag(pairs)
    unions = pairs.sum(axis=0) + pairs.sum(axis=1) - hits
    present = unions > 0
    return float((hits[present] / unions[present]).mean()) if present.any() else 0.0


def find_differences(survey: Survey, one: int, other: int) -> NDArray[np.bool_] | None:
    """Where the masks at two positions differ, (height, width); None where they cannot be compared."""
    try:
        first, second = read_mask(survey, one), read_mask(survey, other)
    except BadMask:
        return None
    return first != second if first.shape == second.shape else None
