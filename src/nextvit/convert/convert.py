"""Convert object annotations in VOC's or YOLO's format to COCO's: same images, boxes, masks and extra fields."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from nextvit.convert.foreign import ForeignDataset, ForeignImage, Record
from nextvit.convert.voc import is_voc, read_voc
from nextvit.convert.yolo import is_yolo, read_yolo
from nextvit.data.coco_layouts import is_coco
from nextvit.errors import InputError, suggest_path
from nextvit.files.durable import durable_folder


def convert_to_coco(source: Path, out: Path) -> ForeignDataset:
    """Write a dataset as images/<split>/ and annotations/instances_<split>.json into a new folder.

    Args:
        source: folder of a dataset in VOC's or YOLO's format.
        out: the folder to create; after an error it does not exist.

    Returns:
        The dataset as it was read.

    Raises:
        InputError: the format is unknown, a file cannot be read, or `out` already exists.
    """
    if out.exists():
        raise InputError(f"{out}: already exists; choose a new folder")
    dataset = read_foreign(source)
    with durable_folder(out) as folder:
        (folder / "annotations").mkdir()
        for split, images in dataset.splits.items():
            for image in images:
                copy = folder / "images" / split / image.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(image.file, copy)
            content = json.dumps(to_coco(dataset, images), ensure_ascii=False)
            (folder / "annotations" / f"instances_{split}.json").write_text(content, encoding="utf-8")
    return dataset


def read_foreign(source: Path) -> ForeignDataset:
    """Read a dataset in VOC's or YOLO's format.

    Raises:
        InputError: the folder is in neither format, or a file cannot be read.
    """
    if not source.is_dir():
        raise InputError(
            f"{source}: no such folder; expected a dataset in VOC's or YOLO's format{suggest_path(source)}"
        )
    if is_voc(source):
        return read_voc(source)
    if is_yolo(source):
        return read_yolo(source)
    if is_coco(source):
        raise InputError(f"{source}: is already in COCO's format; use it directly")
    raise InputError(
        f"{source}: neither VOC's format (Annotations/*.xml, or *.xml beside the images) nor YOLO's (labels/*.txt, "
        "or *.txt beside the images)"
    )


def to_coco(dataset: ForeignDataset, images: Sequence[ForeignImage]) -> Record:
    """The content of COCO's JSON file for one split; ids count from 1."""
    image_records: list[Record] = []
    annotations: list[Record] = []
    for image_id, image in enumerate(images, 1):
        width, height = image.size_wh
        image_records.append(
            {"id": image_id, "file_name": image.name, "width": width, "height": height, **image.extra_fields}
        )
        for record in image.objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **record})
    info = {"description": f"converted from {dataset.source_format}'s format by nextvit", **dataset.info}
    return {"info": info, "images": image_records, "annotations": annotations, "categories": list(dataset.categories)}
