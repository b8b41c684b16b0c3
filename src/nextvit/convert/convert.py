"""From other annotations of objects to COCO's: the same pictures, boxes, outlines and remarks in another form."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from nextvit.data.coco import is_coco
from nextvit.errors import InputError
from nextvit.files.durable import durable_folder
from nextvit.image.resizing import FORMATS, UNREADABLE, reason

SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val"}
"""What others call our splits."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """A picture and what is annotated on it."""

    file: Path
    name: str
    """Its path inside the folder of its split."""
    size_wh: tuple[int, int]
    objects: Sequence[Record]
    """As COCO's annotations, without id and image_id."""
    more: Record = field(default_factory=dict)
    """What else is said of it."""


@dataclass(frozen=True)
class Annotated:
    """A whole set in memory, ready to be written."""

    kind: str
    """The format it comes from."""
    categories: Sequence[Record]
    splits: dict[str, list[Picture]]
    info: Record
    """What the source says of the set."""
    remarks: Sequence[str]
    """What a user should know: how coordinates were taken, which fields were kept."""


def convert(source: Path, out: Path) -> Annotated:
    """Write the set in `source` as images/<split>/ and annotations/instances_<split>.json into the new folder `out`.

    Raises:
        InputError: the format is not known, something in it cannot be read, or `out` is there already.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; choose a new folder")
    found = read_other(source)
    with durable_folder(out) as folder:
        (folder / "annotations").mkdir()
        for split, pictures in found.splits.items():
            for picture in pictures:
                copy = folder / "images" / split / picture.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture.file, copy)
            content = json.dumps(as_coco(found, pictures), ensure_ascii=False)
            (folder / "annotations" / f"instances_{split}.json").write_text(content, encoding="utf-8")
    return found


def read_other(source: Path) -> Annotated:
    """A set in VOC's or YOLO's format.

    Raises:
        InputError: it is in neither, or something in it cannot be read.
    """
    from nextvit.convert.voc import is_voc, read_voc
    from nextvit.convert.yolo import is_yolo, read_yolo

    if not source.is_dir():
        raise InputError(f"{source}: no such folder; expected a dataset in VOC's or YOLO's format")
    if is_voc(source):
        return read_voc(source)
    if is_yolo(source):
        return read_yolo(source)
    if is_coco(source):
        raise InputError(f"{source}: is in COCO's format already; use it as it is")
    raise InputError(
        f"{source}: neither VOC's format (Annotations/*.xml, or *.xml beside the images) nor YOLO's (labels/*.txt, or *.txt "
        "beside the images)"
    )


def as_coco(found: Annotated, pictures: Sequence[Picture]) -> Record:
    """One split in COCO's format; ids count from 1."""
    images: list[Record] = []
    annotations: list[Record] = []
    for image_id, picture in enumerate(pictures, 1):
        width, height = picture.size_wh
        images.append({"id": image_id, "file_name": picture.name, "width": width, "height": height, **picture.more})
        for each in picture.objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **each})
    info = {"description": f"converted from {found.kind}'s format by nextvit", **found.info}
    return {"info": info, "images": images, "annotations": annotations, "categories": list(found.categories)}


def split_name(folder: str) -> str:
    """Our name of a split: train2017 -> train, valid -> val."""
    name = folder.lower().rstrip("0123456789")
    return SPLIT_NAMES.get(name, name) or folder


def upright_size(file: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, from its header; InputError where it has none."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(5, 9)
            return image.size[::-1] if turned else image.size
    except UNREADABLE as error:
        raise InputError(f"{file}: {reason(error)}") from None


def relative(path: str, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
