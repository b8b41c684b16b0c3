"""Read annotations in COCO's JSON format; `nextvit.data.coco_layouts` finds the files."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from numpy.typing import NDArray

from nextvit.data.annotations import NO_MASK, POLYGONS, RUN_LENGTHS, Annotations, AnnotationsBuilder
from nextvit.data.class_names import normalize_class_name
from nextvit.data.coco_layouts import BESIDE_THE_IMAGES, FIFTYONE, UNNAMED, SplitFiles, choose_folder, find_split_files
from nextvit.data.findings import Finding
from nextvit.data.flags import read_flag
from nextvit.data.listed_files import ListedFiles
from nextvit.data.object_masks import MAX_COORDINATE, check_polygon, clip_polygon, run_lengths
from nextvit.data.samples import Samples, SamplesBuilder
from nextvit.data.split_names import splits_to_read
from nextvit.errors import InputError
from nextvit.files.regular import require_regular
from nextvit.files.structured_text import read_json
from nextvit.image.reading import MAX_PIXELS

MAX_ID = 2**63 - 1
MAX_FILE_BYTES = 2**32
"""The largest published annotation files, LVIS's, have 1.1 GB."""
MAX_NAMED = 1000
"""Findings of one kind in one file that are listed one by one; the rest is counted."""
NAMES_TRIED = 20
"""File names by which the folder of the images is chosen."""
MANY_NUMBERS = 500
"""Of a polygon, from which on the length of its outline is looked at: fewer are never too long to be drawn."""
FRACTION = 1.001
"""Boxes in fractions of the image end here at the latest; in pixels, all of a file would be in the corner pixel."""

Record = dict[str, Any]


@dataclass(frozen=True)
class AnnotatedSplit:
    """The images of a split, and their annotations in the same order."""

    samples: Samples
    annotations: Annotations
    folder: Path
    """Where the images are."""
    file: Path
    """The annotation file."""
    unusable: frozenset[str]
    """Image files whose records cannot be used."""


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


class RecordFindings:
    """Collects the findings about the records of one file; of many of one kind the rest is only counted."""

    def __init__(self, file: Path, findings: list[Finding]) -> None:
        self._file, self._findings = file, findings
        self._counts: Counter[str] = Counter()

    def add(self, error: InvalidRecord, where: str = "") -> None:
        """A record that cannot be used."""
        self._counts[error.kind] += 1
        if self._counts[error.kind] <= MAX_NAMED:
            self._findings.append(Finding(error.kind, f"{self._file}: {where}{error}"))

    def finish(self) -> None:
        """Add what was only counted."""
        for kind, count in self._counts.items():
            if count > MAX_NAMED:
                more = count - MAX_NAMED
                self._findings.append(Finding(kind, f"{self._file}: {more:,} more of this kind", count=more))


def read_coco(
    root: Path, findings: list[Finding], wanted: Sequence[str]
) -> tuple[dict[int, str], dict[str, AnnotatedSplit], bool]:
    """Read a dataset in one of the layouts; no image is opened.

    Args:
        root: folder of the dataset.
        findings: problems of records that are left out are appended here.
        wanted: splits to read; train is read instead of a val that is not there.

    Returns:
        Class names by category id, ascending; the splits that were read; and whether there is a split val.

    Raises:
        InputError: a file is not in COCO's format, or the folder is in none of the layouts.
    """
    found = find_split_files(root)
    if UNNAMED in found:
        split = wanted[0] if len(wanted) == 1 else "train"
        found = {split: replace(found[UNNAMED], split=split)}
    splits = splits_to_read(wanted, found, root=root)
    if "train" in wanted and "train" not in splits:
        raise InputError(f"{root}: no annotations of the split train; expected annotations/instances_train.json")
    contents: dict[SplitFiles, dict[str, list[Any]]] = {}
    folders: dict[SplitFiles, Path] = {}
    for source in (found[split] for split in splits):
        try:
            content = read_lists(source.annotations)
            folders[source] = find_folder(source, content["images"])
        except InputError as error:
            if source.split != "test" or len(wanted) == 1:
                raise
            findings.append(Finding("nothing_to_test", str(error)))  # no training needs it
        else:
            contents[source] = content
    categories = read_categories(contents, findings)
    labels = {id: label for label, id in enumerate(categories)}
    read = {
        source.split: read_split(source, folders[source], contents.pop(source), labels, findings)
        for source in tuple(contents)
    }
    return categories, read, "val" in found


def read_lists(path: Path) -> dict[str, list[Any]]:
    """The three lists of COCO's format: images, annotations, categories."""
    content = read_json(path, max_bytes=require_regular(path, max_bytes=MAX_FILE_BYTES))
    hint = ""
    if path.name.lower() == FIFTYONE:
        hint = "; in FiftyOne, export the dataset as COCODetectionDataset"
    if not isinstance(content, dict):
        raise InputError(f"{path}: not in COCO's format: expected an object with images, annotations and categories, "
                         f"got a {type(content).__name__}{hint}")  # fmt: skip
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list):
            keys = ", ".join(sorted(content)) or "nothing"
            raise InputError(f"{path}: not in COCO's format: it has no list {name!r}, but {keys:.200}{hint}")
    if not content["categories"]:
        raise InputError(f"{path}: its list of categories is empty, so no object has a class{hint}")
    return content


def read_categories(contents: dict[SplitFiles, dict[str, list[Any]]], findings: list[Finding]) -> dict[int, str]:
    """Class names by category id, ascending; train and val must agree on them, and test has no classes of its own."""
    found: dict[int, Category] = {}
    ids: dict[str, int] = {}
    for source, content in contents.items():
        if source.split == "test" and len(contents) > 1:
            continue
        problems, seen = RecordFindings(source.annotations, findings), set[int]()
        for record in content["categories"]:
            try:
                category = read_category(record)
                if category.id in seen:
                    raise InvalidRecord(f"category id {category.id} is given twice", kind="bad_category")
                seen.add(category.id)
                add_category(category, found, ids)
            except InvalidRecord as error:
                problems.add(error)
        problems.finish()
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
        raise InvalidRecord(
            f"a category needs a whole number as id and a name, got {shorten(record)}", kind="bad_category"
        )
    name = normalize_class_name(record["name"])
    if not name:
        raise InvalidRecord(f"category id {record['id']} has no name", kind="bad_category")
    return Category(record["id"], name, str(record.get("supercategory", "")))


def add_category(category: Category, found: dict[int, Category], ids: dict[str, int]) -> None:
    """Add a category by its id and its name unless it exists; InvalidRecord where it contradicts an existing one."""
    known = found.get(category.id, category)
    if known.name != category.name:
        raise InvalidRecord(
            f"category id {category.id} is {category.name!r} here and {known.name!r} elsewhere", kind="bad_category"
        )
    same = ids.setdefault(category.name, category.id)
    if same != category.id:
        raise InvalidRecord(
            f"the name {category.name!r} belongs to the category ids {same} and {category.id}", kind="bad_category"
        )
    found[category.id] = known


def find_placeholders(found: dict[int, Category], contents: dict[SplitFiles, dict[str, list[Any]]]) -> list[Category]:
    """Categories without objects that have the name of the others' supercategory, as one exporter writes them."""
    if not all(source.annotations.name == BESIDE_THE_IMAGES for source in contents):
        return []
    supercategories = {category.supercategory for category in found.values()}
    used = {
        each["category_id"]
        for content in contents.values()
        for each in content["annotations"]
        if is_record(each) and is_id(each.get("category_id"))
    }
    return [each for each in found.values() if each.name in supercategories and each.id not in used and len(found) > 1]


def read_split(
    source: SplitFiles, folder: Path, content: dict[str, list[Any]], labels: dict[int, int], findings: list[Finding]
) -> AnnotatedSplit:
    """The images of a split that exist, with their usable objects, in the order of the file."""
    # 1. Group the annotations by image
    problems = RecordFindings(source.annotations, findings)
    listed, images, unusable = read_images(folder, content["images"], problems)
    records_of: dict[int, list[Record]] = {id: [] for id in images}
    for record in content["annotations"]:
        image_id = record.get("image_id") if is_record(record) else None
        if not is_id(image_id):
            problems.add(InvalidRecord(f"an annotation needs a whole number as image_id, got {shorten(record)}"))
        elif image_id in records_of:
            records_of[image_id].append(record)
        elif image_id not in listed:
            message = f"{name_annotation(record)} is of image {image_id}, which is not listed"
            problems.add(InvalidRecord(message, kind="unknown_image"))
    # 2. Pack image by image
    samples, builder = SamplesBuilder(), AnnotationsBuilder()
    for image_id, (path, size_wh) in images.items():
        builder.add_image(image_id, size_wh)
        present: set[int] = set()
        for record in records_of.pop(image_id):
            where = f"{name_annotation(record)} of {path}: "
            try:
                label, crowd, stray = add_object(builder, record, size_wh, labels)
                present |= set() if crowd else {label}
                if stray:
                    problems.add(
                        InvalidRecord(f"{count_parts(stray)} of fewer than three points", kind="stray_part"), where
                    )
            except InvalidRecord as error:
                problems.add(error, where)
        samples.add(path, tuple(sorted(present)))
    problems.finish()
    annotations = builder.build()
    findings += find_fractions(source.annotations, annotations)
    return AnnotatedSplit(samples.build(), annotations, folder, source.annotations, unusable)


def find_folder(source: SplitFiles, records: list[Any]) -> Path:
    """The folder that the file names of a split are relative to."""
    finders = cache(lambda folder: ListedFiles(str(folder)))
    names = [record["file_name"] for record in records if is_record(record) and is_text(record.get("file_name"))]
    tried = names[:: max(1, len(names) // NAMES_TRIED)][:NAMES_TRIED]
    return choose_folder(source, tried, lambda folder, name: finders(folder).find(name) is not None)


def find_fractions(file: Path, annotations: Annotations) -> list[Finding]:
    """A finding where the boxes of a file are in fractions of the image instead of pixels."""
    boxes = annotations.boxes
    if not len(boxes) or boxes.max() > FRACTION or boxes.min() < 0 or not (boxes[:, 2:] > boxes[:, :2]).any():
        return []
    message = f"{file}: all boxes lie between 0 and 1; COCO's are in pixels, these look like fractions of the image"
    return [Finding("box_fractions", message)]


def count_parts(count: int) -> str:
    return "1 part" if count == 1 else f"{count} parts"


def read_images(
    folder: Path, records: list[Any], problems: RecordFindings
) -> tuple[set[int], dict[int, tuple[str, tuple[int, int]]], frozenset[str]]:
    """The ids of all listed images; path, width and height of the usable ones, by id; and the files of the others."""
    listed: set[int] = set()
    unusable: set[str] = set()
    images: dict[int, tuple[str, tuple[int, int]]] = {}
    paths: set[str] = set()
    files = ListedFiles(str(folder))
    for record in records:
        try:
            id, name, size_wh = read_image_record(record)
            if id in listed:
                raise InvalidRecord(f"image id {id} is given twice", kind="bad_image")
            listed.add(id)
            path = files.find(name)
            if path is None:
                raise InvalidRecord(f"lists {name}, but there is no file {folder / name}", kind="missing_image")
            if path in paths:
                raise InvalidRecord(
                    f"{name} is listed under two image ids; put all its objects under one", kind="bad_image"
                )
            paths.add(path)
            images[id] = (path, size_wh)
        except InvalidRecord as error:
            problems.add(error)
            if not is_record(record):
                continue
            if is_id(record.get("id")):  # its annotations are left out without findings
                listed.add(record["id"])
            if is_text(record.get("file_name")) and (path := files.find(record["file_name"])):
                unusable.add(path)
    return listed, images, frozenset(unusable)


def read_image_record(record: Any) -> tuple[int, str, tuple[int, int]]:
    """Id, file name, and width and height of an image."""
    if not is_record(record) or not is_id(record.get("id")) or not is_text(record.get("file_name")):
        raise InvalidRecord(
            f"an image needs a whole number as id and a file_name, got {shorten(record)}", kind="bad_image"
        )
    width, height = record.get("width"), record.get("height")
    if not is_id(width) or not is_id(height) or not 0 < min(width, height) <= max(width, height) < 2**31:
        raise InvalidRecord(
            f"image {record['file_name']} needs width and height in pixels, got {shorten(width)} and {shorten(height)}",
            kind="bad_image",
        )
    if width * height > MAX_PIXELS:
        raise InvalidRecord(
            f"image {record['file_name']} is annotated as {width}x{height}; images have {MAX_PIXELS:,} pixels at most",
            kind="bad_image",
        )
    return record["id"], record["file_name"], (width, height)


def add_object(
    builder: AnnotationsBuilder, record: Record, size_wh: tuple[int, int], labels: dict[int, int]
) -> tuple[int, bool, int]:
    """Add an object to the last image.

    Returns:
        Its class, whether it is a crowd, and the number of parts of its mask that were passed over.
    """
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
    mask_format, parts, stray = read_segmentation(record.get("segmentation"), size_wh)
    area = record.get("area", width * height)
    if not is_number(area):
        raise InvalidRecord(f"area must be a number of pixels, got {shorten(area)}")
    try:
        crowd = read_flag(record.get("iscrowd"))
    except ValueError as error:
        raise InvalidRecord(f"iscrowd {error}") from None
    id = record.get("id")
    builder.add_object(
        id=id if is_id(id) else -1,
        box=(x, y, x + width, y + height),
        label=label,
        crowd=crowd,
        area=float(area),
        mask_format=mask_format,
        parts=parts,
    )
    return label, crowd, stray


def read_segmentation(given: Any, size_wh: tuple[int, int]) -> tuple[int, list[NDArray[Any]], int]:
    """The format of a mask, its parts as arrays, and the number of polygons that were passed over.

    An empty list or an empty polygon is no mask. Points and lines, which some brushes leave beside an outline, have no
    pixel and are passed over.
    """
    width, height = size_wh
    try:
        if isinstance(given, dict):
            return RUN_LENGTHS, [run_lengths(given, height, width)], 0
        if not given or given == [[]]:
            return NO_MASK, [], 0
        if not isinstance(given, list):
            raise InputError(f"segmentation must be polygons or run lengths, got {shorten(given)}")
        outlines = [polygon for polygon in given if not is_stray(polygon)] or given
        parts = [check_polygon(polygon) for polygon in outlines]
        for part in parts:
            if len(part) > MANY_NUMBERS:
                clip_polygon(part.reshape(-1, 2), height, width)  # refuses what is too long to be drawn
        return POLYGONS, parts, len(given) - len(outlines)
    except InputError as error:
        raise InvalidRecord(str(error)) from None


def is_stray(polygon: Any) -> bool:
    """Whether a part is nothing, one point or two."""
    return isinstance(polygon, list) and len(polygon) in (0, 2, 4) and all(map(is_number, polygon))


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
