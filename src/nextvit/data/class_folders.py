"""Read class folders, `train/<class>/*` and `val/<class>/*`, and explain how to fix common wrong layouts."""

from collections.abc import Iterator
from pathlib import Path

from nextvit.data.coco import is_coco
from nextvit.data.findings import Finding
from nextvit.data.image_files import find_image_files, is_data_folder, list_images
from nextvit.data.label_list import LabelledPath
from nextvit.data.shards import CONTENTS
from nextvit.errors import InputError


def read_class_folders(root: Path, findings: list[Finding]) -> Iterator[LabelledPath]:
    """Yield the image files of each split folder, by class, sorted; what is wrong with them is added to `findings`."""
    check_layout(root)
    for split in (name for name in ("train", "val") if (root / name).is_dir()):
        count = 0
        for folder in list_class_folders(root / split):
            images = find_image_files(folder, findings)
            if not images and split == "train":
                message = f"{folder}: class without images; add some or remove the folder"
                findings.append(Finding("empty_class", message))
            count += len(images)
            for path in images:
                yield split, path, (folder.name,)
        if not count:
            message = f"{root / split}: no images; expected {split}/<class>/*.jpg (or .png, .webp, ...)"
            findings.append(Finding("empty_split", message))


def check_layout(root: Path) -> None:
    """Raise InputError for common wrong layouts; the message says how to fix them."""
    refuse_other_formats(root)
    refuse_part_of_objects(root)
    for name in ("valid", "validation", "dev"):
        if (root / name).is_dir() and not (root / "val").exists():
            raise InputError(f"{root / name}: rename it to 'val', otherwise the validation images would not be used")
    if (root / "train").is_dir():
        return
    refuse_without_annotations(root)
    if any(root.glob("*.tar")):
        raise InputError(f"{root}: tar files without {CONTENTS}; only the shards that `nextvit shard` made can be read")
    if root.name in ("train", "val"):
        raise InputError(f"{root}: is one split of a dataset; pass the folder above it, {root.parent}")
    if any(list_images(folder) for folder in list_class_folders(root)):
        raise InputError(f"{root}: has no folder 'train'; move the class folders into {root / 'train'}")
    raise InputError(f"{root}: has no folder 'train'; expected train/<class>/*.jpg and, if you like, val/<class>/*")


def refuse_part_of_objects(root: Path) -> None:
    """Raise InputError for a part of a dataset with objects, whose folders would be read as class folders."""
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
    """Raise InputError for a folder that looks like a dataset with objects, but has no COCO annotations."""
    if any(next(root.glob(pattern), None) for pattern in ("images", "annotations", "train20*")):
        raise InputError(
            f"{root}: no annotations file; expected annotations/instances_train.json in COCO's format, "
            "or masks/train/NAME.png"
        )


def list_class_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones and those of systems are left out."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and is_data_folder(entry.name))
