"""A dataset in another annotation format, in memory, with the objects as COCO's records."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from nextvit.errors import InputError
from nextvit.image.reading import FORMATS, UNREADABLE, reason

SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val"}
"""Names of splits in other datasets, and ours."""

Record = dict[str, Any]


@dataclass(frozen=True)
class ForeignImage:
    """An image file and its annotated objects."""

    file: Path
    name: str
    """The path inside the folder of its split."""
    size_wh: tuple[int, int]
    """Width and height in pixels, upright."""
    objects: Sequence[Record]
    """COCO's annotation records, without id and image_id."""
    extra_fields: Record = field(default_factory=dict)
    """Further fields for COCO's image record."""


@dataclass(frozen=True)
class ForeignDataset:
    """A whole dataset of another format, ready to be written as COCO."""

    source_format: str
    """"VOC" or "YOLO"."""
    categories: Sequence[Record]
    """COCO's category records."""
    splits: dict[str, list[ForeignImage]]
    info: Record
    """What the source says about the dataset as a whole."""
    remarks: Sequence[str]
    """What a user should know: how coordinates were read, which fields were kept."""


def normalize_split_name(folder: str) -> str:
    """Our name of a split: train2017 -> train, valid -> val."""
    name = folder.lower().rstrip("0123456789")
    return SPLIT_NAMES.get(name, name) or folder


def read_upright_size(file: Path) -> tuple[int, int]:
    """Width and height of an image after its EXIF orientation, read from the header.

    Raises:
        InputError: the file is not a readable image.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            is_transposed = image.getexif().get(ExifTags.Base.Orientation, 1) in range(5, 9)
            return image.size[::-1] if is_transposed else image.size
    except UNREADABLE as error:
        raise InputError(f"{file}: {reason(error)}") from None


def relative_posix_path(path: str, folder: Path) -> str:
    """The path as seen from a folder, with forward slashes."""
    return Path(os.path.relpath(path, folder)).as_posix()
