"""Annotations in COCO's JSON, in three layouts of folders.

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

from nextvit.data.annotations import NO_MASK, POLYGONS, RUNS, AnnotationPacker, Annotations
from nextvit.data.findings import Finding
from nextvit.data.object_masks import MAX_COORDINATE, check_polygon, run_lengths
from nextvit.data.samples import Packer, Samples
from nextvit.errors import InputError

BESIDE_THE_IMAGES = "_annotations.coco.json"
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val"}
"""Of the layout with a file beside the images."""
MAX_ID = 2**63 - 1

Record = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where one split lies."""

    split: str
    annotations: Path
    images: Path
    """The folder that file names are relative to."""


@dataclass(frozen=True)
class Labelled:
    """The pictures of a split and, in the same order, what is annotated on them."""

    samples: Samples
    annotations: Annotations


@dataclass(frozen=True)
class Category:
    """A class as the files have it."""

    id: int
    name: str
    supercategory: str


class Unusable(ValueError):
    """One annotation cannot be used; its kind is that of the finding."""

    def __init__(self, message: str, *, kind: str = "bad_annotation") -> None:
        super().__init__(message)
        self.kind = kind


def is_coco(root: Path) -> bool:
    """Whether a folder holds annotations of objects, or at least looks as if it was meant to."""
    if any((root / folder / BESIDE_THE_IMAGES).is_file() for folder in SPLIT_FOLDERS):
        return True
    return (root / "annotations").is_dir() and any((root / "annotations").glob("*.json"))


def find_sources(root: Path) -> list[Source]:
    """The files and folders of "train" and, if there is one, "val".

    Raises:
        InputError: it is not in one of the layouts; the message says what is missing.
    """
    beside = [
        Source(split, root / folder / BESIDE_THE_IMAGES, root / folder) for folder, split in SPLIT_FOLDERS.items()
    ]
    sources = [source for source in beside if source.annotations.is_file()] or sources_by_name(root)
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


def sources_by_name(root: Path) -> list[Source]:
    """The splits by the names of the files in `annotations`."""
    sources: list[Source] = []
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
        sources.append(Source(split, path, found))
    return sources


def read_coco(root: Path, faults: list[Finding]) -> tuple[dict[int, str], dict[str, Labelled]]:
    """The names of the classes by their category ids, in the order of ids, and the splits that are there.

    What cannot be used is left out and told in `faults`.

    Raises:
        InputError: this is not in COCO's format, or not in one of the layouts.
    """
    sources = find_sources(root)
    contents = {source: read_json(source.annotations) for source in sources}
    categories = read_categories(contents, faults)
    labels = {id: label for label, id in enumerate(categories)}
    return categories, {source.split: read_split(source, contents.pop(source), labels, faults) for source in sources}


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


def read_categories(contents: dict[Source, dict[str, list[Any]]], faults: list[Finding]) -> dict[int, str]:
    """Names by category ids, ascending: the splits must agree on them."""
    found: dict[int, Category] = {}
    for source, content in contents.items():
        seen: set[int] = set()
        for record in content["categories"]:
            try:
                category = read_category(record)
                if category.id in seen:
                    raise Unusable(f"category id {category.id} is given twice")
                seen.add(category.id)
                add_category(category, found)
            except Unusable as error:
                faults.append(Finding("bad_category", f"{source.annotations}: {error}"))
    for category in placeholders(found, contents):
        faults.append(
            Finding("category_left_out", f"category {category.id} {category.name!r} is only a name above the others")
        )
        del found[category.id]
    return {id: found[id].name for id in sorted(found)}


def read_category(record: Any) -> Category:
    if not is_record(record) or not is_id(record.get("id")) or not is_text(record.get("name")):
        raise Unusable(f"a category needs a whole number as id and a name, got {short(record)}")
    return Category(record["id"], record["name"], str(record.get("supercategory", "")))


def add_category(category: Category, found: dict[int, Category]) -> None:
    """Add one, unless it is there; Unusable where it contradicts what is there."""
    known = found.setdefault(category.id, category)
    if known.name != category.name:
        raise Unusable(f"category id {category.id} is {category.name!r} here and {known.name!r} elsewhere")
    if same := [other.id for other in found.values() if other.name == category.name and other.id != category.id]:
        del found[category.id]
        raise Unusable(f"the name {category.name!r} belongs to the category ids {same[0]} and {category.id}")


def placeholders(found: dict[int, Category], contents: dict[Source, dict[str, list[Any]]]) -> list[Category]:
    """Categories that one exporter puts above all classes: without objects, and named as the others' supercategory."""
    if not all(source.annotations.name == BESIDE_THE_IMAGES for source in contents):
        return []
    above = {category.supercategory for category in found.values()}
    used = {
        each.get("category_id")
        for content in contents.values()
        for each in content["annotations"]
        if is_record(each) and is_id(each.get("category_id"))
    }
    return [each for each in found.values() if each.name in above and each.id not in used and len(found) > 1]


def read_split(
    source: Source, content: dict[str, list[Any]], labels: dict[int, int], faults: list[Finding]
) -> Labelled:
    """The pictures of a split that are there, with their objects that can be used, in the order of the file."""
    listed, pictures = read_images(source, content["images"], faults)
    of_picture: dict[int, list[Record]] = {id: [] for id in pictures}
    for record in content["annotations"]:
        image_id = record.get("image_id") if is_record(record) else None
        if not is_id(image_id):
            message = f"{source.annotations}: an annotation needs a whole number as image_id, got {short(record)}"
            faults.append(Finding("bad_annotation", message))
        elif image_id in of_picture:
            of_picture[image_id].append(record)
        elif image_id not in listed:
            message = f"{source.annotations}: {called(record)} is of image {image_id}, which is not listed"
            faults.append(Finding("unknown_image", message))
    samples, packer = Packer(), AnnotationPacker()
    for image_id, (path, size_wh) in pictures.items():
        packer.add_picture(image_id, size_wh)
        present: set[int] = set()
        for record in of_picture.pop(image_id):
            try:
                label, crowd = add_object(packer, record, size_wh, labels)
                present |= set() if crowd else {label}
            except Unusable as error:
                faults.append(Finding(error.kind, f"{source.annotations}: {called(record)} of {path}: {error}"))
        samples.add(path, tuple(sorted(present)))
    return Labelled(samples.samples(), packer.annotations())


def read_images(
    source: Source, records: list[Any], faults: list[Finding]
) -> tuple[set[int], dict[int, tuple[str, tuple[int, int]]]]:
    """The ids of all pictures that are listed; path, width and height of those that can be used."""
    listed: set[int] = set()
    pictures: dict[int, tuple[str, tuple[int, int]]] = {}
    paths: set[str] = set()
    for record in records:
        try:
            id, name, size_wh = read_image_record(record)
            path = os.path.join(source.images, name)  # noqa: PTH118 (10 times faster)
            if id in listed:
                raise Unusable(f"image id {id} is given twice")
            listed.add(id)
            if path in paths:
                raise Unusable(f"{name} is listed under two image ids; put all its objects under one")
            paths.add(path)
            if not os.path.isfile(path):  # noqa: PTH113 (likewise)
                raise Unusable(f"lists {name}, but there is no file {path}", kind="missing_image")
            pictures[id] = (path, size_wh)
        except Unusable as error:
            faults.append(Finding(error.kind, f"{source.annotations}: {error}"))
    return listed, pictures


def read_image_record(record: Any) -> tuple[int, str, tuple[int, int]]:
    """Id, file name, width and height."""
    if not is_record(record) or not is_id(record.get("id")) or not is_text(record.get("file_name")):
        raise Unusable(f"an image needs a whole number as id and a file_name, got {short(record)}")
    width, height = record.get("width"), record.get("height")
    if not is_id(width) or not is_id(height) or not 0 < min(width, height) <= max(width, height) < 2**31:
        raise Unusable(
            f"image {record['file_name']} needs width and height in pixels, got {short(width)} and {short(height)}"
        )
    return record["id"], record["file_name"], (width, height)


def add_object(
    packer: AnnotationPacker, record: Record, size_wh: tuple[int, int], labels: dict[int, int]
) -> tuple[int, bool]:
    """Add an object to the last picture; return its class and whether it is a crowd."""
    category_id = record.get("category_id")
    label = labels.get(category_id) if is_id(category_id) else None
    if label is None:
        raise Unusable(f"category {short(category_id)} is not in the list of categories", kind="unknown_category")
    box = record.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise Unusable(f"bbox must be x, y, width, height, got {short(box)}")
    x, y, width, height = map(float, box)
    if width < 0 or height < 0:
        raise Unusable(f"bbox has a negative side, {width:g}x{height:g}; it is x, y, width, height")
    if max(abs(x), abs(y), x + width, y + height) > MAX_COORDINATE:
        raise Unusable(f"bbox {short(box)} lies more than {MAX_COORDINATE:,} px away")
    form, parts = read_segmentation(record.get("segmentation"), size_wh)
    area = record.get("area", width * height)
    if not is_number(area):
        raise Unusable(f"area must be a number of pixels, got {short(area)}")
    id, crowd = record.get("id"), record.get("iscrowd", 0) in (1, True)
    packer.add_object(
        id=id if is_id(id) else -1,
        box=(x, y, x + width, y + height),
        label=label,
        crowd=crowd,
        area=float(area),
        form=form,
        parts=parts,
    )
    return label, crowd


def read_segmentation(given: Any, size_wh: tuple[int, int]) -> tuple[int, list[NDArray[Any]]]:
    """The form and the packed parts of a mask; an empty list or an empty polygon is none."""
    width, height = size_wh
    try:
        if isinstance(given, dict):
            return RUNS, [run_lengths(given, height, width)]
        if not given or given == [[]]:
            return NO_MASK, []
        if not isinstance(given, list):
            raise InputError(f"segmentation must be polygons or run lengths, got {short(given)}")
        return POLYGONS, [check_polygon(polygon) for polygon in given]
    except InputError as error:
        raise Unusable(str(error)) from None


def is_record(value: Any) -> TypeGuard[Record]:
    return isinstance(value, dict)


def is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_ID


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_text(value: Any) -> TypeGuard[str]:
    """Whether it is text that can be written into results; JSON may hold halves of letters."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def called(record: Record) -> str:
    return f"annotation {short(record.get('id', 'without id'))}"


def short(value: object) -> str:
    """A value as it stands in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
