"""Packed lists of samples."""

from pathlib import Path

import numpy as np
import pytest

from nextvit.data.samples import Sample, Samples
from nextvit.image.reading import DecodeError

ITEMS = [(Path("a/\u00e9.png"), (1,)), (Path("b.png"), (0,)), (Path("c/d.png"), (2,))]


def test_packed_samples_come_back_as_they_were():
    samples = Samples.pack(ITEMS)
    assert list(samples) == [Sample(path, labels) for path, labels in ITEMS]
    assert len(samples) == 3 and samples[-1] == samples[2] and samples[1:] == list(samples)[1:]
    assert samples[0].label == 1
    with pytest.raises(IndexError):
        samples[3]


def test_labels_are_counted_and_become_rows():
    assert Samples.pack(ITEMS).counts(4).tolist() == [1, 1, 1, 0]
    assert Samples.pack(ITEMS).labels().tolist() == [1, 0, 2]
    several = Samples.pack([(Path("a"), (0, 2)), (Path("b"), ()), (Path("c"), (1,))])
    assert several.counts(3).tolist() == [1, 1, 1]
    assert np.array_equal(several.targets([2, 0, 1], 3), [[0, 1, 0], [1, 0, 1], [0, 0, 0]])


def test_a_file_that_is_gone_is_named(tmp_path: Path):
    with pytest.raises(DecodeError, match=r"gone\.png: no such file"):
        Sample(tmp_path / "gone.png", (0,)).read()


def test_chosen_and_relabelled_samples_keep_their_order():
    samples = Samples.pack(ITEMS)
    assert list(samples.select(np.array([True, False, True]))) == [samples[0], samples[2]]
    assert samples.map_labels(np.array([5, 6, 7], np.int32)).labels().tolist() == [6, 5, 7]
    assert list(samples.names()) == [str(path) for path, _ in ITEMS]
    assert len(samples.select(np.zeros(3, bool))) == 0


def test_packing_keeps_no_object_for_a_sample():
    import tracemalloc

    tracemalloc.start()
    samples = Samples.pack((f"train/class{number % 7}/{number:08d}.jpg", (number % 7,)) for number in range(20_000))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    name, numbers = len("train/class0/00000000.jpg"), 8 + 4 + 8  # end of name, label, end of labels
    assert kept < len(samples) * (name + numbers) * 1.1
    assert peak < kept * 3
