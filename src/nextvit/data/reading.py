"""Datasets of labelled images.

`train/<class>/*` and `val/<class>/*`, a CSV list, the tar shards of `nextvit shard`, COCO's annotations of objects, or a
mask for each image.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import TaskName
from nextvit.data.annotations import Annotations
from nextvit.data.class_masks import BACKGROUND, MAX_CLASSES, Masks, ObjectMasks
from nextvit.data.coco import is_coco, read_coco
from nextvit.data.findings import Finding
from nextvit.data.image_files import image_files, list_images
from nextvit.data.label_list import Found, has_label_lists, read_list
from nextvit.data.masks_folder import is_masks_folder, read_masks
from nextvit.data.samples import Packer, Samples
from nextvit.data.shards import CONTENTS, read_shards
from nextvit.errors import InputError, did_you_mean

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled images: which file belongs to which classes and split."""

    root: Path
    classes: tuple[str, ...]
    """Names; the index is the label. Sorted, in data with objects by their category ids."""
    splits: dict[str, Samples]
    """"train" and "val"."""
    task: TaskName = "classification"
    """"multilabel" where an image may have several classes, or none; "detection" where objects are annotated;
    "segmentation" where each pixel has a class."""
    annotations: dict[str, Annotations] = field(default_factory=dict)
    """For "detection": of each split, the objects of the samples in their order. A sample's labels are those it has."""
    category_ids: tuple[int, ...] = ()
    """For "detection": the classes' ids in the annotations, ascending."""
    masks: dict[str, Masks] = field(default_factory=dict)
    """For "segmentation": of each split, the masks of the samples in their order. Samples have no labels."""

    def split(self, name: str) -> Samples:
        """The samples of a split; InputError where it does not exist."""
        if name not in self.splits:
            raise InputError(f"{self.root} has no split {name!r}; {did_you_mean(name, self.splits)}")
        return self.splits[name]


def read_dataset(root: str | Path, *, task: Literal["auto", "segmentation"] = "auto") -> Dataset:
    """Read a class-folder tree, a CSV list, the tar shards of `nextvit shard`, COCO's annotations, or masks.

    The task is what the data are for; "segmentation" makes masks of annotated objects.

    Without a `val` split, a tenth of `train` is held out. It is chosen by a hash of the file name, so that it is the
    same on every machine and grows with the data.

    Raises:
        InputError: nothing there, no images, an empty class, a class in `val` that `train` lacks, or an annotation that
            cannot be used, or data without masks for segmentation.
    """
    dataset, faults = read_with_faults(root, task=task)
    if errors := [fault for fault in faults if fault.severity == "error"]:
        raise InputError(errors[0].message)
    return dataset


def read_with_faults(
    root: str | Path, *, task: Literal["auto", "segmentation"] = "auto"
) -> tuple[Dataset, list[Finding]]:
    """What can be read of a dataset, and everything for which `read_dataset` would refuse it.

    Raises:
        InputError: this is no dataset at all, or none with masks for segmentation.
    """
    dataset, faults = read_own_task(Path(root))
    return (dataset if task == "auto" else as_masks(dataset)), faults


def as_masks(dataset: Dataset) -> Dataset:
    """The dataset, for segmentation: objects become masks.

    Raises:
        InputError: it has neither masks nor objects with them.
    """
    if dataset.task not in ("segmentation", "detection"):
        raise InputError(
            f"{dataset.root}: has neither masks nor annotated objects, so it is no dataset for segmentation but for {dataset.task}"
        )
    return objects_as_masks(dataset) if dataset.task == "detection" else dataset


def read_own_task(root: Path) -> tuple[Dataset, list[Finding]]:
    """`read_with_faults` for the task that the data are for."""
    if not root.exists():
        raise InputError(f"{root}: no such folder; expected a dataset with train/<class>/*.jpg, or a CSV file")
    if (root / CONTENTS).is_file():
        classes, splits, task = read_shards(root)
        return Dataset(root=root, classes=classes, splits=splits, task=task), []
    faults: list[Finding] = []
    if root.is_dir() and is_masks_folder(root):
        return read_segmented(root, faults), faults
    if root.is_dir() and is_coco(root):
        return read_objects(root, faults), faults
    if root.is_file():
        refuse_json(root)
        task: TaskName = "multilabel" if has_label_lists(root) else "classification"
        found = read_list(root, lambda message: faults.append(Finding("bad_row", message)))
    else:
        task, found = "classification", read_tree(root, faults)
    names, splits = packed(found)
    if not len(splits["train"]):
        raise InputError(faults[0].message if faults else f"{root}: no rows for the split train")
    without_val = "val" not in splits and not (root / "val").is_dir()
    if without_val:
        splits = hold_out(splits["train"])
    splits.setdefault("val", Packer().samples())
    faults += faults_of_splits(root, names, splits, task, held_out=without_val)
    classes = tuple(sorted(names))
    new_labels = np.array([classes.index(name) for name in names], np.int32)
    splits = {name: samples.relabelled(new_labels) for name, samples in splits.items()}
    return Dataset(root=root, classes=classes, splits=splits, task=task), faults


def read_objects(root: Path, faults: list[Finding]) -> Dataset:
    """A dataset in COCO's format; what is wrong with it is added to `faults`."""
    categories, labelled = read_coco(root, faults)
    samples = {name: split.samples for name, split in labelled.items()}
    annotations = {name: split.annotations for name, split in labelled.items()}
    if "val" not in samples:
        annotations = {split: annotations["train"].select(mask) for split, mask in held_out(samples["train"]).items()}
        samples = hold_out(samples["train"])
    for split, kind in (("train", "empty_split"), ("val", "nothing_to_validate")):
        if not len(samples[split]):
            faults.append(Finding(kind, f"{root}: no images in the split {split}; add some"))
        elif annotations[split].crowd.all():
            faults.append(Finding(kind, f"{root}: no object is annotated in the split {split}"))
    return Dataset(
        root=root,
        classes=tuple(categories.values()),
        splits=samples,
        task="detection",
        annotations=annotations,
        category_ids=tuple(categories),
    )


def read_segmented(root: Path, faults: list[Finding]) -> Dataset:
    """A dataset with a mask for each picture; what is wrong with its folders is added to `faults`."""
    classes, masked = read_masks(root, faults)
    samples = {name: split.samples for name, split in masked.items()}
    masks: dict[str, Masks] = {name: split.masks for name, split in masked.items()}
    if "val" not in samples:
        masks = {split: masked["train"].masks.select(mask) for split, mask in held_out(samples["train"]).items()}
        samples = hold_out(samples["train"])
    if not len(samples["train"]):
        raise InputError(faults[0].message if faults else f"{root}: no image with a mask in the split train; add some")
    if not len(samples["val"]):
        faults.append(Finding("nothing_to_validate", f"{root}: no images in the split val; add some"))
    return Dataset(root=root, classes=classes, splits=samples, task="segmentation", masks=masks)


def objects_as_masks(dataset: Dataset) -> Dataset:
    """A dataset with objects as one for segmentation: the class of each pixel is that of the object there, or background.

    Raises:
        InputError: no object has a mask, there are too many classes, or one is called background already.
    """
    if not any(annotations.has_masks for annotations in dataset.annotations.values()):
        raise InputError(f"{dataset.root}: its objects have boxes alone, and segmentation is learnt from masks")
    if BACKGROUND in dataset.classes:
        raise InputError(f"{dataset.root}: what has no object is called {BACKGROUND!r}; give the category another name")
    classes = (BACKGROUND, *dataset.classes)
    if len(classes) > MAX_CLASSES:
        raise InputError(
            f"{dataset.root}: has {len(classes)} classes with the background; masks hold {MAX_CLASSES} at most"
        )
    samples = {name: Samples.pack((path, ()) for path in split.names()) for name, split in dataset.splits.items()}
    masks: dict[str, Masks] = {
        split: ObjectMasks(annotations, len(classes)) for split, annotations in dataset.annotations.items()
    }
    return Dataset(root=dataset.root, classes=classes, splits=samples, task="segmentation", masks=masks)


def refuse_json(path: Path) -> None:
    if path.suffix.lower() == ".json":
        raise InputError(f"{path}: is one file of a dataset; pass the folder above its annotations and images")


def packed(found: Iterable[Found]) -> tuple[list[str], dict[str, Samples]]:
    """The classes and the samples of each split, both in the order in which they were found."""
    packers = {"train": Packer()}
    labels: dict[str, int] = {}
    for split, path, names in found:
        numbers = sorted(labels.setdefault(name, len(labels)) for name in names)
        packers.setdefault(split, Packer()).add(path, tuple(numbers))
    return list(labels), {name: packer.samples() for name, packer in packers.items()}


def faults_of_splits(
    root: Path, names: list[str], splits: dict[str, Samples], task: TaskName, *, held_out: bool
) -> list[Finding]:
    """What classes and splits lack for a training."""
    in_train, in_val = (splits[split].counts(len(names)) for split in ("train", "val"))
    learnt = [name for name, count in zip(names, in_train, strict=True) if count]
    faults: list[Finding] = []
    for name in sorted(
        name for name, trained, judged in zip(names, in_train, in_val, strict=True) if judged > trained == 0
    ):
        message = f"{root}: class {name!r} is in val but not in train; {did_you_mean(name, learnt)}"
        if held_out:
            message = f"{root}: every image of class {name!r} was held out for val; add more, or a val split"
        faults.append(Finding("class_only_in_val", message))
    if task == "classification" and len(learnt) < 2:
        message = f"{root}: train has the single class {', '.join(learnt)!r}; a classifier needs at least two"
        faults.append(Finding("single_class", message))
    if task == "multilabel" and not (in_train.any() and in_val.any()):
        empty = "val" if in_train.any() else "train"
        message = f"{root}: no image in {empty} has a label, so there is nothing to learn or to score; add some"
        faults.append(Finding("nothing_to_validate" if empty == "val" else "single_class", message))
    if held_out and not len(splits["val"]):
        message = f"{root}: {len(splits['train'])} images are too few to hold some out; add val/<class>/*"
        faults.append(Finding("nothing_to_validate", message))
    return faults


def hold_out(samples: Samples) -> dict[str, Samples]:
    """Training samples as the splits train and val."""
    return {split: samples.select(chosen) for split, chosen in held_out(samples).items()}


def held_out(samples: Samples) -> dict[str, NDArray[np.bool_]]:
    """Which samples are kept for train and which are held out for val: (N,) each."""
    for_val = np.fromiter(map(is_held_out, samples.names()), np.bool_, len(samples))
    return {"train": ~for_val, "val": for_val}


def is_held_out(path: str | Path) -> bool:
    """Whether a file belongs to the tenth that is held out when there is no `val`."""
    name = os.path.basename(path)  # noqa: PTH119 (10 times faster)
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def read_tree(root: Path, faults: list[Finding]) -> Iterator[Found]:
    """The files of each split folder, by class, sorted; what is wrong with them is added to `faults`."""
    check_layout(root)
    for split in (name for name in ("train", "val") if (root / name).is_dir()):
        count = 0
        for folder in class_folders(root / split):
            images = image_files(folder, faults)
            if not images and split == "train":
                message = f"{folder}: class without images; add some or remove the folder"
                faults.append(Finding("empty_class", message))
            count += len(images)
            for path in images:
                yield split, path, (folder.name,)
        if not count:
            message = f"{root / split}: no images; expected {split}/<class>/*.jpg (or .png, .webp, ...)"
            faults.append(Finding("empty_split", message))


def check_layout(root: Path) -> None:
    """Raise InputError with the way out for the common wrong layouts."""
    refuse_other_formats(root)
    refuse_part_of_objects(root)
    for name in ("valid", "validation", "dev"):
        if (root / name).is_dir() and not (root / "val").exists():
            raise InputError(f"{root / name}: rename it to 'val', or the validation images would not be used")
    if (root / "train").is_dir():
        return
    refuse_without_annotations(root)
    if any(root.glob("*.tar")):
        raise InputError(f"{root}: tar files without {CONTENTS}; only the shards that `nextvit shard` made can be read")
    if root.name in ("train", "val"):
        raise InputError(f"{root}: is one split of a dataset; pass the folder above it, {root.parent}")
    if any(list_images(folder) for folder in class_folders(root)):
        raise InputError(f"{root}: has no folder 'train'; move the class folders into {root / 'train'}")
    raise InputError(f"{root}: has no folder 'train'; expected train/<class>/*.jpg and, if you like, val/<class>/*")


def refuse_part_of_objects(root: Path) -> None:
    """Raise InputError for the images or annotations of a dataset with objects, which would be taken for class folders."""
    above = root.parent.parent if root.parent.name == "images" else root.parent
    if ("images" in (root.name, root.parent.name) or root.name == "annotations") and is_coco(above):
        raise InputError(f"{root}: is one part of a dataset; pass the folder above it, {above}")


def refuse_other_formats(root: Path) -> None:
    """Raise InputError for annotations of objects in formats that `nextvit convert` reads."""
    for name, pattern in (
        ("VOC", "Annotations/*.xml"),
        ("VOC", "train/*.xml"),
        ("YOLO", "labels/**/*.txt"),
        ("YOLO", "train/labels/*.txt"),
    ):
        if next(root.glob(pattern), None):
            raise InputError(
                f"{root}: is in {name}'s format ({pattern}); make it COCO's with: "
                f"nextvit convert {root} --out {root.resolve().name}-coco"
            )


def refuse_without_annotations(root: Path) -> None:
    """Raise InputError for what looks like data with objects, but has no annotations in COCO's format."""
    if any(next(root.glob(pattern), None) for pattern in ("images", "annotations", "train20*")):
        raise InputError(
            f"{root}: no annotations file; expected annotations/instances_train.json in COCO's format, or masks/train/NAME.png"
        )


def class_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones are left out."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def is_dataset(path: Path) -> bool:
    """Whether a path looks like a dataset with splits, rather than a plain folder of images."""
    if not path.is_dir() or (path / "train").is_dir() or (path / CONTENTS).is_file():
        return True
    return is_masks_folder(path) or is_coco(path)
