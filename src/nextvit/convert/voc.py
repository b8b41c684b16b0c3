"""Read Pascal VOC's annotations: one XML file per image."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from nextvit.convert.foreign import ForeignDataset, ForeignImage, Record, normalize_split_name, read_upright_size
from nextvit.errors import InputError
from nextvit.image.masks import encode
from nextvit.image.reading import FORMATS, SUFFIXES, UNREADABLE, reason

COCO_FIELDS = frozenset({"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "file_name"})
"""Fields of COCO's records; a VOC field of the same name gets the prefix voc_."""
IMAGE_FOLDERS = ("JPEGImages", "images", "Images")
VOID = 255
"""Mask value of the border between objects."""
MAX_DEPTH = 100
"""Levels of nested elements. Annotations need five; deeper files would exceed Python's recursion limit."""

Element = ElementTree.Element


def is_voc(root: Path) -> bool:
    """Whether a folder holds VOC's XML files, in a folder Annotations or beside the images of each split."""
    return any(next(root.glob(pattern), None) for pattern in ("Annotations/*.xml", "*.xml", "*/*.xml"))


def read_voc(root: Path) -> ForeignDataset:
    """Read all XML files, and the object masks where there are any.

    Raises:
        InputError: a file is damaged, or an image is missing.
    """
    # 1. Read every file: class names and the origin of coordinates depend on all of them.
    files = find_split_files(root)
    trees = {path: read_xml(path) for paths in files.values() for path in paths}
    is_one_based = all(corner >= 1 for path, tree in trees.items() for corner in read_top_left_corners(path, tree))
    names = sorted({read_text(path, each, "name") for path, tree in trees.items() for each in tree.iter("object")})
    ids = {name: id for id, name in enumerate(names, 1)}
    # 2. Convert image by image.
    splits = {
        split: [read_image_annotations(root, path, trees[path], ids, is_one_based=is_one_based) for path in paths]
        for split, paths in files.items()
    }
    return ForeignDataset(
        source_format="VOC",
        categories=[{"id": id, "name": name, "supercategory": ""} for name, id in ids.items()],
        splits=splits,
        info={"voc_first_pixel": int(is_one_based)},
        remarks=write_remarks(root, splits, is_one_based=is_one_based),
    )


def find_split_files(root: Path) -> dict[str, list[Path]]:
    """The XML files of each split: from the lists in ImageSets/Main, else by folder, else all in train."""
    xml_files = sorted((root / "Annotations").glob("*.xml"))
    if not xml_files:
        folders = sorted({path.parent for path in root.glob("*/*.xml")}) or [root]
        return {
            "train" if folder == root else normalize_split_name(folder.name): sorted(folder.glob("*.xml"))
            for folder in folders
        }
    lists = {split: root / "ImageSets" / "Main" / f"{split}.txt" for split in ("train", "val", "test")}
    splits: dict[str, list[Path]] = {}
    unassigned = {path.stem: path for path in xml_files}
    for split, file in lists.items():
        for name in read_image_list(file) if file.is_file() else ():
            if name not in unassigned:
                has_xml = (root / "Annotations" / f"{name}.xml").is_file()
                raise InputError(f"{file}: {name} {'is also in another list' if has_xml else 'has no XML file'}")
            splits.setdefault(split, []).append(unassigned.pop(name))
    if unassigned:
        splits["rest" if splits else "train"] = list(unassigned.values())
    return splits


def read_image_list(file: Path) -> list[str]:
    """The first word of each line."""
    return [line.split()[0] for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def read_xml(path: Path) -> Element:
    """The root element of an XML file.

    Files with a document type are refused: a few lines of entity definitions can expand until memory is full.

    Raises:
        InputError: the file is not valid XML, has a document type, or is nested deeper than `MAX_DEPTH`.
    """
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise InputError(f"{path}: defines entities or a document type, which annotations do not need; remove that")
    try:
        tree = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: damaged, or no XML ({error})") from None
    if is_nested_deeper(tree, MAX_DEPTH):
        raise InputError(f"{path}: damaged, its elements are nested more than {MAX_DEPTH} deep")
    return tree


def is_nested_deeper(tree: Element, max_depth: int) -> bool:
    """Whether an element has more levels, itself included. Goes level by level: recursion would hit Python's limit."""
    level = [tree]
    for _ in range(max_depth):
        level = [child for element in level for child in element]
    return bool(level)


def read_image_annotations(
    root: Path, path: Path, tree: Element, ids: dict[str, int], *, is_one_based: bool
) -> ForeignImage:
    """The image of one XML file, with its objects.

    Args:
        root: folder of the dataset.
        path: the XML file.
        tree: its root element.
        ids: category ids by class name.
        is_one_based: whether pixels are counted from 1.
    """
    file = find_image(root, path, tree.findtext("filename") or "")
    size = tree.find("size")
    sides = [read_side(size, name) for name in ("width", "height")]
    size_wh = (sides[0], sides[1]) if all(sides) else read_upright_size(file)
    objects = [read_object(path, each, ids, is_one_based=is_one_based) for each in tree.iter("object")]
    mask = root / "SegmentationObject" / f"{path.stem}.png"
    if mask.is_file():
        objects = add_masks(mask, objects, size_wh)
    fields = to_plain_fields(each for each in tree if each.tag not in ("object", "filename"))
    return ForeignImage(file, file.name, size_wh, objects, {"voc": {**tree.attrib, **fields}})


def read_side(size: Element | None, name: str) -> int:
    """Width or height in pixels; 0 if it is missing or not a number."""
    text = (size.findtext(name) or "").strip() if size is not None else ""
    return int(text) if re.fullmatch(r"\d{1,9}", text) else 0


def find_image(root: Path, path: Path, name: str) -> Path:
    """The image of an XML file: by the file name in it, else by the XML file's own name."""
    folders = [root / folder for folder in IMAGE_FOLDERS if path.parent.name == "Annotations"] + [path.parent]
    for folder in folders:
        for each in (Path(name).name, *(path.stem + suffix for suffix in SUFFIXES)):
            if each and (folder / each).is_file() and (folder / each).suffix.lower() in SUFFIXES:
                return folder / each
    raise InputError(f"{path}: no image {(name or path.stem)!r} in {folders[0]}")


def read_object(path: Path, element: Element, ids: dict[str, int], *, is_one_based: bool) -> Record:
    """An object as a COCO annotation; VOC's other fields are kept under their own names."""
    left, top, right, bottom = read_corners(path, element)
    # VOC counts pixels from 1 and includes the last one; many tools write edges that start at 0.
    shift = 1 if is_one_based else 0
    width, height = right - left + shift, bottom - top + shift
    if width < 0 or height < 0:
        raise InputError(f"{path}: a box ends before it begins, {left:g} to {right:g} and {top:g} to {bottom:g}")
    record: Record = {
        "category_id": ids[read_text(path, element, "name")],
        "bbox": [left - shift, top - shift, width, height],
        "area": width * height,
        "iscrowd": 0,
    }
    fields = {**element.attrib, **to_plain_fields(each for each in element if each.tag not in ("name", "bndbox"))}
    return {**record, **{f"voc_{name}" if name in COCO_FIELDS else name: value for name, value in fields.items()}}


def read_corners(path: Path, element: Element) -> tuple[float, ...]:
    """xmin, ymin, xmax, ymax of an object; whole numbers as int."""
    values = [element.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
    try:
        numbers = tuple(float(value or "") for value in values)
    except ValueError:
        numbers = ()
    if not numbers or not np.isfinite(numbers).all():
        raise InputError(
            f"{path}: an object needs bndbox with xmin, ymin, xmax, ymax, got {', '.join(map(str, values))}"
        )
    return tuple(int(number) if number.is_integer() else number for number in numbers)


def read_top_left_corners(path: Path, tree: Element) -> list[float]:
    """xmin and ymin of every object, in one list."""
    return [value for each in tree.iter("object") for value in read_corners(path, each)[:2]]


def read_text(path: Path, element: Element, name: str) -> str:
    """The text of an object's child element; InputError where it is missing or empty."""
    text = (element.findtext(name) or "").strip()
    if not text:
        raise InputError(f"{path}: an object without {name}")
    return text


def to_plain_fields(elements: Iterable[Element]) -> Record:
    """The values of elements by tag; several elements of one tag become a list."""
    fields: dict[str, list[Any]] = {}
    for element in elements:
        fields.setdefault(element.tag, []).append(to_plain(element))
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def to_plain(element: Element) -> Any:
    """A whole number, a text, or a dict of attributes and child elements."""
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return int(text) if re.fullmatch(r"0|-?[1-9]\d{0,17}", text) else text
    return {**element.attrib, **({"text": text} if text else {}), **to_plain_fields(element)}


def add_masks(file: Path, objects: list[Record], size_wh: tuple[int, int]) -> list[Record]:
    """The objects with their masks from SegmentationObject: pixels of value k belong to the k-th object, from 1."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            values = np.asarray(image)
    except UNREADABLE as error:
        raise InputError(f"{file}: {reason(error)}") from None
    if values.shape != size_wh[::-1]:
        raise InputError(f"{file}: masks of shape {values.shape}, the image is {size_wh[1]} by {size_wh[0]}")
    if unknown := sorted(set(np.unique(values).tolist()) - {0, VOID} - set(range(1, len(objects) + 1))):
        raise InputError(f"{file}: has the value {unknown[0]}, the image has {len(objects)} objects")
    masks = [values == k for k in range(1, len(objects) + 1)]
    return [
        {**each, "segmentation": encode(mask), "area": int(mask.sum())} if mask.any() else each
        for each, mask in zip(objects, masks, strict=True)
    ]


def write_remarks(root: Path, splits: dict[str, list[ForeignImage]], *, is_one_based: bool) -> Sequence[str]:
    """What a user should know about the conversion, line by line."""
    objects = [each for images in splits.values() for image in images for each in image.objects]
    lines = [
        "boxes: pixels counted from 1, the last one included, as in VOC"
        if is_one_based
        else "boxes: edges counted from 0, because some start there"
    ]
    kept = {name: sum(each.get(name) == 1 for each in objects) for name in ("difficult", "truncated", "occluded")}
    if any(kept.values()):
        counts = ", ".join(f"{count} {name}" for name, count in kept.items() if count)
        lines.append(f"objects: {counts}; kept as fields, and used in training and evaluation like the others")
    if masks := sum("segmentation" in each for each in objects):
        lines.append(f"masks: {masks} of {len(objects)} objects, from SegmentationObject")
    if "rest" in splits:
        lines.append(f"rest: {len(splits['rest'])} images are in no list of ImageSets/Main; training does not use them")
    other = sorted(path.name for path in (root / "ImageSets").glob("*") if path.name != "Main")
    if other:
        lines.append(f"not converted: the lists in ImageSets/{', '.join(other)}")
    return lines
