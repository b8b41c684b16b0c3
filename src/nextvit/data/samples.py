"""Lists of samples in packed arrays: a million pictures cost their names and labels, and no Python object each.

Python objects also carry counts of their users; a worker process that only reads them still writes those counts, and so
slowly copies the memory that it shares with its parent. Arrays stay shared.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from nextvit.preprocess import DecodeError, reason


@dataclass(frozen=True)
class Sample:
    """One picture and the indices of its classes: exactly one, but for multi-label data."""

    path: Path
    labels: tuple[int, ...]

    @property
    def label(self) -> int:
        """The class of a picture that has one."""
        [label] = self.labels
        return label

    def read(self) -> bytes:
        """The bytes of its file.

        Raises:
            DecodeError: the file cannot be read.
        """
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DecodeError(f"{self.path}: {reason(error)}") from None


class Samples(Sequence[Sample]):
    """An immutable list of samples."""

    def __init__(self, items: Iterable[tuple[Path, tuple[int, ...]]]) -> None:
        """Pack paths with the indices of their classes."""
        names, name_ends = bytearray(), [0]
        labels: list[int] = []
        label_ends = [0]
        for path, classes in items:
            names += os.fsencode(path)
            name_ends.append(len(names))
            labels += classes
            label_ends.append(len(labels))
        self._names = bytes(names)
        self._name_ends = np.array(name_ends, np.int64)
        self._labels = np.array(labels, np.int32)
        self._label_ends = np.array(label_ends, np.int64)

    def __len__(self) -> int:
        return len(self._name_ends) - 1

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        name = self._names[self._name_ends[index] : self._name_ends[index + 1]]
        labels = self._labels[self._label_ends[index] : self._label_ends[index + 1]]
        return Sample(Path(os.fsdecode(name)), tuple(labels.tolist()))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def counts(self, num_classes: int) -> NDArray[np.int64]:
        """How many samples each class has: (num_classes,)."""
        return np.bincount(self._labels, minlength=num_classes).astype(np.int64)

    def labels(self) -> NDArray[np.int32]:
        """The class of each sample: (N,). Only for data with one class each."""
        assert len(self._labels) == len(self), "a sample has several labels or none"
        return self._labels

    def targets(self, indices: Sequence[int], num_classes: int) -> NDArray[np.float32]:
        """One row of zeros and ones for each index: (len(indices), num_classes)."""
        rows = np.zeros((len(indices), num_classes), np.float32)
        for row, index in zip(rows, indices, strict=True):
            row[self._labels[self._label_ends[index] : self._label_ends[index + 1]]] = 1
        return rows
