"""Finding nearly equal images without comparing each with each."""

import numpy as np

from nextvit.check.similar import (
    MAX_BITS,
    SIDE,
    expand_ranges,
    find_close_hashes,
    find_similar_pairs,
    select_spanning,
)


def random_hashes(count: int, generator: np.random.Generator) -> np.ndarray:
    return generator.integers(0, 1 << 64, (count, 2), dtype=np.uint64)


def flip(value: np.ndarray, bits: list[int]) -> np.ndarray:
    """A hash (2,) with some of its 128 bits turned over."""
    unpacked = np.unpackbits(value.view(np.uint8))
    unpacked[bits] ^= 1
    return np.packbits(unpacked).view(np.uint64)


def test_close_hashes_are_those_that_comparing_all_finds():
    generator = np.random.default_rng(0)
    base = random_hashes(60, generator)
    near = [
        flip(value, generator.choice(128, count, replace=False).tolist())
        for value in base
        for count in range(1, MAX_BITS + 4)
    ]
    hashes = np.concatenate([base, near])
    bits = np.unpackbits(hashes.view(np.uint8), axis=1).astype(int)
    expected = {
        (left, right)
        for left in range(len(bits))
        for right in range(left + 1, len(bits))
        if np.abs(bits[left] - bits[right]).sum() <= MAX_BITS
    }
    found = {tuple(sorted(pair)) for block in find_close_hashes(hashes) for pair in block.tolist()}
    assert found == expected
    assert len(expected) > 60 * MAX_BITS


def test_runs_cover_every_combination_once_in_blocks(monkeypatch):
    monkeypatch.setattr("nextvit.check.similar.BLOCK", 4)
    start, end = np.array([0, 5, 2, 1]), np.array([3, 5, 9, 2])
    blocks = list(expand_ranges(start, end))
    assert len(blocks) > 1
    pairs = [pair for here, there in blocks for pair in zip(here.tolist(), there.tolist(), strict=True)]
    assert pairs == [(row, column) for row in range(4) for column in range(start[row], end[row])]


def test_the_thumbnails_decide_and_flat_ones_are_like_nothing():
    generator = np.random.default_rng(1)
    thumbnail = generator.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    lighter = (thumbnail * 0.5 + 100).astype(np.uint8)
    other = generator.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    flat = np.full((SIDE, SIDE), 7, np.uint8)
    [one] = random_hashes(1, generator)
    hashes = np.stack([one, flip(one, [3]), one, one, one])
    assert find_similar_pairs(hashes, np.stack([thumbnail, lighter, other, flat, flat])).tolist() == [[0, 1]]


def test_many_images_with_one_hash_are_a_pair_each():
    generator = np.random.default_rng(2)
    hashes = np.repeat(random_hashes(1, generator), 500, axis=0)
    thumbnails = np.repeat(generator.integers(0, 256, (1, SIDE, SIDE), dtype=np.uint8), 500, axis=0)
    pairs = find_similar_pairs(hashes, thumbnails)
    assert pairs.tolist() == [[0, other] for other in range(1, 500)]
    assert len(list(select_spanning(pairs))) == 499


def test_of_images_that_are_all_alike_as_many_pairs_are_left_as_connect_them():
    pairs = np.array([[7, 9], [2, 30], [9, 11], [30, 4], [7, 11], [5, 6], [2, 4]])
    assert list(select_spanning(pairs)) == [(7, 9), (2, 30), (9, 11), (30, 4), (5, 6)]
    assert list(select_spanning(np.empty((0, 2), np.int64))) == []
    all_pairs = np.array([[i, j] for i in range(200) for j in range(i + 1, 200)])
    assert len(list(select_spanning(all_pairs))) == 199
