"""Read class folders, `train/<class>/*` and `val/<class>/*`, and explain how to fix common wrong layouts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from nextvit.data.class_names import normalize_class_name
from nextvit.data.coco_layouts import is_coco, list_split_folders
from nextvit.data.findings import Finding
from nextvit.data.folder_names import find_entry
from nextvit.data.foreign_layouts import has_class_folders, refuse_foreign_layout
from nextvit.data.image_files import find_image_files, is_data_folder, is_utf8
from nextvit.data.label_list import LabelledPath
from nextvit.data.masks_folder import is_masks_folder
from nextvit.data.shards import CONTENTS
from nextvit.data.split_names import find_split_folders, splits_to_read, standard_split
from nextvit.errors import InputError


def read_class_folders(root: Path, findings: list[Finding], wanted: Sequence[str]) -> Iterator[LabelledPath]:
    """Yield the image files of each split folder, by class, sorted; what is wrong with them is added to `findings`.

    Args:
        wanted: splits to read; train is read instead of a val that is not there. Where one is wanted, class folders
            without a split are it.
    """
    check_layout(root, wanted)
    folders = find_split_folders(root) or {wanted[0]: root}
    for split in splits_to_read(wanted, folders, root=root):
        count = 0
        for folder in list_class_folders(folders[split]):
            images = find_image_files(folder, findings)
            if not images and split == "train" and is_utf8(folder.name):
                message = f"{folder}: class without images; add some or remove the folder"
                findings.append(Finding("empty_class", message))
            count += len(images)
            for path in images:
                yield split, path, (normalize_class_name(folder.name) or folder.name,)
        if not count and split != "test":
            message = f"{folders[split]}: no images; expected {folders[split].name}/<class>/*.jpg (or .png, .webp, ...)"
            findings.append(Finding("empty_split", message))


def check_layout(root: Path, wanted: Sequence[str]) -> None:
    """Raise InputError for common wrong layouts; the message says how to fix them.

    Args:
        wanted: the splits to be read; several need train.
    """
    refuse_part_of_objects(root)
    refuse_foreign_layout(root)
    found = find_split_folders(root)
    if not any(list_class_folders(folder) for folder in found.values()):
        refuse_without_annotations(root)
    if "train" in found or (found and len(wanted) == 1):
        return
    refuse_folder_above(root)
    if any(root.glob("*.tar")):
        raise InputError(f"{root}: tar files without {CONTENTS}; only the shards that `nextvit shard` made can be read")
    own = standard_split(root.name)
    others = [folder for folder in list_class_folders(root) if folder not in found.values() and has_image(folder)]
    has_classes = bool(others)
    if len(wanted) == 1 and has_classes:
        if own not in (None, wanted[0]):
            raise InputError(f"{root}: is the split {own}, not {wanted[0]}; pass --split {own}")
        return
    if own:
        raise InputError(f"{root}: is one split of a dataset; pass the folder above it, {root.parent}")
    if others and all(has_class_folders(folder) for folder in others):
        raise InputError(
            f"{root}: has no folder 'train'; if the folders in {others[0].name} are the classes, rename it to 'train'"
        )
    if has_classes:
        raise InputError(f"{root}: has no folder 'train'; move the class folders into {root / 'train'}")
    if found:
        raise InputError(f"{root}: has {' and '.join(path.name for path in found.values())} but no folder 'train'")
    raise InputError(f"{root}: has no folder 'train'; expected train/<class>/*.jpg and, if you like, val/<class>/*")


def refuse_folder_above(root: Path) -> None:
    """Raise InputError for the folder above a dataset, such as that of an unpacked archive."""
    folders = list_class_folders(root)
    datasets = [folder for folder in folders if is_coco(folder) or is_masks_folder(folder) or has_class_splits(folder)]
    if datasets:
        what = "a dataset" if len(datasets) == 1 else f"{len(datasets)} datasets"
        raise InputError(f"{root}: is the folder above {what}; pass {datasets[0]}")
    if len(folders) == 1:
        refuse_foreign_layout(folders[0])


def has_class_splits(folder: Path) -> bool:
    """Whether a folder has folders of splits with class folders in them."""
    return any(has_class_folders(split) for _, split in list_split_folders(folder))


def has_image(folder: Path) -> bool:
    """Whether there is an image file somewhere below a folder."""
    return bool(find_image_files(folder, []))


def refuse_part_of_objects(root: Path) -> None:
    """Raise InputError for a part of a dataset with objects, whose folders would be read as class folders."""
    name, parent = root.name.casefold(), root.parent.name.casefold()
    above = root.parent.parent if parent == "images" else root.parent
    if ("images" in (name, parent) or name == "annotations") and is_coco(above):
        raise InputError(f"{root}: is one part of a dataset; pass the folder above it, {above}")


def refuse_without_annotations(root: Path) -> None:
    """Raise InputError for a folder that looks like a dataset with objects, but has no COCO annotations."""
    if any(find_entry(root, name).is_dir() for name in ("images", "annotations")):
        raise InputError(
            f"{root}: no annotations file; expected annotations/instances_train.json in COCO's format, "
            "or masks/train/NAME.png"
        )


def list_class_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones and those of systems are left out."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and is_data_folder(entry.name))
