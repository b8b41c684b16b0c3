"""Classification data: `train/<class>/*` and `val/<class>/*`, a CSV with the columns path and label, or tar shards."""

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nextvit.data.samples import Packer, Samples
from nextvit.data.shards import CONTENTS, read_shards
from nextvit.errors import InputError, did_you_mean
from nextvit.preprocess import SUFFIXES

HELD_OUT_SHARE = 0.1

Found = tuple[str, str, str]  # split, path, class


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A classification dataset: which file belongs to which class and split."""

    root: Path
    classes: tuple[str, ...]
    """Sorted names; the index is the label."""
    splits: dict[str, Samples]
    """"train" and "val"."""

    def split(self, name: str) -> Samples:
        """The samples of a split; InputError where it does not exist."""
        if name not in self.splits:
            raise InputError(f"{self.root} has no split {name!r}; {did_you_mean(name, self.splits)}")
        return self.splits[name]


def read_dataset(root: str | Path) -> Dataset:
    """Read a class-folder tree, a CSV list, or the tar shards of `nextvit shard`.

    Without a `val` split, a tenth of `train` is held out. It is chosen by a hash of the file name, so that it is the
    same on every machine and grows with the data.

    Raises:
        InputError: nothing there, no images, an empty class, or a class in `val` that `train` lacks.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: no such folder; expected a dataset with train/<class>/*.jpg, or a CSV file")
    if (root / CONTENTS).is_file():
        classes, splits = read_shards(root)
    else:
        classes, splits = pack(read_csv(root) if root.is_file() else read_tree(root), root)
        if "val" not in splits:
            splits = hold_out(splits["train"], classes, root)
    return Dataset(root=root, classes=classes, splits=splits)


def pack(found: Iterable[Found], root: Path) -> tuple[tuple[str, ...], dict[str, Samples]]:
    """The classes, sorted, and the samples of each split, in the order in which they were found."""
    packers = {"train": Packer()}
    labels: dict[str, int] = {}  # in the order in which they come
    for split, path, label in found:
        packers.setdefault(split, Packer()).add(path, (labels.setdefault(label, len(labels)),))
    splits = {name: packer.samples() for name, packer in packers.items()}
    in_train = splits["train"].counts(len(labels))
    classes: tuple[str, ...] = tuple(sorted(label for label, number in labels.items() if in_train[number]))
    for label in sorted(labels.keys() - set(classes)):
        raise InputError(f"{root}: class {label!r} is in val but not in train; {did_you_mean(label, classes)}")
    if len(classes) < 2:
        raise InputError(f"{root}: train has the single class {', '.join(classes)!r}; a classifier needs at least two")
    index = {name: position for position, name in enumerate(classes)}
    new_labels = np.array([index[label] for label in labels], np.int32)
    return classes, {name: samples.relabelled(new_labels) for name, samples in splits.items()}


def hold_out(samples: Samples, classes: tuple[str, ...], root: Path) -> dict[str, Samples]:
    """Training samples as the splits train and val."""
    held_out = np.fromiter(map(is_held_out, samples.names()), np.bool_, len(samples))
    if not held_out.any():
        raise InputError(f"{root}: {len(samples)} images are too few to hold some out; add val/<class>/*")
    kept = samples.select(~held_out)
    for name, left in zip(classes, kept.counts(len(classes)), strict=True):
        if not left:
            raise InputError(f"{root}: every image of class {name!r} was held out for val; add more, or a val folder")
    return {"train": kept, "val": samples.select(held_out)}


def is_held_out(path: str | Path) -> bool:
    """Whether a file belongs to the tenth that is held out when there is no `val`."""
    name = os.path.basename(path)  # noqa: PTH119 (10 times faster)
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def read_tree(root: Path) -> Iterator[Found]:
    """The files of each split folder, by class, sorted."""
    check_layout(root)
    for split in (name for name in ("train", "val") if (root / name).is_dir()):
        count = 0
        for folder in class_folders(root / split):
            images = image_files(folder)
            if not images and split == "train":
                raise InputError(f"{folder}: class without images; add some or remove the folder")
            count += len(images)
            for path in images:
                yield split, path, folder.name
        if not count:
            raise InputError(f"{root / split}: no images; expected {split}/<class>/*.jpg (or .png, .webp, ...)")


def check_layout(root: Path) -> None:
    """Raise InputError with the way out for the common wrong layouts."""
    for name in ("valid", "validation", "dev"):
        if (root / name).is_dir() and not (root / "val").exists():
            raise InputError(f"{root / name}: rename it to 'val', or the validation images would not be used")
    if (root / "train").is_dir():
        return
    if (root / "images").is_dir():
        raise InputError(f"{root}: looks like detection or segmentation data; only classification is read so far")
    if any(root.glob("*.tar")):
        raise InputError(f"{root}: tar files without {CONTENTS}; only the shards that `nextvit shard` made can be read")
    if root.name in ("train", "val"):
        raise InputError(f"{root}: is one split of a dataset; pass the folder above it, {root.parent}")
    if any(list_images(folder) for folder in class_folders(root)):
        raise InputError(f"{root}: has no folder 'train'; move the class folders into {root / 'train'}")
    raise InputError(f"{root}: has no folder 'train'; expected train/<class>/*.jpg and, if you like, val/<class>/*")


def class_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones are left out."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def list_images(folder: Path) -> list[Path]:
    """All files below a folder whose suffix is an image's, sorted; hidden ones are left out, each folder counts once."""
    return [Path(path) for path in image_files(folder)]


def image_files(folder: Path) -> list[str]:
    """`list_images` as text: of a million files, a `Path` each would take a gigabyte."""
    found: list[str] = []
    visited: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link back
            folders.clear()
            continue
        visited.add(real)
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122 (10 times faster)
                found.append(f"{parent}{os.sep}{named(name, parent)}")
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206 (likewise)


def named(name: str, parent: str) -> str:
    """The name, if it can be written into results; InputError otherwise."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{parent}: the file name {os.fsencode(name)!r} is not UTF-8; rename it") from None
    return name


def read_csv(path: Path) -> Iterator[Found]:
    """Rows of `path,label` and, if present, `split`; paths are relative to the file."""
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path}: expected a first line with the columns path,label and optionally split; got {','.join(reader.fieldnames or ()) or 'an empty file'}"
                )
            for row in reader:
                if not row["path"] or not row["label"]:
                    raise InputError(f"{path}, line {reader.line_num}: path or label is empty")
                split = row.get("split") or "train"
                if split not in ("train", "val"):
                    raise InputError(f"{path}, line {reader.line_num}: split must be train or val, got {split!r}")
                image = os.path.join(path.parent, row["path"])  # noqa: PTH118 (10 times faster)
                if not os.path.isfile(image):  # noqa: PTH113 (likewise)
                    raise InputError(f"{path}, line {reader.line_num}: no such file: {image}")
                seen.add(split)
                yield split, image, row["label"]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if "train" not in seen:
        raise InputError(f"{path}: no rows for the split train")
