"""A dataset in another annotation format, in memory, with the objects as COCO's records."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from nextvit.errors import InputError
from nextvit.files.regular import require_regular
from nextvit.image.reading import FORMATS, UNREADABLE, reason

Record = dict[str, Any]

COCO_FIELDS = frozenset({"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "file_name"})
"""Fields of COCO's records."""


@dataclass(frozen=True)
class ForeignImage:
    """An image file and its annotated objects."""

    path: str
    """Below the folder of the dataset, with forward slashes."""
    size_wh: tuple[int, int]
    """Width and height in pixels, upright."""
    objects: Sequence[Record]
    """COCO's annotation records, without id and image_id."""
    extra_fields: Record = field(default_factory=dict)
    """Further fields for COCO's image record."""
    split: str | None = None
    """The split that the annotations state, by our name; None: they state none."""
    annotation: str = ""
    """The file that the objects were read from; its folders may state a split, too."""


@dataclass(frozen=True)
class LeftOut:
    """Files of the dataset that are not converted."""

    reason: str
    paths: Sequence[str]
    """Below the folder of the dataset, with forward slashes."""


@dataclass(frozen=True)
class ForeignDataset:
    """A whole dataset of another format, as its reader understood it."""

    source_format: str
    """"VOC", "YOLO", "LabelMe" or "CVAT"."""
    categories: Sequence[Record]
    """COCO's category records."""
    images: Sequence[ForeignImage]
    annotation_files: frozenset[str]
    """All files beside the images that were read, masks included."""
    left_out: Sequence[LeftOut]
    """Files whose reason the reader knows; `find_left_out` adds all others."""
    image_left_out_because: str
    """The reason for an image that is in no other place."""
    info: Record
    """What the source says about the dataset as a whole."""
    remarks: Sequence[str]
    """What a user should know: how coordinates were read, which fields were kept."""


def number_categories(names: Sequence[str]) -> dict[str, int]:
    """Category ids from 1 by name, in the order of the names."""
    return {name: id for id, name in enumerate(sorted(set(names)), 1)}


def to_categories(ids: dict[str, int]) -> list[Record]:
    """COCO's category records."""
    return [{"id": id, "name": name, "supercategory": ""} for name, id in ids.items()]


def rename_fields(fields: Record, prefix: str) -> Record:
    """Further fields of an object, with a prefix before names that COCO uses itself."""
    return {f"{prefix}_{name}" if name in COCO_FIELDS else name: value for name, value in fields.items()}


def read_upright_size(file: Path) -> tuple[int, int]:
    """Width and height of an image after its EXIF orientation, read from the header.

    Raises:
        InputError: the file is not a readable image.
    """
    try:
        require_regular(file)
        with Image.open(file, formats=FORMATS) as image:
            is_transposed = image.getexif().get(ExifTags.Base.Orientation, 1) in range(5, 9)
            return image.size[::-1] if is_transposed else image.size
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{file}: {reason(error)}") from None


def describe_shapes(images: Sequence[ForeignImage], left_out: Counter[str]) -> list[str]:
    """What a user should know about shapes that were drawn: how many have masks, and which kinds were left out."""
    objects = [each for image in images for each in image.objects]
    lines: list[str] = []
    if masks := sum("segmentation" in each for each in objects):
        lines.append(f"masks: {masks} of {len(objects)} objects, from outlines and masks; upright boxes have none")
    if left_out:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        lines.append(f"left out: shapes without an area, {counts}")
    return lines
