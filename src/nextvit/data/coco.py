"""Read annotations in COCO's JSON format, in three folder layouts.

images/<split>/ and annotations/instances_<split>.json; train2017/ and annotations/instances_train2017.json; and
_annotations.coco.json in each split's folder.
"""

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from numpy.typing import NDArray

from nextvit.data.annotations import NO_MASK, POLYGONS, RUN_LENGTHS, Annotations, AnnotationsBuilder
from nextvit.data.findings import Finding
from nextvit.data.object_masks import MAX_COORDINATE, check_polygon, run_lengths
from nextvit.data.samples import Samples, SamplesBuilder
from nextvit.errors import InputError

BESIDE_THE_IMAGES = "_annotations.coco.json"
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val"}
"""Folders of the layout with the annotation file beside the images, and our names of the splits."""
MAX_ID = 2**63 - 1

Record = dict[str, Any]


@dataclass(frozen=True)
class SplitFiles:
    """The annotation file and the image folder of one split."""

    split: str
    annotations: Path
    images: Path
    """File names in the annotations are relative to this folder."""


@dataclass(frozen=True)
class AnnotatedSplit:
    """The images of a split, and their annotations in the same order."""

    samples: Samples
    annotations: Annotations


@dataclass(frozen=True)
class Category:
    """A class, as in the files."""

    id: int
    name: str
    supercategory: str


class InvalidRecord(ValueError):
    """A record of the file cannot be used; `kind` is that of the finding."""

    def __init__(self, message: str, *, kind: str = "bad_annotation") -> None:
        super().__init__(message)
        self.kind = kind


def is_coco(root: Path) -> bool:
    """Whether a folder holds COCO annotations, or at least looks like it."""
    if any((root / folder / BESIDE_THE_IMAGES).is_file() for folder in SPLIT_FOLDERS):
        return True
    return (root / "annotations").is_dir() and any((root / "annotations").glob("*.json"))


def find_split_files(root: Path) -> list[SplitFiles]:
    """The files and folders of "train" and, if there is one, "val".

    Raises:
        InputError: the folder is in none of the layouts; the message says what is missing.
    """
    beside = [
        SplitFiles(split, root / folder / BESIDE_THE_IMAGES, root / folder) for folder, split in SPLIT_FOLDERS.items()
    ]
    sources = [source for source in beside if source.annotations.is_file()] or find_split_files_by_name(root)
    splits = [source.split for source in sources]
    for split in splits:
        if splits.count(split) > 1:
            names = " and ".join(
                str(source.annotations.relative_to(root)) for source in sources if source.split == split
            )
            raise InputError(f"{root}: {names} are both the split {split}; keep one of them")
    if "train" not in splits:
        raise InputError(f"{root}: no annotations of the split train; expected annotations/instances_train.json")
    return sorted(sources, key=lambda source: source.split)


def find_split_files_by_name(root: Path) -> list[SplitFiles]:
    """The splits, from the names of the files in `annotations`."""
    sources: list[SplitFiles] = []
    for path in sorted((root / "annotations").glob("instances_*.json")):
        name = path.stem.removeprefix("instances_")
        split = re.sub(r"\d+$", "", name)
        if split in ("valid", "validation", "dev"):
            raise InputError(f"{path}: rename the split to 'val', or its images would not be used")
        if split not in ("train", "val"):
            continue
        folders = [root / "images" / name, root / name]
        found = next((folder for folder in folders if folder.is_dir()), None)
        if found is None:
            raise InputError(f"{path}: no folder with its images; expected {folders[0]} or {folders[1]}")
        sources.append(SplitFiles(split, path, found))
    return sources


def read_coco(root: Path, findings: list[Finding]) -> tuple[dict[int, str], dict[str, AnnotatedSplit]]:
    """Read a dataset in one of the layouts; no image is opened.

    Args:
        root: folder of the dataset.
        findings: problems of records that are left out are appended here.

    Returns:
        Class names by category id, ascending, and the splits that exist.

    Raises:
        InputError: a file is not in COCO's format, or the folder is in none of the layouts.
    """
    sources = find_split_files(root)
    contents = {source: read_json(source.annotations) for source in sources}
    categories = read_categories(contents, findings)
    labels = {id: label for label, id in enumerate(categories)}
    return categories, {source.split: read_split(source, contents.pop(source), labels, findings) for source in sources}


def read_json(path: Path) -> dict[str, list[Any]]:
    """The three lists of COCO's format: images, annotations, categories."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged, or no JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not in COCO's format: expected an object with images, annotations and categories, "
                         f"got a {type(content).__name__}")  # fmt: skip
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list):
            keys = ", ".join(sorted(content)) or "nothing"
            raise InputError(f"{path}: not in COCO's format: it has no list {name!r}, but {keys}")
    if not content["categories"]:
        raise InputError(f"{path}: its list of categories is empty, so no object has a class")
    return content


def read_categories(contents: dict[SplitFiles, dict[str, list[Any]]], findings: list[Finding]) -> dict[int, str]:
    """Class names by category id, ascending; the splits must agree on them."""
    found: dict[int, Category] = {}
    for source, content in contents.items():
        seen: set[int] = set()
        for record in content["categories"]:
            try:
                category = read_category(record)
                if category.id in seen:
                    raise InvalidRecord(f"category id {category.id} is given twice")
                seen.add(category.id)
                add_category(category, found)
            except InvalidRecord as error:
                findings.append(Finding("bad_category", f"{source.annotations}: {error}"))
    for category in find_placeholders(found, contents):
        findings.append(
            Finding(
                "category_left_out", f"category {category.id} {category.name!r} is only a supercategory of the others"
            )
        )
        del found[category.id]
    return {id: found[id].name for id in sorted(found)}


def read_category(record: Any) -> Category:
    if not is_record(record) or not is_id(record.get("id")) or not is_text(record.get("name")):
        raise InvalidRecord(f"a category needs a whole number as id and a name, got {shorten(record)}")
    return Category(record["id"], record["name"], str(record.get("supercategory", "")))


def add_category(category: Category, found: dict[int, Category]) -> None:
    """Add a category unless it exists; InvalidRecord where it contradicts an existing one."""
    known = found.setdefault(category.id, category)
    if known.name != category.name:
        raise InvalidRecord(f"category id {category.id} is {category.name!r} here and {known.name!r} elsewhere")
    if same := [other.id for other in found.values() if other.name == category.name and other.id != category.id]:
        del found[category.id]
        raise InvalidRecord(f"the name {category.name!r} belongs to the category ids {same[0]} and {category.id}")


def find_placeholders(found: dict[int, Category], contents: dict[SplitFiles, dict[str, list[Any]]]) -> list[Category]:
    """Categories without objects that have the name of the others' supercategory, as one exporter writes them."""
    if not all(source.annotations.name == BESIDE_THE_IMAGES for source in contents):
        return []
    supercategories = {category.supercategory for category in found.values()}
    used = {
        each.get("category_id")
        for content in contents.values()
        for each in content["annotations"]
        if is_record(each) and is_id(each.get("category_id"))
    }
    return [each for each in found.values() if each.name in supercategories and each.id not in used and len(found) > 1]


def read_split(
    source: SplitFiles, content: dict[str, list[Any]], labels: dict[int, int], findings: list[Finding]
) -> AnnotatedSplit:
    """The images of a split that exist, with their usable objects, in the order of the file."""
    # 1. Group the annotations by image
    listed, images = read_images(source, content["images"], findings)
    records_of: dict[int, list[Record]] = {id: [] for id in images}
    for record in content["annotations"]:
        image_id = record.get("image_id") if is_record(record) else None
        if not is_id(image_id):
            message = f"{source.annotations}: an annotation needs a whole number as image_id, got {shorten(record)}"
            findings.append(Finding("bad_annotation", message))
        elif image_id in records_of:
            records_of[image_id].append(record)
        elif image_id not in listed:
            message = f"{source.annotations}: {name_annotation(record)} is of image {image_id}, which is not listed"
            findings.append(Finding("unknown_image", message))
    # 2. Pack image by image
    samples, builder = SamplesBuilder(), AnnotationsBuilder()
    for image_id, (path, size_wh) in images.items():
        builder.add_image(image_id, size_wh)
        present: set[int] = set()
        for record in records_of.pop(image_id):
            try:
                label, crowd = add_object(builder, record, size_wh, labels)
                present |= set() if crowd else {label}
            except InvalidRecord as error:
                findings.append(
                    Finding(error.kind, f"{source.annotations}: {name_annotation(record)} of {path}: {error}")
                )
        samples.add(path, tuple(sorted(present)))
    return AnnotatedSplit(samples.build(), builder.build())


def read_images(
    source: SplitFiles, records: list[Any], findings: list[Finding]
) -> tuple[set[int], dict[int, tuple[str, tuple[int, int]]]]:
    """The ids of all listed images; path, width and height of the usable ones, by id."""
    listed: set[int] = set()
    images: dict[int, tuple[str, tuple[int, int]]] = {}
    paths: set[str] = set()
    for record in records:
        try:
            id, name, size_wh = read_image_record(record)
            path = os.path.join(source.images, name)  # noqa: PTH118 (10 times faster)
            if id in listed:
                raise InvalidRecord(f"image id {id} is given twice")
            listed.add(id)
            if path in paths:
                raise InvalidRecord(f"{name} is listed under two image ids; put all its objects under one")
            paths.add(path)
            if not os.path.isfile(path):  # noqa: PTH113 (likewise)
                raise InvalidRecord(f"lists {name}, but there is no file {path}", kind="missing_image")
            images[id] = (path, size_wh)
        except InvalidRecord as error:
            findings.append(Finding(error.kind, f"{source.annotations}: {error}"))
    return listed, images


def read_image_record(record: Any) -> tuple[int, str, tuple[int, int]]:
    """Id, file name, and width and height of an image."""
    if not is_record(record) or not is_id(record.get("id")) or not is_text(record.get("file_name")):
        raise InvalidRecord(f"an image needs a whole number as id and a file_name, got {shorten(record)}")
    width, height = record.get("width"), record.get("height")
    if not is_id(width) or not is_id(height) or not 0 < min(width, height) <= max(width, height) < 2**31:
        raise InvalidRecord(
            f"image {record['file_name']} needs width and height in pixels, got {shorten(width)} and {shorten(height)}"
        )
    return record["id"], record["file_name"], (width, height)


def add_object(
    builder: AnnotationsBuilder, record: Record, size_wh: tuple[int, int], labels: dict[int, int]
) -> tuple[int, bool]:
    """Add an object to the last image; return its class and whether it is a crowd."""
    category_id = record.get("category_id")
    label = labels.get(category_id) if is_id(category_id) else None
    if label is None:
        raise InvalidRecord(
            f"category {shorten(category_id)} is not in the list of categories", kind="unknown_category"
        )
    box = record.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise InvalidRecord(f"bbox must be x, y, width, height, got {shorten(box)}")
    x, y, width, height = map(float, box)
    if width < 0 or height < 0:
        raise InvalidRecord(f"bbox has a negative side, {width:g}x{height:g}; it is x, y, width, height")
    if max(abs(x), abs(y), x + width, y + height) > MAX_COORDINATE:
        raise InvalidRecord(f"bbox {shorten(box)} is more than {MAX_COORDINATE:,} px away")
    mask_format, parts = read_segmentation(record.get("segmentation"), size_wh)
    area = record.get("area", width * height)
    if not is_number(area):
        raise InvalidRecord(f"area must be a number of pixels, got {shorten(area)}")
    id, crowd = record.get("id"), record.get("iscrowd", 0) in (1, True)
    builder.add_object(
        id=id if is_id(id) else -1,
        box=(x, y, x + width, y + height),
        label=label,
        crowd=crowd,
        area=float(area),
        mask_format=mask_format,
        parts=parts,
    )
    return label, crowd


def read_segmentation(given: Any, size_wh: tuple[int, int]) -> tuple[int, list[NDArray[Any]]]:
    """The format of a mask and its parts as arrays; an empty list or an empty polygon is no mask."""
    width, height = size_wh
    try:
        if isinstance(given, dict):
            return RUN_LENGTHS, [run_lengths(given, height, width)]
        if not given or given == [[]]:
            return NO_MASK, []
        if not isinstance(given, list):
            raise InputError(f"segmentation must be polygons or run lengths, got {shorten(given)}")
        return POLYGONS, [check_polygon(polygon) for polygon in given]
    except InputError as error:
        raise InvalidRecord(str(error)) from None


def is_record(value: Any) -> TypeGuard[Record]:
    return isinstance(value, dict)


def is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_ID


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_text(value: Any) -> TypeGuard[str]:
    """Whether a value is text that can be encoded as UTF-8; JSON may contain lone surrogates."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def name_annotation(record: Record) -> str:
    return f"annotation {shorten(record.get('id', 'without id'))}"


def shorten(value: object) -> str:
    """A value for a message, in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
