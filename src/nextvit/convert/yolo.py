"""YOLO's annotations: a text file for each picture, a row for each object, in shares of the picture's sides."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nextvit.convert.convert import Annotated, Picture, Record, relative, split_name, upright_size
from nextvit.data.reading import list_images
from nextvit.errors import InputError

NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "train/classes.txt")
NO_LABELS = frozenset({"classes.txt", "train.txt", "val.txt", "test.txt", "notes.txt"})
"""Text files that lie among labels and are none."""


def is_yolo(root: Path) -> bool:
    """Whether a folder holds text files as YOLO does, in folders called labels or beside the images."""
    return bool(label_folders(root))


def label_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of images and of labels of each split."""
    splits = sorted(path.name for path in root.iterdir() if path.is_dir())
    inside = sorted(path.name for path in (root / "labels").glob("*") if path.is_dir())
    found = {split_name(name): (root / "images" / name, root / "labels" / name) for name in inside}
    found |= {split_name(name): (root / name / "images", root / name / "labels") for name in splits
              if (root / name / "labels").is_dir()}  # fmt: skip
    if not found and (root / "labels").is_dir():
        found = {"train": (root / "images", root / "labels")}
    if not found:
        found = {split_name(name): (root / name, root / name) for name in splits if labels_in(root / name)}
    if not found and labels_in(root):
        found = {"train": (root, root)}
    return found


def labels_in(folder: Path) -> list[Path]:
    """The text files below a folder that hold labels."""
    return sorted(
        path for path in folder.rglob("*.txt") if path.name not in NO_LABELS and not path.name.startswith("README")
    )


def read_yolo(root: Path) -> Annotated:
    """All that the text files say.

    Raises:
        InputError: there are no names of classes, a row cannot be read, or a picture is missing.
    """
    names, info = read_names(root)
    splits = {split: read_split(*folders, names) for split, folders in label_folders(root).items()}
    objects = [each for pictures in splits.values() for picture in pictures for each in picture.objects]
    outlined = sum("segmentation" in each for each in objects)
    remarks = ["category ids: the numbers of YOLO's classes, from 0"]
    if outlined:
        remarks.append(f"masks: {outlined} of {len(objects)} objects, from their outlines")
    return Annotated(
        kind="YOLO",
        categories=[{"id": id, "name": name, "supercategory": ""} for id, name in names.items()],
        splits=splits,
        info={"yolo": info} if info else {},
        remarks=remarks,
    )


def read_names(root: Path) -> tuple[dict[int, str], Record]:
    """The names of the classes by their numbers, and what else the settings say."""
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a ValueError
            raise InputError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
        if isinstance(content, dict) and "names" in content:
            more = {str(key): value for key, value in content.items() if key != "names"}
            return numbered(path, content["names"]), jsonable(more)
    for name in NAME_FILES:
        if (path := root / name).is_file():
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except UnicodeDecodeError as error:
                raise InputError(f"{path}: not UTF-8 ({error})") from None
            return {number: line.strip() for number, line in enumerate(lines) if line.strip()}, {}
    raise InputError(f"{root}: no names of the classes; expected data.yaml with names, or classes.txt")


def numbered(path: Path, names: Any) -> dict[int, str]:
    """A list or a dict of names by their numbers."""
    pairs = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(pairs, dict) or not pairs or not all(isinstance(number, int) for number in pairs):
        raise InputError(f"{path}: names must be a list, or a dict by numbers, got {names!r:.60}")
    return {number: str(pairs[number]) for number in sorted(pairs)}


def jsonable(value: Any) -> Any:
    """YAML's values with dates and other things as text."""
    if isinstance(value, dict):
        return {str(key): jsonable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [jsonable(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def read_split(images: Path, labels: Path, names: dict[int, str]) -> list[Picture]:
    """The pictures of a split; one without a text file has no objects."""
    if not images.is_dir():
        raise InputError(f"{labels}: no folder {images} with its images")
    pictures: list[Picture] = []
    left = set(labels_in(labels))
    for file in list_images(images):
        name = relative(str(file), images)
        text = (labels / name).with_suffix(".txt")
        size_wh = upright_size(file)
        objects = read_rows(text, size_wh, names) if text in left else []
        left.discard(text)
        pictures.append(Picture(file, name, size_wh, objects))
    if left:
        raise InputError(f"{min(left)}: no picture of this name in {images}")
    return pictures


def read_rows(path: Path, size_wh: tuple[int, int], names: dict[int, str]) -> list[Record]:
    """The objects of a picture."""
    objects: list[Record] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            try:
                objects.append(read_row(line.split(), size_wh, names))
            except ValueError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
    return objects


def read_row(words: list[str], size_wh: tuple[int, int], names: dict[int, str]) -> Record:
    """One object: class, then the centre, width and height of a box, or the corners of an outline.

    Raises:
        ValueError: it is neither.
    """
    try:
        category, *values = map(float, words)
    except ValueError:
        raise ValueError(f"expected numbers, got {' '.join(words)[:60]!r}") from None
    if category not in names:
        raise ValueError(f"class {words[0]} has no name; there are {len(names)}")
    if not np.isfinite(values).all() or (len(values) != 4 and (len(values) < 6 or len(values) % 2)):
        raise ValueError(f"expected a class and 4 numbers of a box, or 6, 8, ... of an outline, got {len(values)}")
    record: Record = {"category_id": int(category), "iscrowd": 0}
    if len(values) == 4:
        centre, sides = np.array(values[:2]) * size_wh, np.array(values[2:]) * size_wh
        if (sides < 0).any():
            raise ValueError("a box with a negative side")
        return {**record, "bbox": [*(centre - sides / 2).tolist(), *sides.tolist()], "area": float(sides.prod())}
    points = np.array(values).reshape(-1, 2) * size_wh
    first, last = points.min(axis=0), points.max(axis=0)
    x, y = (points - first).T
    area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    return {
        **record,
        "bbox": [*first.tolist(), *(last - first).tolist()],
        "area": area,
        "segmentation": [points.ravel().tolist()],
    }
