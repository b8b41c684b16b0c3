"""Pictures that look nearly the same: copies that were saved anew, scaled, or made lighter.

Two steps. A difference hash (which of two neighbouring areas is the lighter one) finds candidates without comparing each
with each; the correlation of small grey thumbnails decides. The hash alone does not do: it takes different shirts on one
background for copies.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 12
"""Height and width of the thumbnails."""

MAX_BITS = 7
MIN_CORRELATION = 0.992
"""Chosen by looking at pictures. Of copies made of photographs (JPEG quality 50; half the size; lighter or more contrast by
a fifth), 95 to 100 % differ in at most 9 of 128 bits and correlate with at least 0.992, also of hands on one white wall.
Among 7 million pairs of different garments on one red cloth some differ in a single bit, and none reached 0.992."""

MIN_CONTRAST = 4.0
"""Standard deviation of 8-bit grey. Below it a thumbnail is noise."""

BANDS = np.array_split(np.random.default_rng(0).permutation(128), 4)
"""The bits of a hash in four groups. With at most 7 bits different, one group has at most one of them (pigeonhole). The
bits are shuffled: neighbours agree so often that groups of them would single out little."""

BLOCK = 1 << 18
"""Candidates compared at once."""


def difference_hash(grey: Image.Image) -> NDArray[np.uint64]:
    """128 bits, as (2,), of a picture of mode F: is an area lighter than its left, or its upper, neighbour?"""
    rows, columns = area_means(grey, width=9, height=8), area_means(grey, width=8, height=9)
    bits = np.concatenate([(rows[:, 1:] > rows[:, :-1]).ravel(), (columns[1:] > columns[:-1]).ravel()])
    return np.packbits(bits).view(np.uint64)


def thumbnail(grey: Image.Image) -> NDArray[np.uint8]:
    """(SIDE, SIDE) of a picture of mode F."""
    return np.rint(area_means(grey, width=SIDE, height=SIDE)).astype(np.uint8)


def area_means(grey: Image.Image, *, width: int, height: int) -> NDArray[np.float32]:
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX))


def similar_pairs(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Index pairs (P, 2) of similar pictures, from their hashes (N, 2) and thumbnails (N, SIDE, SIDE).

    Of pictures with the same hash only the first is compared with other hashes, the rest with it alone: a thousand copies
    are a thousand pairs, not half a million.
    """
    contrasty = np.flatnonzero(thumbnails.std(axis=(1, 2)) >= MIN_CONTRAST)
    distinct, first, group = np.unique(hashes[contrasty], axis=0, return_index=True, return_inverse=True)
    first = contrasty[first]
    leaders = first[group.reshape(-1)]
    followers = contrasty[leaders != contrasty]
    found = [alike(np.stack([leaders[leaders != contrasty], followers], axis=1), thumbnails)]
    for pairs in close_pairs(distinct):
        found.append(alike(first[pairs], thumbnails))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def close_pairs(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Index pairs of all hashes (N, 2) that differ in at most MAX_BITS bits, in blocks; a pair may come several times."""
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    for band in BANDS:
        keys = bits[:, band] @ (np.int64(1) << np.arange(len(band)))
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for flipped in (0, *(1 << np.arange(len(band)))):
            start = np.searchsorted(ordered, ordered ^ flipped, "left")
            end = np.searchsorted(ordered, ordered ^ flipped, "right")
            # Each pair once: an equal key further on, or the key without the bit to the one that has it.
            start = np.arange(1, len(ordered) + 1) if not flipped else np.where(ordered & flipped, end, start)
            for here, there in runs(start, end):
                pairs = np.stack([order[here], order[there]], axis=1)
                yield pairs[different_bits(hashes, pairs) <= MAX_BITS]


def runs(start: NDArray[np.int64], end: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Every (i, j) with start[i] <= j < end[i], as two arrays, about BLOCK at once."""
    counts = end - start
    [rows] = np.nonzero(counts)
    totals = np.cumsum(counts[rows])
    for block in np.split(rows, np.searchsorted(totals, np.arange(BLOCK, totals[-1], BLOCK))) if len(rows) else ():
        here = np.repeat(block, counts[block])
        offsets = np.cumsum(counts[block]) - counts[block]
        yield here, np.arange(len(here)) - np.repeat(offsets - start[block], counts[block])


def different_bits(hashes: NDArray[np.uint64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The Hamming distance of each pair."""
    different = hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]
    return ONES[different.view(np.uint16)].sum(axis=1)


ONES = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


def alike(pairs: NDArray[np.int64], thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The pairs whose thumbnails correlate."""
    kept = [np.empty((0, 2), np.int64)]
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        left, right = (standardised(thumbnails[block[:, side]]) for side in (0, 1))
        kept.append(block[np.einsum("ij,ij->i", left, right) >= MIN_CORRELATION])
    return np.concatenate(kept)


def standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As rows of mean 0 and length 1."""
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def groups(pairs: NDArray[np.int64]) -> list[list[int]]:
    """Indices that are connected by pairs, each group sorted."""
    members, ends = np.unique(pairs, return_inverse=True)
    left, right = ends.reshape(-1, 2).T
    root = np.arange(len(members))
    while True:
        before = root.copy()
        smallest = np.minimum(root[left], root[right])
        np.minimum.at(root, left, smallest)
        np.minimum.at(root, right, smallest)
        root = root[root]
        if np.array_equal(root, before):
            break
    order = np.argsort(root, kind="stable")
    parts = np.split(members[order], np.flatnonzero(np.diff(root[order])) + 1) if len(members) else []
    return [part.tolist() for part in parts]
