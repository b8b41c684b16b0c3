"""Lists of samples in packed arrays: a million pictures cost their names and labels, and no Python object each.

Python objects also carry counts of their users; a worker process that only reads them still writes those counts, and so
slowly copies the memory that it shares with its parent. Arrays stay shared.
"""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from nextvit.files.tar_members import Member
from nextvit.image.reading import DecodeError, reason


@dataclass(frozen=True)
class Sample:
    """One picture and the indices of its classes: exactly one, but for multi-label data and for data with objects."""

    path: Path
    labels: tuple[int, ...]
    member: Member | None = None
    """Where its bytes lie, if that is inside a tar file."""

    @property
    def label(self) -> int:
        """The class of a picture that has one."""
        [label] = self.labels
        return label

    def read(self) -> bytes:
        """The bytes of its file.

        Raises:
            DecodeError: the file cannot be read, or is not what the index of its tar file recorded.
        """
        try:
            return self.member.read() if self.member else self.path.read_bytes()
        except OSError as error:
            raise DecodeError(f"{self.path}: {reason(error)}") from None


@dataclass(frozen=True)
class Rows:
    """Rows of different lengths in one array: row i is `values[ends[i] : ends[i + 1]]`."""

    values: NDArray[Any]
    ends: NDArray[np.int64]
    """(N + 1,), from 0."""

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self.values[self.ends[index] : self.ends[index + 1]]

    def select(self, chosen: NDArray[np.bool_]) -> "Rows":
        """The rows where `chosen`, (N,), is true."""
        lengths = np.diff(self.ends)
        return Rows(self.values[np.repeat(chosen, lengths)], np.append(0, np.cumsum(lengths[chosen])))

    def followed_by(self, other: "Rows") -> "Rows":
        ends = np.concatenate([self.ends, self.ends[-1] + other.ends[1:]])
        return Rows(np.concatenate([self.values, other.values]), ends)


@dataclass(frozen=True)
class Places:
    """Where in which tar file the bytes of each sample lie: arrays of N rows. An archive of -1: in a file of its own."""

    archives: tuple[Path, ...]
    archive: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    sha256: NDArray[np.uint8]
    """(N, 32)"""

    def __getitem__(self, index: int) -> Member | None:
        if self.archive[index] < 0:
            return None
        archive = self.archives[self.archive[index]]
        return Member(archive, int(self.offset[index]), int(self.size[index]), self.sha256[index].tobytes())

    def followed_by_files(self, count: int) -> "Places":
        """With rows for files of their own behind."""
        none = np.zeros(count, np.int64)
        return Places(
            self.archives,
            np.concatenate([self.archive, np.full(count, -1, np.int32)]),
            np.concatenate([self.offset, none]),
            np.concatenate([self.size, none]),
            np.concatenate([self.sha256, np.zeros((count, 32), np.uint8)]),
        )


class Samples(Sequence[Sample]):
    """An immutable list of samples."""

    def __init__(self, names: Rows, labels: Rows, places: Places | None = None) -> None:
        """Take packed parts: the bytes of the paths, class indices, and where the bytes lie if in tar files.

        With `places`, a path is relative to its tar file.
        """
        self.packed_names, self.packed_labels, self._places = names, labels, places

    @classmethod
    def pack(cls, items: Iterable[tuple[str | Path, tuple[int, ...]]]) -> "Samples":
        """Pack paths with the indices of their classes."""
        packer = Packer()
        for path, labels in items:
            packer.add(path, labels)
        return packer.samples()

    def __len__(self) -> int:
        return len(self.packed_names)

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
        labels = tuple(self.packed_labels[index].tolist())
        member = self._places[index] if self._places else None
        return Sample(Path(member.archive if member else "", self._name(index)), labels, member)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def _name(self, index: int) -> str:
        return os.fsdecode(self.packed_names[index].tobytes())

    def names(self) -> Iterator[str]:
        """The paths as text, which is faster than making a `Sample` of each; within its tar file, where there is one."""
        return (self._name(index) for index in range(len(self)))

    def select(self, chosen: NDArray[np.bool_]) -> "Samples":
        """The samples in files where `chosen`, (N,), is true."""
        assert self._places is None, "samples in tar files come in splits"
        return Samples(self.packed_names.select(chosen), self.packed_labels.select(chosen))

    def followed_by(self, files: "Samples") -> "Samples":
        """These samples, and then others that are files of their own."""
        assert files._places is None, "only files can follow"
        names, labels = (
            self.packed_names.followed_by(files.packed_names),
            self.packed_labels.followed_by(files.packed_labels),
        )
        return Samples(names, labels, self._places.followed_by_files(len(files)) if self._places else None)

    def relabelled(self, new: NDArray[np.int32]) -> "Samples":
        """The same with class `new[c]` instead of c."""
        labels = Rows(new[self.packed_labels.values], self.packed_labels.ends)
        return Samples(self.packed_names, labels, self._places)

    def counts(self, num_classes: int) -> NDArray[np.int64]:
        """How many samples each class has: (num_classes,)."""
        return np.bincount(self.packed_labels.values, minlength=num_classes).astype(np.int64)

    def have_one_label(self) -> bool:
        """Whether each sample has exactly one class."""
        return bool((np.diff(self.packed_labels.ends) == 1).all())

    def labels(self) -> NDArray[np.int32]:
        """The class of each sample: (N,). Only for data with one class each."""
        assert self.have_one_label(), "a sample has several labels or none"
        return self.packed_labels.values

    def targets(self, indices: Sequence[int], num_classes: int) -> NDArray[np.float32]:
        """One row of zeros and ones for each index: (len(indices), num_classes)."""
        rows = np.zeros((len(indices), num_classes), np.float32)
        for row, index in zip(rows, indices, strict=True):
            row[self.packed_labels[index]] = 1
        return rows


class Packer:
    """Packs paths and labels one by one, as they are found."""

    def __init__(self) -> None:
        self._names, self._name_ends = bytearray(), array("q", [0])
        self._labels, self._label_ends = array("i"), array("q", [0])

    def add(self, path: str | Path, labels: tuple[int, ...]) -> None:
        self._names += os.fsencode(path)
        self._name_ends.append(len(self._names))
        self._labels.extend(labels)
        self._label_ends.append(len(self._labels))

    def samples(self) -> Samples:
        """What was added so far."""
        names = Rows(np.array(self._names, np.uint8), np.array(self._name_ends, np.int64))
        return Samples(names, Rows(np.array(self._labels, np.int32), np.array(self._label_ends, np.int64)))
