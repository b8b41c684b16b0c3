"""Read images without labels: a folder of images, a CSV list of paths, or shards of either."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from nextvit.data.class_folders import list_class_folders
from nextvit.data.coco_layouts import is_coco
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.hold_out import hold_out
from nextvit.data.image_files import find_image_files
from nextvit.data.label_list import HAS_LABELS, LabelledPath, read_path_list, splits_in_list
from nextvit.data.masks_folder import is_masks_folder
from nextvit.data.reading import pack_samples, refuse_other_files, select_splits
from nextvit.data.samples import SamplesBuilder
from nextvit.data.shards import CONTENTS, read_contents, read_shards
from nextvit.data.split_names import find_split_folders, splits_to_read
from nextvit.errors import InputError, suggest_path


def read_unlabelled(root: Path, findings: list[Finding], wanted: Sequence[str], *, task: str) -> Dataset:
    """Read images without labels; without a split `val`, a tenth of them is held out, as where there are labels.

    All images below a folder are read, and what its folders are called means nothing, unless they are called after
    splits.

    Args:
        findings: what is wrong with the dataset is added to it.
        wanted: the splits to read: one alone to score it, or several, train among them.
        task: the task of the dataset.

    Raises:
        InputError: there is no image, or there are labels.
    """
    if not root.exists():
        raise InputError(f"{root}: no such folder; expected a folder of images, or a CSV file{suggest_path(root)}")
    if (root / CONTENTS).is_file():
        if read_contents(root / CONTENTS).task != task:
            raise InputError(f"{root}: {HAS_LABELS}")
        _, splits, _ = read_shards(root, wanted)
        return Dataset(root=root, classes=(), splits=splits, task=task)
    if root.is_file():
        refuse_other_files(root)
        present = splits_in_list(root, labelled=False)
        to_read = splits_to_read(wanted, present, root=root)
        rows = read_path_list(root, lambda message: findings.append(Finding("bad_row", message)), wanted=to_read)
        _, splits = pack_samples(rows)
    else:
        refuse_labelled(root)
        present = find_split_folders(root) if "train" in find_split_folders(root) else {"train": root}
        to_read = splits_to_read(wanted, present, root=root)
        _, splits = pack_samples(list_folders({split: present[split] for split in to_read}, findings))
    if not splits:
        raise InputError(findings[0].message if findings else f"{root}: holds no image")
    if "val" not in present and "train" in splits:
        splits |= hold_out(splits["train"])
    for split, kind in (("train", "empty_split"), ("val", "nothing_to_validate")):
        if split in wanted and not len(splits.setdefault(split, SamplesBuilder().build())):
            findings.append(Finding(kind, f"{root}: no images in the split {split}; add more"))
    return Dataset(root=root, classes=(), splits=select_splits(splits, wanted), task=task)


def list_folders(folders: dict[str, Path], findings: list[Finding]) -> Iterator[LabelledPath]:
    """The images below the folder of each split."""
    for split, folder in folders.items():
        for path in find_image_files(folder, findings):
            yield split, path, ()


def refuse_labelled(root: Path) -> None:
    """Raise InputError for a folder whose layout says what is on its images."""
    train = find_split_folders(root).get("train")
    if is_masks_folder(root) or is_coco(root) or (train and list_class_folders(train)):
        raise InputError(f"{root}: {HAS_LABELS}{f', such as {train}' if train else ''}")
