"""Read datasets of every layout, and collect what is wrong with them.

The layouts are `train/<class>/*` and `val/<class>/*`, a CSV list, the tar shards of `nextvit shard`, COCO's
annotations of objects, or a mask for each image. `nextvit.tasks.reading` chooses between them.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from nextvit.data.class_folders import list_class_folders, read_class_folders
from nextvit.data.class_masks import BACKGROUND, MAX_CLASSES, MaskEncoding, Masks, ObjectMasks
from nextvit.data.coco import read_coco
from nextvit.data.coco_layouts import is_coco
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.hold_out import hold_out, hold_out_masks
from nextvit.data.label_list import LabelledPath, has_label_lists, read_label_list, splits_in_list
from nextvit.data.masks_folder import is_masks_folder, read_masks
from nextvit.data.samples import Samples, SamplesBuilder
from nextvit.data.shards import CONTENTS, ONE_LABEL, read_contents, read_shards
from nextvit.data.split_names import SPLITS, find_split_folders, splits_to_read
from nextvit.errors import InputError, did_you_mean, suggest_path
from nextvit.image.reading import SUFFIXES

Part = TypeVar("Part")
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
MAX_LISTED = 5
"""Classes that a message lists, and for which a similar name is looked up."""


def is_dataset(path: Path) -> bool:
    """Whether a path looks like a dataset with splits, rather than a plain folder of images."""
    if not path.is_dir() or (path / CONTENTS).is_file() or is_masks_folder(path) or is_coco(path):
        return True
    folders = find_split_folders(path)
    return "train" in folders or ("val" in folders and bool(list_class_folders(folders["val"])))


def has_several_labels(root: Path) -> bool:
    """Whether a CSV list or shards are of images that may have several labels, or none."""
    if (root / CONTENTS).is_file():
        return not ONE_LABEL[read_contents(root / CONTENTS).task]
    return root.is_file() and root.suffix.lower() != ".json" and has_label_lists(root)


def read_labelled(root: Path, findings: list[Finding], wanted: Sequence[str], *, task: str, one_label: bool) -> Dataset:
    """Read images with labels, from class folders, a CSV list or shards.

    Without a `val` split, a tenth of `train` is held out. It is chosen by a hash of the file name, so that it is the
    same on every machine and grows with the data.

    Args:
        findings: what is wrong with the dataset is added to it.
        wanted: the splits to read: one alone to score it, or several, train among them.
        task: the task of the dataset.
        one_label: whether each image has exactly one label.

    Raises:
        InputError: this is not a dataset, or lacks a split.
    """
    if not root.exists():
        raise InputError(
            f"{root}: no such folder; expected a dataset with train/<class>/*.jpg, or a CSV file{suggest_path(root)}"
        )
    if (root / CONTENTS).is_file():
        classes, splits, task = read_shards(root, wanted)
        return Dataset(root=root, classes=classes, splits=splits, task=task)
    if root.is_file():
        refuse_other_files(root)
        present = splits_in_list(root)
        to_read = splits_to_read(wanted, present, root=root)
        found = read_label_list(root, lambda message: findings.append(Finding("bad_row", message)), wanted=to_read)
    else:
        present = find_split_folders(root) or SPLITS  # class folders without a split are whichever is wanted
        found = read_class_folders(root, findings, wanted)
    names, splits = pack_samples(found)
    held_out = "val" not in present and "train" in splits
    if held_out:
        splits |= hold_out(splits["train"])
    if len(wanted) == 1:
        return label_split(root, names, splits, findings, split=wanted[0], task=task)
    if not len(splits.setdefault("train", SamplesBuilder().build())):
        raise InputError(findings[0].message if findings else f"{root}: no rows for the split train")
    splits.setdefault("val", SamplesBuilder().build())
    names, splits = leave_out_unknown(root, names, splits, findings)
    findings += check_splits(root, names, splits, one_label=one_label, held_out=held_out)
    return sort_classes(root, names, splits, task=task)


def label_split(
    root: Path, names: list[str], splits: dict[str, Samples], findings: list[Finding], *, split: str, task: str
) -> Dataset:
    """A dataset of one split alone, for scoring; InputError where it has no image."""
    if not len(samples := splits.get(split, SamplesBuilder().build())):
        raise InputError(findings[0].message if findings else f"{root}: no images in the split {split}")
    return sort_classes(root, names, {split: samples}, task=task)


def sort_classes(root: Path, names: list[str], splits: dict[str, Samples], *, task: str) -> Dataset:
    """A dataset with its classes in the order of their names."""
    classes = tuple(sorted(names))
    position = {name: label for label, name in enumerate(classes)}
    new_labels = np.array([position[name] for name in names], np.int32)
    splits = {split: splits[split].map_labels(new_labels) for split in SPLITS if split in splits}
    return Dataset(root=root, classes=classes, splits=splits, task=task)


def leave_out_unknown(
    root: Path, names: list[str], splits: dict[str, Samples], findings: list[Finding]
) -> tuple[list[str], dict[str, Samples]]:
    """The classes of train and val, and the splits without the images of test that have another class."""
    if not len(test := splits.pop("test", ())):
        return names, splits
    assert isinstance(test, Samples)
    known = np.sum([samples.counts(len(names)) for samples in splits.values()], axis=0) > 0
    kept = np.array([all(known[label] for label in sample.labels) for sample in test])
    new_labels = np.cumsum(known, dtype=np.int32) - 1
    unknown = [name for name, is_known in zip(names, known, strict=True) if not is_known]
    if unknown:
        count = int((~kept).sum())
        listed = ", ".join(map(repr, unknown[:MAX_LISTED])) + (", ..." if len(unknown) > MAX_LISTED else "")
        message = f"{root}: {count} images of test are of classes that train does not have: {listed}"
        findings.append(Finding("class_only_in_test", message, count=count))
    if kept.any():
        splits["test"] = test.select(kept)
    known_names = [name for name, is_known in zip(names, known, strict=True) if is_known]
    return known_names, {split: samples.map_labels(new_labels) for split, samples in splits.items()}


def read_objects(root: Path, findings: list[Finding], wanted: Sequence[str]) -> Dataset:
    """Read the wanted splits of a dataset in COCO's format; what is wrong with it is added to `findings`."""
    categories, labelled, has_val = read_coco(root, findings, wanted)
    samples = {name: split.samples for name, split in labelled.items()}
    annotations = {name: split.annotations for name, split in labelled.items()}
    if "train" in samples and not has_val:
        masks = hold_out_masks(samples["train"])
        annotations |= {split: annotations["train"].select(mask) for split, mask in masks.items()}
        samples |= hold_out(samples["train"])
    for split, kind in (("train", "empty_split"), ("val", "nothing_to_validate"), ("test", "nothing_to_test")):
        if split not in wanted or split not in samples:
            continue
        if not len(samples[split]):
            findings.append(Finding(kind, f"{root}: no images in the split {split}; add some"))
        elif annotations[split].crowd.all():
            findings.append(Finding(kind, f"{root}: no object is annotated in the split {split}"))
    return Dataset(
        root=root,
        classes=tuple(categories.values()),
        splits=select_splits(samples, wanted),
        task="detection",
        annotations=select_splits(annotations, wanted),
        category_ids=tuple(categories),
        lists=tuple((split.folder, split.file) for split in labelled.values()),
        unusable=frozenset[str]().union(*(split.unusable for split in labelled.values())),
    )


def read_segmented(root: Path, findings: list[Finding], wanted: Sequence[str]) -> Dataset:
    """Read the wanted splits of a dataset with a mask for each image; what is wrong with its folders is added to
    `findings`."""
    classes, masked, has_val = read_masks(root, findings, wanted)
    samples = {name: split.samples for name, split in masked.items()}
    masks: dict[str, Masks] = {name: split.masks for name, split in masked.items()}
    if "train" in samples and not has_val:
        masks |= {split: masks["train"].select(chosen) for split, chosen in hold_out_masks(samples["train"]).items()}
        samples |= hold_out(samples["train"])
    needed = "train" if len(wanted) > 1 else wanted[0]
    if not len(samples[needed]):
        raise InputError(
            findings[0].message if findings else f"{root}: no image with a mask in the split {needed}; add some"
        )
    if "val" in samples and not len(samples["val"]):
        findings.append(Finding("nothing_to_validate", f"{root}: no images in the split val; add some"))
    return Dataset(
        root=root,
        classes=classes,
        splits=select_splits(samples, wanted),
        task="segmentation",
        masks=select_splits(masks, wanted),
    )


def select_splits(found: Mapping[str, Part], wanted: Sequence[str]) -> dict[str, Part]:
    """The wanted ones, in the usual order."""
    return {split: found[split] for split in SPLITS if split in wanted and split in found}


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
        split: ObjectMasks(annotations, samples[split], MaskEncoding(len(classes)))
        for split, annotations in dataset.annotations.items()
    }
    return Dataset(root=dataset.root, classes=classes, splits=samples, task="segmentation", masks=masks)


def refuse_other_files(path: Path) -> None:
    """Raise InputError for a file that is no list, by its suffix."""
    suffix = path.suffix.lower()
    if suffix in (".json", ".xml", ".yaml", ".yml"):
        raise InputError(f"{path}: is one file of a dataset; pass the folder above its annotations and images")
    if suffix in SUFFIXES:
        raise InputError(f"{path}: is an image; pass the folder of a dataset, or a CSV list")
    if suffix in ARCHIVES:
        raise InputError(f"{path}: is an archive; unpack it, and pass the folder")


def pack_samples(found: Iterable[LabelledPath]) -> tuple[list[str], dict[str, Samples]]:
    """Pack paths with labels into the classes and the samples of each split, both in the order of `found`."""
    builders: dict[str, SamplesBuilder] = {}
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
        hint = f"; {did_you_mean(name, learnt):.200}" if len(findings) < MAX_LISTED else ""
        message = f"{root}: class {name!r} is in val but not in train{hint}"
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
