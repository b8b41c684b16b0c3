"""Convert objects that are annotated in another format to COCO's: same images, boxes, masks and extra fields."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nextvit.convert.foreign import ForeignDataset, ForeignImage, LeftOut, Record
from nextvit.convert.formats import read_foreign
from nextvit.convert.left_out import describe, find_left_out
from nextvit.convert.source_files import list_source_files
from nextvit.convert.splits import describe_splits, group_by_split, name_images
from nextvit.data.object_masks import MAX_COORDINATE
from nextvit.errors import InputError, suggest_path
from nextvit.files.durable import durable_folder


@dataclass(frozen=True)
class Conversion:
    """What was converted, and what was not."""

    dataset: ForeignDataset
    splits: dict[str, list[ForeignImage]]
    left_out: Sequence[LeftOut]
    """With the images of the splits and the annotation files of the dataset, all files below its folder."""
    remarks: Sequence[str]
    """What a user should know, line by line."""


def convert_to_coco(source: Path, out: Path) -> Conversion:
    """Write a dataset as images/<split>/ and annotations/instances_<split>.json into a new folder.

    Args:
        source: folder of a dataset in VOC's, YOLO's, LabelMe's or CVAT's format.
        out: the folder to create; after an error it does not exist.

    Raises:
        InputError: the format is unknown, a file cannot be read, files contradict each other, or `out` already exists.
    """
    if out.exists():
        raise InputError(f"{out}: already exists; choose a new folder")
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; expected one with images and annotations{suggest_path(source)}")
    if out.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{out}: is inside of {source}; choose a folder outside of it, such as ../{out.name}")
    files = list_source_files(source)
    dataset = read_foreign(files)
    if not dataset.images:
        raise InputError(f"{source}: has no image that is annotated in {dataset.source_format}'s format")
    splits = group_by_split(dataset.images)
    names = {split: name_images(images, split) for split, images in splits.items()}
    left_out = find_left_out(files, dataset)
    with durable_folder(out) as folder:
        (folder / "annotations").mkdir()
        for split, images in splits.items():
            for image, name in zip(images, names[split], strict=True):
                copy = folder / "images" / split / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / image.path, copy)
            content = json.dumps(to_coco(dataset, images, names[split]), ensure_ascii=False)
            (folder / "annotations" / f"instances_{split}.json").write_text(content, encoding="utf-8")
    remarks = [*dataset.remarks, *describe_splits(splits), *map(describe, left_out)]
    return Conversion(dataset, splits, left_out, remarks)


def to_coco(dataset: ForeignDataset, images: Sequence[ForeignImage], names: Sequence[str]) -> Record:
    """The content of COCO's JSON file for one split; ids count from 1.

    Raises:
        InputError: an object is farther away than any image is large.
    """
    image_records: list[Record] = []
    annotations: list[Record] = []
    for image_id, (image, name) in enumerate(zip(images, names, strict=True), 1):
        width, height = image.size_wh
        image_records.append(
            {"id": image_id, "file_name": name, "width": width, "height": height, **image.extra_fields}
        )
        for record in image.objects:
            if not all(abs(value) <= MAX_COORDINATE for value in record["bbox"]):
                raise InputError(f"{image.path}: an object reaches more than {MAX_COORDINATE:,} px away")
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **record})
    info = {"description": f"converted from {dataset.source_format}'s format by nextvit", **dataset.info}
    return {"info": info, "images": image_records, "annotations": annotations, "categories": list(dataset.categories)}
