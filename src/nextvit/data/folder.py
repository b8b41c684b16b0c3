"""Classification data: `train/<class>/*` and `val/<class>/*`, or a CSV with the columns path and label."""

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from nextvit.card import TaskName
from nextvit.data.label_list import has_label_lists, read_label_list
from nextvit.data.samples import Samples
from nextvit.errors import InputError, did_you_mean
from nextvit.preprocess import SUFFIXES

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A classification dataset: which file belongs to which classes and split."""

    root: Path
    classes: tuple[str, ...]
    """Sorted names; the index is the label."""
    splits: dict[str, Samples]
    """"train" and "val"."""
    task: TaskName = "classification"
    """"multilabel" where an image may have several classes, or none."""

    def split(self, name: str) -> Samples:
        """The samples of a split; InputError where it does not exist."""
        if name not in self.splits:
            raise InputError(f"{self.root} has no split {name!r}; {did_you_mean(name, self.splits)}")
        return self.splits[name]


def read_dataset(root: str | Path) -> Dataset:
    """Read a class-folder tree or a CSV list; without a `val` split, a tenth of `train` is held out.

    The tenth is chosen by a hash of the file name, so that it is the same on every machine and grows with the data.

    Raises:
        InputError: nothing there, no images, an empty class, or a class in `val` that `train` lacks.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: no such folder; expected a dataset with train/<class>/*.jpg, or a CSV file")
    if root.is_file() and has_label_lists(root):
        return multi_label_dataset(root)
    named = read_csv(root) if root.is_file() else read_tree(root)
    classes: tuple[str, ...] = tuple(sorted({label for _, label in named["train"]}))
    for label in sorted({label for _, label in named.get("val", [])} - set(classes)):
        raise InputError(f"{root}: class {label!r} is in val but not in train; {did_you_mean(label, classes)}")
    if len(classes) < 2:
        raise InputError(f"{root}: train has the single class {', '.join(classes)!r}; a classifier needs at least two")
    index = {name: position for position, name in enumerate(classes)}
    if "val" not in named:
        held_out = [(path, label) for path, label in named["train"] if is_held_out(path)]
        if not held_out:
            raise InputError(f"{root}: {len(named['train'])} images are too few to hold some out; add val/<class>/*")
        named["val"] = held_out
        named["train"] = [(path, label) for path, label in named["train"] if not is_held_out(path)]
    splits = {name: Samples((path, (index[label],)) for path, label in listed) for name, listed in named.items()}
    for name, left in zip(classes, splits["train"].counts(len(classes)), strict=True):
        if not left:
            raise InputError(f"{root}: every image of class {name!r} was held out for val; add more, or a val folder")
    return Dataset(root=root, classes=classes, splits=splits)


def is_held_out(path: Path) -> bool:
    """Whether a file belongs to the tenth that is held out when there is no `val`."""
    digest = hashlib.sha256(os.fsencode(path.name)).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def read_tree(root: Path) -> dict[str, list[tuple[Path, str]]]:
    """Files and class names of each split folder, sorted."""
    check_layout(root)
    found: dict[str, list[tuple[Path, str]]] = {}
    for split in (name for name in ("train", "val") if (root / name).is_dir()):
        found[split] = []
        for folder in class_folders(root / split):
            images = list_images(folder)
            if not images and split == "train":
                raise InputError(f"{folder}: class without images; add some or remove the folder")
            found[split] += [(path, folder.name) for path in images]
        if not found[split]:
            raise InputError(f"{root / split}: no images; expected {split}/<class>/*.jpg (or .png, .webp, ...)")
    return found


def check_layout(root: Path) -> None:
    """Raise InputError with the way out for the common wrong layouts."""
    for name in ("valid", "validation", "dev"):
        if (root / name).is_dir() and not (root / "val").exists():
            raise InputError(f"{root / name}: rename it to 'val', or the validation images would not be used")
    if (root / "train").is_dir():
        return
    if (root / "images").is_dir():
        raise InputError(f"{root}: looks like detection or segmentation data; only classification is read so far")
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
    found: list[Path] = []
    visited: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link back
            folders.clear()
            continue
        visited.add(real)
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122 (10 times faster)
                found.append(Path(parent) / named(name, parent))
    return sorted(found)


def named(name: str, parent: str) -> str:
    """The name, if it can be written into results; InputError otherwise."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{parent}: the file name {os.fsencode(name)!r} is not UTF-8; rename it") from None
    return name


def read_csv(path: Path) -> dict[str, list[tuple[Path, str]]]:
    """Rows of `path,label` and, if present, `split`; paths are relative to the file."""
    found: dict[str, list[tuple[Path, str]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path}: expected a first line with the columns path,label (or path,labels) and optionally split; got {','.join(reader.fieldnames or ()) or 'an empty file'}"
                )
            for row in reader:
                if not row["path"] or not row["label"]:
                    raise InputError(f"{path}, line {reader.line_num}: path or label is empty")
                split = row.get("split") or "train"
                if split not in ("train", "val"):
                    raise InputError(f"{path}, line {reader.line_num}: split must be train or val, got {split!r}")
                image = path.parent / row["path"]
                if not image.is_file():
                    raise InputError(f"{path}, line {reader.line_num}: no such file: {image}")
                found.setdefault(split, []).append((image, row["label"]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if "train" not in found:
        raise InputError(f"{path}: no rows for the split train")
    return found


def multi_label_dataset(path: Path) -> Dataset:
    """The dataset of a CSV file with the column labels; held out and refused as for one class an image."""
    listed = read_label_list(path)
    held_out = "val" not in listed
    if held_out:
        listed["val"] = [(image, labels) for image, labels in listed["train"] if is_held_out(image)]
        listed["train"] = [(image, labels) for image, labels in listed["train"] if not is_held_out(image)]
    classes, in_val = ({label for _, labels in listed[name] for label in labels} for name in ("train", "val"))
    for label in sorted(in_val - classes):
        if held_out:
            raise InputError(
                f"{path}: every image of class {label!r} was held out for val; add more, or a column split"
            )
        raise InputError(f"{path}: class {label!r} is in val but not in train; {did_you_mean(label, classes)}")
    for name, labelled in (("train", classes), ("val", in_val)):
        if not labelled:
            raise InputError(
                f"{path}: no image in {name} has a label, so there is nothing to learn or to score; add some"
            )
    index = {name: position for position, name in enumerate(sorted(classes))}
    splits = {
        name: Samples((image, tuple(index[label] for label in labels)) for image, labels in rows)
        for name, rows in listed.items()
    }
    return Dataset(root=path, classes=tuple(index), splits=splits, task="multilabel")
