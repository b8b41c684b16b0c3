"""Find near-duplicate images: copies that were saved again, scaled, or made lighter.

There are two steps. A difference hash (which of two neighbouring areas is lighter?) finds candidates without comparing
all pairs; then the correlation of small grey thumbnails decides. The hash alone is not enough: it takes different
shirts on one background for copies.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 12
"""Height and width of the thumbnails."""

MAX_BITS = 7
MIN_CORRELATION = 0.992
"""Both limits were chosen by looking at images. Of copies of photographs (JPEG quality 50; half the size; lighter or
with more contrast by a fifth), 95 to 100 % differ in at most 9 of 128 bits and have a correlation of at least 0.992,
even those of hands on one white wall. Among 7 million pairs of different garments on one red cloth some differ in a
single bit, and none reached 0.992."""

MIN_CONTRAST = 4.0
"""Standard deviation of 8-bit grey values; below it a thumbnail is mostly noise."""

BANDS = np.array_split(np.random.default_rng(0).permutation(128), 4)
"""The bits of a hash in four random groups. If at most 7 bits differ, at most one of them is in one of the groups
(pigeonhole principle). Groups of neighbouring bits would be less selective, because these agree too often."""

BLOCK = 1 << 18
"""Candidate pairs that are compared at a time."""


def compute_difference_hash(grey: Image.Image) -> NDArray[np.uint64]:
    """128 bits, packed as (2,), of an image of mode F: is an area lighter than its left, or its upper, neighbour?"""
    rows, columns = downsample(grey, width=9, height=8), downsample(grey, width=8, height=9)
    bits = np.concatenate([(rows[:, 1:] > rows[:, :-1]).ravel(), (columns[1:] > columns[:-1]).ravel()])
    return np.packbits(bits).view(np.uint64)


def compute_thumbnail(grey: Image.Image) -> NDArray[np.uint8]:
    """A thumbnail (SIDE, SIDE) of an image of mode F."""
    return np.rint(downsample(grey, width=SIDE, height=SIDE)).astype(np.uint8)


def downsample(grey: Image.Image, *, width: int, height: int) -> NDArray[np.float32]:
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX))


def find_similar_pairs(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Find pairs of similar images.

    Among images with the same hash, only the first is compared with images of other hashes, and the rest only with the
    first: a thousand copies give a thousand pairs, not half a million.

    Args:
        hashes: (N, 2), of `compute_difference_hash`.
        thumbnails: (N, SIDE, SIDE), of `compute_thumbnail`.

    Returns:
        Pairs of indices (P, 2), the smaller one first, sorted.
    """
    has_contrast = np.flatnonzero(thumbnails.std(axis=(1, 2)) >= MIN_CONTRAST)
    distinct, first, group = np.unique(hashes[has_contrast], axis=0, return_index=True, return_inverse=True)
    first = has_contrast[first]
    leaders = first[group.reshape(-1)]
    followers = has_contrast[leaders != has_contrast]
    found = [select_correlated(np.stack([leaders[leaders != has_contrast], followers], axis=1), thumbnails)]
    for pairs in find_close_hashes(distinct):
        found.append(select_correlated(first[pairs], thumbnails))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def find_close_hashes(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Index pairs of hashes (N, 2) that differ in at most MAX_BITS bits, in blocks; a pair may occur several times."""
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    for band in BANDS:
        keys = bits[:, band] @ (np.int64(1) << np.arange(len(band)))
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for flipped in (0, *(1 << np.arange(len(band)))):
            start = np.searchsorted(ordered, ordered ^ flipped, "left")
            end = np.searchsorted(ordered, ordered ^ flipped, "right")
            # Each pair once: a later equal key, or from the key without the flipped bit to the one that has it.
            start = np.arange(1, len(ordered) + 1) if not flipped else np.where(ordered & flipped, end, start)
            for here, there in expand_ranges(start, end):
                pairs = np.stack([order[here], order[there]], axis=1)
                yield pairs[hamming_distances(hashes, pairs) <= MAX_BITS]


def expand_ranges(
    start: NDArray[np.int64], end: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Every (i, j) with start[i] <= j < end[i], as two arrays, in blocks of about BLOCK."""
    counts = end - start
    [rows] = np.nonzero(counts)
    totals = np.cumsum(counts[rows])
    for block in np.split(rows, np.searchsorted(totals, np.arange(BLOCK, totals[-1], BLOCK))) if len(rows) else ():
        here = np.repeat(block, counts[block])
        offsets = np.cumsum(counts[block]) - counts[block]
        yield here, np.arange(len(here)) - np.repeat(offsets - start[block], counts[block])


def hamming_distances(hashes: NDArray[np.uint64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The Hamming distance of each pair."""
    different = hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]
    return ONES[different.view(np.uint16)].sum(axis=1)


ONES = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


def select_correlated(pairs: NDArray[np.int64], thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The pairs (P, 2) whose thumbnails have a correlation of at least MIN_CORRELATION."""
    kept = [np.empty((0, 2), np.int64)]
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        left, right = (standardize(thumbnails[block[:, side]]) for side in (0, 1))
        kept.append(block[np.einsum("ij,ij->i", left, right) >= MIN_CORRELATION])
    return np.concatenate(kept)


def standardize(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails as rows with mean 0 and L2 norm 1."""
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def select_spanning(pairs: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Those pairs (P, 2), from the first on, whose two members no earlier ones connect.

    So a thousand images that are all alike give 999 pairs, in which each of them occurs, instead of half a million.
    """
    root: dict[int, int] = {}

    def find(member: int) -> int:
        while (above := root.setdefault(member, member)) != member:
            root[member] = root[above]
            member = root[member]
        return member

    for left, right in pairs.tolist():
        one, other = find(left), find(right)
        if one != other:
            root[max(one, other)] = min(one, other)
            yield left, right
