"""Read YOLO's annotations: one text file per image, one row per object, in fractions of the image's sides."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nextvit.convert.foreign import (
    ForeignDataset,
    ForeignImage,
    Record,
    normalize_split_name,
    read_upright_size,
    relative_posix_path,
)
from nextvit.data.image_files import list_images
from nextvit.errors import InputError

NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "train/classes.txt")
NOT_LABEL_FILES = frozenset({"classes.txt", "train.txt", "val.txt", "test.txt", "notes.txt"})
"""Text files that are often beside label files."""


def is_yolo(root: Path) -> bool:
    """Whether a folder holds YOLO's text files, in folders named labels or beside the images."""
    return bool(find_split_folders(root))


def find_split_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """The folder of images and the folder of labels of each split, in any of five layouts."""
    # 1. labels/<split> with images/<split>, and <split>/labels with <split>/images
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    label_folders = sorted(path.name for path in (root / "labels").glob("*") if path.is_dir())
    found = {normalize_split_name(name): (root / "images" / name, root / "labels" / name) for name in label_folders}
    found |= {normalize_split_name(name): (root / name / "images", root / name / "labels") for name in folders
              if (root / name / "labels").is_dir()}  # fmt: skip
    # 2. labels with images, all in train
    if not found and (root / "labels").is_dir():
        found = {"train": (root / "images", root / "labels")}
    # 3. text files beside the images: <split>/, or the folder itself
    if not found:
        found = {
            normalize_split_name(name): (root / name, root / name) for name in folders if list_label_files(root / name)
        }
    if not found and list_label_files(root):
        found = {"train": (root, root)}
    return found


def list_label_files(folder: Path) -> list[Path]:
    """The label files below a folder, sorted."""
    return sorted(
        path
        for path in folder.rglob("*.txt")
        if path.name not in NOT_LABEL_FILES and not path.name.startswith("README")
    )


def read_yolo(root: Path) -> ForeignDataset:
    """Read all label files.

    Raises:
        InputError: class names are missing, a row cannot be read, or an image is missing.
    """
    names, info = read_names(root)
    splits = {split: read_split(*folders, names) for split, folders in find_split_folders(root).items()}
    objects = [each for images in splits.values() for image in images for each in image.objects]
    num_masks = sum("segmentation" in each for each in objects)
    remarks = ["category ids: the numbers of YOLO's classes, from 0"]
    if num_masks:
        remarks.append(f"masks: {num_masks} of {len(objects)} objects, from their outlines")
    return ForeignDataset(
        source_format="YOLO",
        categories=[{"id": id, "name": name, "supercategory": ""} for id, name in names.items()],
        splits=splits,
        info={"yolo": info} if info else {},
        remarks=remarks,
    )


def read_names(root: Path) -> tuple[dict[int, str], Record]:
    """Class names by number, and the other entries of the YAML file that holds them."""
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            has_names = isinstance(content, dict) and "names" in content
            other_settings = to_json_value(
                {key: content[key] for key in content if key != "names"} if has_names else {}
            )
        except RecursionError:  # in the parser, or where an alias contains itself
            raise InputError(f"{path}: not valid YAML (its entries are nested without end)") from None
        except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a ValueError
            raise InputError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
        if has_names:
            return number_names(path, content["names"]), other_settings
    for name in NAME_FILES:
        if (path := root / name).is_file():
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except UnicodeDecodeError as error:
                raise InputError(f"{path}: not UTF-8 ({error})") from None
            return {number: line.strip() for number, line in enumerate(lines) if line.strip()}, {}
    raise InputError(f"{root}: no class names; expected data.yaml with names, or classes.txt")


def number_names(path: Path, names: Any) -> dict[int, str]:
    """Class names by number, ascending, from a list or a dict."""
    pairs = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(pairs, dict) or not pairs or not all(isinstance(number, int) for number in pairs):
        raise InputError(f"{path}: names must be a list, or a dict with numbers as keys, got {names!r:.60}")
    return {number: str(pairs[number]) for number in sorted(pairs)}


def to_json_value(value: Any) -> Any:
    """A YAML value with dates and other types that JSON lacks as text."""
    if isinstance(value, dict):
        return {str(key): to_json_value(each) for key, each in value.items()}
    if isinstance(value, list):
        return [to_json_value(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def read_split(image_folder: Path, label_folder: Path, names: dict[int, str]) -> list[ForeignImage]:
    """The images of a split with their objects; an image without a label file has none."""
    if not image_folder.is_dir():
        raise InputError(f"{label_folder}: no folder {image_folder} with its images")
    images: list[ForeignImage] = []
    unmatched = set(list_label_files(label_folder))
    for file in list_images(image_folder):
        name = relative_posix_path(str(file), image_folder)
        label_file = (label_folder / name).with_suffix(".txt")
        size_wh = read_upright_size(file)
        objects = read_rows(label_file, size_wh, names) if label_file in unmatched else []
        unmatched.discard(label_file)
        images.append(ForeignImage(file, name, size_wh, objects))
    if unmatched:
        raise InputError(f"{min(unmatched)}: no image of this name in {image_folder}")
    return images


def read_rows(path: Path, size_wh: tuple[int, int], names: dict[int, str]) -> list[Record]:
    """The objects in a label file, as COCO annotations."""
    objects: list[Record] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            try:
                objects.append(read_row(line.split(), size_wh, names))
            except ValueError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
    return objects


def read_row(words: list[str], size_wh: tuple[int, int], names: dict[int, str]) -> Record:
    """One object as a COCO annotation.

    Args:
        words: the class number, then the centre, width and height of a box, or the corners x, y, x, y, ... of an
            outline, in fractions of the image's sides.
        size_wh: width and height of the image in pixels.
        names: class names by number.

    Raises:
        ValueError: the row is neither a box nor an outline.
    """
    try:
        category, *values = map(float, words)
    except ValueError:
        raise ValueError(f"expected numbers, got {' '.join(words)[:60]!r}") from None
    if category not in names:
        raise ValueError(f"class {words[0]} has no name; there are {len(names)}")
    if not np.isfinite(values).all() or (len(values) != 4 and (len(values) < 6 or len(values) % 2)):
        raise ValueError(f"expected a class and 4 numbers for a box, or 6, 8, ... for an outline, got {len(values)}")
    record: Record = {"category_id": int(category), "iscrowd": 0}
    if len(values) == 4:
        center_xy, sides_wh = np.array(values[:2]) * size_wh, np.array(values[2:]) * size_wh
        if (sides_wh < 0).any():
            raise ValueError("a box with a negative side")
        top_left_xy = center_xy - sides_wh / 2
        return {**record, "bbox": [*top_left_xy.tolist(), *sides_wh.tolist()], "area": float(sides_wh.prod())}
    points = np.array(values).reshape(-1, 2) * size_wh
    first, last = points.min(axis=0), points.max(axis=0)
    x, y = (points - first).T  # the shoelace formula, near the origin for precision
    area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    return {
        **record,
        "bbox": [*first.tolist(), *(last - first).tolist()],
        "area": area,
        "segmentation": [points.ravel().tolist()],
    }
