"""Lists of samples in packed arrays: a million images take only the memory of their names and labels.

Python objects would need more, and they hold reference counts: a worker process that only reads them still writes the
counts, and so slowly copies the memory that it shares with its parent. Arrays stay shared.
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
from nextvit.image.reading import DecodeError, read_content, reason


@dataclass(frozen=True)
class Sample:
    """One image and its class indices: exactly one in classification, any number in other tasks."""

    path: Path
    labels: tuple[int, ...]
    member: Member | None = None
    """The position of its bytes, if they are inside a tar file."""

    @property
    def label(self) -> int:
        """The class of an image that has exactly one."""
        [label] = self.labels
        return label

    def read(self) -> bytes:
        """Read the bytes of its file.

        Raises:
            DecodeError: the file cannot be read, or is not what the index of its tar file recorded.
        """
        if not self.member:
            return read_content(self.path)
        try:
            return self.member.read()
        except OSError as error:
            raise DecodeError(f"{self.path}: {reason(error)}") from None


@dataclass(frozen=True)
class RaggedArray:
    """Rows of different lengths in one array: row i is `values[offsets[i] : offsets[i + 1]]`."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    """(N + 1,), starting with 0."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def select(self, chosen: NDArray[np.bool_]) -> "RaggedArray":
        """The rows where `chosen`, (N,), is true."""
        lengths = np.diff(self.offsets)
        return RaggedArray(self.values[np.repeat(chosen, lengths)], np.append(0, np.cumsum(lengths[chosen])))

    def concat(self, other: "RaggedArray") -> "RaggedArray":
        """These rows, then those of another array."""
        offsets = np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]])
        return RaggedArray(np.concatenate([self.values, other.values]), offsets)


@dataclass(frozen=True)
class TarLocations:
    """Where in which tar file the bytes of each of N samples are."""

    archives: tuple[Path, ...]
    archive: NDArray[np.int32]
    """(N,), the index of the tar file; -1: the sample is a file of its own."""
    offset: NDArray[np.int64]
    """(N,), of the first byte in the tar file."""
    size: NDArray[np.int64]
    """(N,), in bytes."""
    sha256: NDArray[np.uint8]
    """(N, 32)"""

    def __getitem__(self, index: int) -> Member | None:
        if self.archive[index] < 0:
            return None
        archive = self.archives[self.archive[index]]
        return Member(archive, int(self.offset[index]), int(self.size[index]), self.sha256[index].tobytes())

    def concat_files(self, count: int) -> "TarLocations":
        """These locations, then `count` of samples that are files of their own."""
        none = np.zeros(count, np.int64)
        return TarLocations(
            self.archives,
            np.concatenate([self.archive, np.full(count, -1, np.int32)]),
            np.concatenate([self.offset, none]),
            np.concatenate([self.size, none]),
            np.concatenate([self.sha256, np.zeros((count, 32), np.uint8)]),
        )


class Samples(Sequence[Sample]):
    """An immutable list of samples."""

    def __init__(self, names: RaggedArray, labels: RaggedArray, locations: TarLocations | None = None) -> None:
        """Make a list from packed parts.

        Args:
            names: the bytes of the paths; with `locations`, a path is relative to its tar file.
            labels: class indices.
            locations: where the bytes are, for samples in tar files.
        """
        self.packed_names, self.packed_labels, self._locations = names, labels, locations

    @classmethod
    def pack(cls, items: Iterable[tuple[str | Path, tuple[int, ...]]]) -> "Samples":
        """Pack paths with the indices of their classes."""
        builder = SamplesBuilder()
        for path, labels in items:
            builder.add(path, labels)
        return builder.build()

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
        member = self._locations[index] if self._locations else None
        return Sample(Path(member.archive if member else "", self._name(index)), labels, member)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def _name(self, index: int) -> str:
        return os.fsdecode(self.packed_names[index].tobytes())

    def names(self) -> Iterator[str]:
        """The paths as text, inside tar files where there are some; faster than making a `Sample` of each."""
        return (self._name(index) for index in range(len(self)))

    def select(self, chosen: NDArray[np.bool_]) -> "Samples":
        """The samples in files where `chosen`, (N,), is true."""
        assert self._locations is None, "samples in tar files come in splits"
        return Samples(self.packed_names.select(chosen), self.packed_labels.select(chosen))

    def concat(self, files: "Samples") -> "Samples":
        """These samples, then others that are files of their own."""
        assert files._locations is None, "only files can follow"
        names, labels = (
            self.packed_names.concat(files.packed_names),
            self.packed_labels.concat(files.packed_labels),
        )
        return Samples(names, labels, self._locations.concat_files(len(files)) if self._locations else None)

    def map_labels(self, new: NDArray[np.int32]) -> "Samples":
        """The same samples with class `new[c]` instead of c."""
        labels = RaggedArray(new[self.packed_labels.values], self.packed_labels.offsets)
        return Samples(self.packed_names, labels, self._locations)

    def counts(self, num_classes: int) -> NDArray[np.int64]:
        """The number of samples of each class: (num_classes,)."""
        return np.bincount(self.packed_labels.values, minlength=num_classes).astype(np.int64)

    def have_one_label(self) -> bool:
        """Whether each sample has exactly one class."""
        return bool((np.diff(self.packed_labels.offsets) == 1).all())

    def labels(self) -> NDArray[np.int32]:
        """The class of each sample: (N,). Only for samples with exactly one class each."""
        assert self.have_one_label(), "a sample has several labels or none"
        return self.packed_labels.values

    def targets(self, indices: Sequence[int], num_classes: int) -> NDArray[np.float32]:
        """Multi-hot targets (len(indices), num_classes), one row for each index."""
        rows = np.zeros((len(indices), num_classes), np.float32)
        for row, index in zip(rows, indices, strict=True):
            row[self.packed_labels[index]] = 1
        return rows


class SamplesBuilder:
    """Packs paths and labels one by one."""

    def __init__(self) -> None:
        self._names, self._name_ends = bytearray(), array("q", [0])
        self._labels, self._label_ends = array("i"), array("q", [0])

    def add(self, path: str | Path, labels: tuple[int, ...]) -> None:
        """Add a sample: its path and class indices."""
        self._names += os.fsencode(path)
        self._name_ends.append(len(self._names))
        self._labels.extend(labels)
        self._label_ends.append(len(self._labels))

    def build(self) -> Samples:
        """The samples added so far."""
        names = RaggedArray(np.array(self._names, np.uint8), np.array(self._name_ends, np.int64))
        return Samples(names, RaggedArray(np.array(self._labels, np.int32), np.array(self._label_ends, np.int64)))
