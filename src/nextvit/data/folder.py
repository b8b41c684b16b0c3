"""Classification data: `train/<class>/*` and `val/<class>/*`, or a CSV with the columns path and label."""

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from nextvit.data.findings import Finding
from nextvit.data.samples import Samples
from nextvit.errors import InputError, did_you_mean
from nextvit.preprocess import SUFFIXES

HELD_OUT_SHARE = 0.1


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
    """Read a class-folder tree or a CSV list; without a `val` split, a tenth of `train` is held out.

    The tenth is chosen by a hash of the file name, so that it is the same on every machine and grows with the data.

    Raises:
        InputError: nothing there, no images, an empty class, or a class in `val` that `train` lacks.
    """
    dataset, faults = read_with_faults(root)
    if faults:
        raise InputError(faults[0].message)
    return dataset


def read_with_faults(root: str | Path) -> tuple[Dataset, list[Finding]]:
    """What can be read of a dataset, and everything for which `read_dataset` would refuse it.

    Raises:
        InputError: this is no dataset at all.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: no such folder; expected a dataset with train/<class>/*.jpg, or a CSV file")
    faults: list[Finding] = []
    named = read_csv(root, faults) if root.is_file() else read_tree(root, faults)
    learnt = sorted({label for _, label in named["train"]})
    unknown = sorted({label for _, label in named.get("val", [])} - set(learnt))
    for label in unknown:
        message = f"{root}: class {label!r} is in val but not in train; {did_you_mean(label, learnt)}"
        faults.append(Finding("class_only_in_val", message))
    if len(learnt) < 2:
        message = f"{root}: train has the single class {', '.join(learnt)!r}; a classifier needs at least two"
        faults.append(Finding("single_class", message))
    if "val" not in named:
        hold_out(named, root, faults)
    classes = tuple(sorted([*learnt, *unknown]))
    index = {name: position for position, name in enumerate(classes)}
    splits = {name: Samples((path, (index[label],)) for path, label in listed) for name, listed in named.items()}
    return Dataset(root=root, classes=classes, splits=splits), faults


def hold_out(named: dict[str, list[tuple[Path, str]]], root: Path, faults: list[Finding]) -> None:
    """Move a tenth of `train` to `val`."""
    train: list[tuple[Path, str]] = []
    val: list[tuple[Path, str]] = []
    for path, label in named["train"]:
        (val if is_held_out(path) else train).append((path, label))
    if not val:
        message = f"{root}: {len(train)} images are too few to hold some out; add val/<class>/*"
        faults.append(Finding("nothing_to_validate", message))
    for label in sorted({label for _, label in val} - {label for _, label in train}):
        message = f"{root}: every image of class {label!r} was held out for val; add more, or a val folder"
        faults.append(Finding("class_only_in_val", message))
    named["train"], named["val"] = train, val


def is_held_out(path: Path) -> bool:
    """Whether a file belongs to the tenth that is held out when there is no `val`."""
    digest = hashlib.sha256(os.fsencode(path.name)).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def read_tree(root: Path, faults: list[Finding]) -> dict[str, list[tuple[Path, str]]]:
    """Files and class names of each split folder, sorted; what is wrong with them is added to `faults`."""
    check_layout(root)
    found: dict[str, list[tuple[Path, str]]] = {}
    for split in (name for name in ("train", "val") if (root / name).is_dir()):
        found[split] = []
        for folder in class_folders(root / split):
            images = list_images(folder, faults)
            if not images and split == "train":
                message = f"{folder}: class without images; add some or remove the folder"
                faults.append(Finding("empty_class", message))
            found[split] += [(path, folder.name) for path in images]
        if not found[split]:
            message = f"{root / split}: no images; expected {split}/<class>/*.jpg (or .png, .webp, ...)"
            faults.append(Finding("empty_split", message))
    if not found["train"]:
        raise InputError(faults[0].message)
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


def list_images(folder: Path, faults: list[Finding] | None = None) -> list[Path]:
    """All files below a folder whose suffix is an image's, sorted; hidden ones are left out, each folder counts once.

    Raises:
        InputError: a name is not UTF-8, so that it cannot be written into results; with `faults` it is added to them.
    """
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
                if is_utf8(name):
                    found.append(Path(parent) / name)
                    continue
                message = f"{parent}: the file name {os.fsencode(name)!r} is not UTF-8; rename it"
                if faults is None:
                    raise InputError(message)
                faults.append(Finding("bad_name", message))
    return sorted(found)


def is_utf8(name: str) -> bool:
    """Whether a file's name can be written into results."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_csv(path: Path, faults: list[Finding]) -> dict[str, list[tuple[Path, str]]]:
    """Rows of `path,label` and, if present, `split`; paths are relative to the file; bad rows are added to `faults`."""
    found: dict[str, list[tuple[Path, str]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path}: expected a first line with the columns path,label and optionally split; got {','.join(reader.fieldnames or ()) or 'an empty file'}"
                )
            for row in reader:
                split = row.get("split") or "train"
                image = path.parent / (row["path"] or "")
                if not row["path"] or not row["label"]:
                    problem = "path or label is empty"
                elif split not in ("train", "val"):
                    problem = f"split must be train or val, got {split!r}"
                elif not image.is_file():
                    problem = f"no such file: {image}"
                else:
                    found.setdefault(split, []).append((image, row["label"]))
                    continue
                faults.append(Finding("bad_row", f"{path}, line {reader.line_num}: {problem}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if "train" not in found:
        raise InputError(faults[0].message if faults else f"{path}: no rows for the split train")
    return found
