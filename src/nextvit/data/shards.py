"""Tar shards in the WebDataset layout, with an index of the position of each member, for random access.

DIR/shards.json          classes, splits, the sizes of the shards, the SHA-256 of the indices
DIR/train.index.npz      one row for each sample: name, classes, shard, offset, size, SHA-256
DIR/train-000000.tar     00000017-cat.jpg, the file's bytes unchanged; 00000017-cat.cls, the index of its class
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.data.samples import RaggedArray, Sample, Samples, SamplesBuilder, TarLocations
from nextvit.errors import InputError, did_you_mean
from nextvit.files.arrays import Arrays, read_arrays, require_arrays
from nextvit.files.durable import compute_sha256, durable_folder
from nextvit.files.records import from_plain, to_plain
from nextvit.files.structured_text import read_json
from nextvit.image.reading import SUFFIXES

CONTENTS = "shards.json"
VERSION = 1
MAX_INDEX_BYTES = 2**32
"""Of the index of a split, some hundred bytes for each image."""


ONE_LABEL = {"classification": True, "multilabel": False, "distillation": False}
"""For each task whose datasets can be packed: whether an image has exactly one label, which is then written as .cls."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split in `shards.json`."""

    images: int
    index_sha256: str
    shards: dict[str, int]
    """The sizes of the tar files in bytes, by name, in order."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The content of `shards.json`."""

    version: int = VERSION
    task: str = "classification"
    """A name of `ONE_LABEL`."""
    classes: tuple[str, ...]
    splits: dict[str, Any]


def write_shards(
    splits: dict[str, Samples],
    classes: tuple[str, ...],
    out: Path,
    *,
    task: str,
    shard_bytes: int,
    written: Callable[[str, int], object],
) -> dict[str, Split]:
    """Copy samples into a new folder of shards; after an error it does not exist.

    The index keeps the order of the samples. In the tar files, training samples are shuffled, always in the same way,
    for readers that read sequentially.

    Args:
        shard_bytes: a shard that has reached this size is closed.
        written: called with the name and number of images of each finished shard.

    Raises:
        InputError: `out` holds something, a file cannot be read, or the disk is full.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not an empty folder; choose another --out")
    one_label = ONE_LABEL[task]
    done: dict[str, Split] = {}
    with durable_folder(out) as folder:
        for name, samples in splits.items():
            # RandomState, unlike default_rng, promises the same order with every version of NumPy.
            order = np.random.RandomState(0).permutation(len(samples)) if name == "train" else np.arange(len(samples))
            locations, shards = make_empty_locations(len(samples)), dict[str, int]()
            while len(order):
                path = folder / f"{name}-{len(shards):06d}.tar"
                count = write_shard(
                    path, samples, order, shard_bytes=shard_bytes, one_label=one_label, locations=locations
                )
                locations.archive[order[:count]] = len(shards)
                shards[path.name] = path.stat().st_size
                order = order[count:]
                written(path.name, count)
            index_sha256 = write_index(index_path(folder, name), samples, locations)
            done[name] = Split(images=len(samples), index_sha256=index_sha256, shards=shards)
        plain = to_plain(
            Contents(task=task, classes=classes, splits={name: to_plain(split) for name, split in done.items()})
        )
        (folder / CONTENTS).write_text(json.dumps(plain, indent=1, ensure_ascii=False), encoding="utf-8")
    return done


def write_shard(
    path: Path,
    samples: Samples,
    order: NDArray[np.int64],
    *,
    shard_bytes: int,
    one_label: bool,
    locations: TarLocations,
) -> int:
    """Write samples in the given order until the shard is full, and fill their rows of `locations`.

    Returns:
        The number of samples written.
    """
    count = 0
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as shard:
        for index in map(int, order):
            sample = samples[index]
            content = sample.read()
            image = member_name(index, sample.path)
            locations.offset[index] = append(shard, file, image, content)
            locations.size[index] = len(content)
            locations.sha256[index] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
            append(shard, file, *label_member(image, sample, one_label=one_label))
            count += 1
            if file.tell() >= shard_bytes:
                break
    return count


def member_name(index: int, path: Path) -> str:
    """A unique name that shows the source of the sample. It has one dot, because readers split names at the first."""
    suffix = path.suffix.lower()
    stem = path.stem.replace(".", "_")
    return f"{index:08d}-{stem}{suffix if suffix in SUFFIXES else '.img'}"


def label_member(image: str, sample: Sample, *, one_label: bool) -> tuple[str, bytes]:
    """Name and content of the file with an image's class or classes."""
    key = image.partition(".")[0]
    if one_label:
        return f"{key}.cls", str(sample.label).encode()
    return f"{key}.json", json.dumps(sample.labels).encode()


def append(shard: tarfile.TarFile, file: io.BufferedWriter, name: str, content: bytes) -> int:
    """Add a member without owner and time; return the position of its content in the file."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))
    padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return file.tell() - padded


def make_empty_locations(count: int) -> TarLocations:
    """Locations of `count` samples, to be filled in."""
    offset, size = np.zeros(count, np.int64), np.zeros(count, np.int64)
    return TarLocations((), np.zeros(count, np.int32), offset, size, np.zeros((count, 32), np.uint8))


def index_path(folder: Path, split: str) -> Path:
    """The index file of a split."""
    return folder / f"{split}.index.npz"


def write_index(path: Path, samples: Samples, locations: TarLocations) -> str:
    """Write the index of a split; return the SHA-256 of the file."""
    names = SamplesBuilder()
    for index, name in enumerate(samples.names()):
        names.add(member_name(index, Path(name)), ())
    packed = names.build().packed_names
    np.savez(
        path,
        names=packed.values,
        name_ends=packed.offsets,
        labels=samples.packed_labels.values,
        label_ends=samples.packed_labels.offsets,
        shard=locations.archive,
        offset=locations.offset,
        size=locations.size,
        sha256=locations.sha256,
    )
    return compute_sha256(path)


def read_shards(root: Path, wanted: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Samples], str]:
    """Classes, splits and task of a folder that `write_shards` made. No image is read; sizes and indices are compared.

    Args:
        root: the folder.
        wanted: the splits to read; of several, train and val must be there.

    Raises:
        InputError: a file is missing, cut off or changed.
    """
    contents = read_contents(root / CONTENTS)
    splits: dict[str, Samples] = {}
    for name in wanted:
        if name not in contents.splits:
            if name == "test" and len(wanted) > 1:
                continue
            raise InputError(f"{root / CONTENTS}: lacks the split {name!r}")
        split = from_plain(Split, contents.splits[name], what=f"{root / CONTENTS}, {name}")
        if split.images < 0 or any(Path(shard).name != shard for shard in split.shards):
            raise InputError(f"{root / CONTENTS}, {name}: damaged (shards are named by files of this folder)")
        check_sizes(root, split.shards.items())
        splits[name] = read_index(index_path(root, name), split)
        labels = splits[name].packed_labels.values
        if len(labels) and labels.max() >= len(contents.classes):
            raise InputError(f"{root / CONTENTS}: changed, it has fewer classes than the index of {name}")
    return contents.classes, splits, contents.task


def read_contents(path: Path) -> Contents:
    """`shards.json`."""
    contents = from_plain(Contents, read_json(path), what=str(path))
    if contents.version != VERSION:
        raise InputError(f"{path}: has version {contents.version}; this nextvit reads {VERSION}, make the shards again")
    if contents.task not in ONE_LABEL:
        raise InputError(f"{path}: unknown task {contents.task!r}; {did_you_mean(contents.task, ONE_LABEL)}")
    return contents


def check_sizes(root: Path, shards: Iterable[tuple[str, int]]) -> None:
    """Raise InputError naming the first tar file that is missing or has another size."""
    for name, size in shards:
        path = root / name
        if not path.is_file():
            raise InputError(f"{path}: missing, {root / CONTENTS} lists it; copy it again")
        if path.stat().st_size != size:
            raise InputError(f"{path}: cut off or changed, it has {path.stat().st_size} bytes instead of {size}")


def read_index(path: Path, split: Split) -> Samples:
    """The samples of a split."""
    if not path.is_file():
        raise InputError(f"{path}: missing; copy it again")
    if compute_sha256(path) != split.index_sha256:
        raise InputError(f"{path}: damaged or changed, its SHA-256 is not the recorded one; copy it again")
    index = read_arrays(path, max_bytes=MAX_INDEX_BYTES)
    check_index(index, split, path)
    locations = TarLocations(
        tuple(path.parent / name for name in split.shards),
        index["shard"],
        index["offset"],
        index["size"],
        index["sha256"],
    )
    names, labels = (
        RaggedArray(index["names"], index["name_ends"]),
        RaggedArray(index["labels"], index["label_ends"]),
    )
    return Samples(names, labels, locations)


def check_index(index: Arrays, split: Split, path: Path) -> None:
    """Raise InputError unless each sample of an index has a name, labels, and a place inside one of the shards."""
    count = split.images
    rows = {"shard": ("i", (count,)), "offset": ("i", (count,)), "size": ("i", (count,)), "sha256": ("u", (count, 32))}
    packed = {"names": ("u", (None,)), "labels": ("i", (None,))}
    ends = {"name_ends": ("i", (count + 1,)), "label_ends": ("i", (count + 1,))}
    require_arrays(index, {**rows, **packed, **ends}, what=path)
    for values, offsets in (("names", "name_ends"), ("labels", "label_ends")):
        steps = np.diff(index[offsets])
        if index[offsets][0] != 0 or index[offsets][-1] != len(index[values]) or (steps < 0).any():
            raise InputError(f"{path}: damaged ({offsets} do not divide {values})")
    sizes = np.array([*split.shards.values()], np.int64)
    shard, offset, size = (index[name].astype(np.int64) for name in ("shard", "offset", "size"))
    if (shard < 0).any() or (shard >= len(sizes)).any():
        raise InputError(f"{path}: damaged (a sample is in a shard that does not exist)")
    if (offset < 0).any() or (size < 0).any() or (size > sizes[shard] - offset).any():
        raise InputError(f"{path}: damaged (a sample is outside of its shard)")
    if len(index["labels"]) and index["labels"].min() < 0:
        raise InputError(f"{path}: damaged (a label is negative)")
