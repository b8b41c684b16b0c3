"""Read datasets of every layout, and collect what is wrong with them.

The layouts are `train/<class>/*` and `val/<class>/*`, a CSV list, the tar shards of `nextvit shard`, COCO's
annotations of objects, or a mask for each image. `nextvit.tasks.reading` chooses between them.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nextvit.data.class_folders import read_class_folders
from nextvit.data.class_masks import BACKGROUND, MAX_CLASSES, Masks, ObjectMasks
from nextvit.data.coco import is_coco, read_coco
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.hold_out import hold_out, hold_out_masks
from nextvit.data.label_list import LabelledPath, has_label_lists, read_label_list
from nextvit.data.masks_folder import is_masks_folder, read_masks
from nextvit.data.samples import Samples, SamplesBuilder
from nextvit.data.shards import CONTENTS, ONE_LABEL, read_contents, read_shards
from nextvit.errors import InputError, did_you_mean, suggest_path


def is_dataset(path: Path) -> bool:
    """Whether a path looks like a dataset with splits, rather than a plain folder of images."""
    if not path.is_dir() or (path / "train").is_dir() or (path / CONTENTS).is_file():
        return True
    return is_masks_folder(path) or is_coco(path)


def has_several_labels(root: Path) -> bool:
    """Whether a CSV list or shards are of images that may have several labels, or none."""
    if (root / CONTENTS).is_file():
        return not ONE_LABEL[read_contents(root / CONTENTS).task]
    return root.is_file() and root.suffix.lower() != ".json" and has_label_lists(root)


def read_labelled(root: Path, findings: list[Finding], *, task: str, one_label: bool) -> Dataset:
    """Read images with labels, from class folders, a CSV list or shards.

    Without a `val` split, a tenth of `train` is held out. It is chosen by a hash of the file name, so that it is the
    same on every machine and grows with the data.

    Args:
        findings: what is wrong with the dataset is added to it.
        task: the task of the dataset.
        one_label: whether each image has exactly one label.

    Raises:
        InputError: this is not a dataset.
    """
    if not root.exists():
        raise InputError(
            f"{root}: no such folder; expected a dataset with train/<class>/*.jpg, or a CSV file{suggest_path(root)}"
        )
    if (root / CONTENTS).is_file():
        classes, splits, task = read_shards(root)
        return Dataset(root=root, classes=classes, splits=splits, task=task)
    if root.is_file():
        refuse_json(root)
        found = read_label_list(root, lambda message: findings.append(Finding("bad_row", message)))
    else:
        found = read_class_folders(root, findings)
    names, splits = pack_samples(found)
    if not len(splits["train"]):
        raise InputError(findings[0].message if findings else f"{root}: no rows for the split train")
    without_val = "val" not in splits and not (root / "val").is_dir()
    if without_val:
        splits = hold_out(splits["train"])
    splits.setdefault("val", SamplesBuilder().build())
    findings += check_splits(root, names, splits, one_label=one_label, held_out=without_val)
    classes = tuple(sorted(names))
    new_labels = np.array([classes.index(name) for name in names], np.int32)
    splits = {name: samples.map_labels(new_labels) for name, samples in splits.items()}
    return Dataset(root=root, classes=classes, splits=splits, task=task)


def read_objects(root: Path, findings: list[Finding]) -> Dataset:
    """Read a dataset in COCO's format; what is wrong with it is added to `findings`."""
    categories, labelled = read_coco(root, findings)
    samples = {name: split.samples for name, split in labelled.items()}
    annotations = {name: split.annotations for name, split in labelled.items()}
    if "val" not in samples:
        annotations = {
            split: annotations["train"].select(mask) for split, mask in hold_out_masks(samples["train"]).items()
        }
        samples = hold_out(samples["train"])
    for split, kind in (("train", "empty_split"), ("val", "nothing_to_validate")):
        if not len(samples[split]):
            findings.append(Finding(kind, f"{root}: no images in the split {split}; add some"))
        elif annotations[split].crowd.all():
            findings.append(Finding(kind, f"{root}: no object is annotated in the split {split}"))
    return Dataset(
        root=root,
        classes=tuple(categories.values()),
        splits=samples,
        task="detection",
        annotations=annotations,
        category_ids=tuple(categories),
    )


def read_segmented(root: Path, findings: list[Finding]) -> Dataset:
    """Read a dataset with a mask for each image; what is wrong with its folders is added to `findings`."""
    classes, masked = read_masks(root, findings)
    samples = {name: split.samples for name, split in masked.items()}
    masks: dict[str, Masks] = {name: split.masks for name, split in masked.items()}
    if "val" not in samples:
        masks = {split: masked["train"].masks.select(mask) for split, mask in hold_out_masks(samples["train"]).items()}
        samples = hold_out(samples["train"])
    if not len(samples["train"]):
        raise InputError(
            findings[0].message if findings else f"{root}: no image with a mask in the split train; add some"
        )
    if not len(samples["val"]):
        findings.append(Finding("nothing_to_validate", f"{root}: no images in the split val; add some"))
    return Dataset(root=root, classes=classes, splits=samples, task="segmentation", masks=masks)


def convert_objects_to_masks(dataset: Dataset) -> Dataset:
    """Convert a dataset with objects to one for segmentation: the class of a pixel is that of the object there, or
    background.

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


def pack_samples(found: Iterable[LabelledPath]) -> tuple[list[str], dict[str, Samples]]:
    """Pack paths with labels into the classes and the samples of each split, both in the order of `found`."""
    builders = {"train": SamplesBuilder()}
    labels: dict[str, int] = {}
    for split, path, names in found:
        numbers = sorted(labels.setdefault(name, len(labels)) for name in names)
        builders.setdefault(split, SamplesBuilder()).add(path, tuple(numbers))
    return list(labels), {name: builder.build() for name, builder in builders.items()}


def check_splits(
    root: Path, names: list[str], splits: dict[str, Samples], *, one_label: bool, held_out: bool
) -> list[Finding]:
    """Findings about classes and splits that cannot be trained or scored."""
    in_train, in_val = (splits[split].counts(len(names)) for split in ("train", "val"))
    learnt = [name for name, count in zip(names, in_train, strict=True) if count]
    findings: list[Finding] = []
    for name in sorted(
        name for name, trained, scored in zip(names, in_train, in_val, strict=True) if scored > trained == 0
    ):
        message = f"{root}: class {name!r} is in val but not in train; {did_you_mean(name, learnt)}"
        if held_out:
            message = f"{root}: every image of class {name!r} was held out for val; add more, or a val split"
        findings.append(Finding("class_only_in_val", message))
    if one_label and len(learnt) < 2:
        message = f"{root}: train has the single class {', '.join(learnt)!r}; a classifier needs at least two"
        findings.append(Finding("single_class", message))
    if not one_label and not (in_train.any() and in_val.any()):
        empty = "val" if in_train.any() else "train"
        message = f"{root}: no image in {empty} has a label, so there is nothing to learn or to score; add some"
        findings.append(Finding("nothing_to_validate" if empty == "val" else "single_class", message))
    if held_out and not len(splits["val"]):
        message = f"{root}: {len(splits['train'])} images are too few to hold some out; add val/<class>/*"
        findings.append(Finding("nothing_to_validate", message))
    return findings
