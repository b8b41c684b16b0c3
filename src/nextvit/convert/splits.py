"""Which split an image belongs to, and its name there, for every format."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from nextvit.convert.foreign import ForeignImage
from nextvit.data.split_names import standard_split
from nextvit.errors import InputError

REST = "rest"
"""The split of images that belong to none of the others."""
CVAT_FOLDER = re.compile(r"obj_(.+)_data")
"""CVAT's folder of a subset in YOLO 1.1: obj_train_data."""


def group_by_split(images: Iterable[ForeignImage]) -> dict[str, list[ForeignImage]]:
    """The images of each split, in the order train, val, test, rest.

    What the annotations state of an image comes first, then the names of its folders, then those of its annotation
    file. Where there are splits, images without one become the split "rest"; where there are none, all are "train". An
    image whose folder has the name of a split that the annotations state without it is in "rest", too.

    Raises:
        InputError: the folders of an image have the names of two splits.
    """
    images = list(images)
    stated = {image.split for image in images} - {None}
    groups: dict[str, list[ForeignImage]] = {"train": [], "val": [], "test": [], REST: []}
    for image in images:
        split = image.split or find_folder_split(image.path) or find_folder_split(image.annotation)
        is_left_over = not image.split and split in stated
        groups[REST if split is None or is_left_over else split].append(image)
    if not any(groups[split] for split in ("train", "val", "test")):
        groups = {"train": groups[REST]}
    return {split: group for split, group in groups.items() if group}


def find_folder_split(path: str) -> str | None:
    """The split in the folders of a path, by our name."""
    found: dict[str, str] = {}
    for folder in PurePosixPath(path).parts[:-1]:
        of_cvat = CVAT_FOLDER.fullmatch(folder)
        if split := standard_split(of_cvat[1] if of_cvat else folder):
            found[split] = folder
    if len(found) > 1:
        raise InputError(f"{path}: its folders are of two splits, {' and '.join(found.values())}; rename one")
    return next(iter(found), None)


def name_images(images: Sequence[ForeignImage], split: str) -> list[str]:
    """The name of each image of a split: its path below the folder that holds them all.

    Raises:
        InputError: two names differ in capital letters or accents' encoding alone, which is one file on many disks.
    """
    paths = [PurePosixPath(image.path) for image in images]
    depth = count_shared_parents(paths)
    names = ["/".join(path.parts[depth:]) for path in paths]
    seen: dict[str, str] = {}
    for image, name in zip(images, names, strict=True):
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), image.path)
        if other != image.path:
            raise InputError(
                f"{other} and {image.path} would be one file of {split} where capital letters do not count; rename one"
            )
    return names


def count_shared_parents(paths: Sequence[PurePosixPath]) -> int:
    """How many folders all paths begin with."""
    first, last = min(path.parent.parts for path in paths), max(path.parent.parts for path in paths)
    depth = 0
    while depth < min(len(first), len(last)) and first[depth] == last[depth]:
        depth += 1
    return depth


def describe_splits(splits: dict[str, list[ForeignImage]]) -> list[str]:
    """What a user should know: which folders became one split, and what is in none."""
    lines: list[str] = []
    for split, images in splits.items():
        folders = Counter(str(PurePosixPath(image.path).parent) for image in images)
        counts = ", ".join(f"{folder} {count}" for folder, count in list(folders.items())[:6])
        more = ", ..." if len(folders) > 6 else ""
        if split == REST:
            one = "1 image is" if len(images) == 1 else f"{len(images)} images are"
            lines.append(f"{REST}: {one} in no split ({counts}{more}); training does not use them")
        elif len(folders) > 1:
            lines.append(f"{split}: from {len(folders)} folders ({counts}{more})")
    return lines
