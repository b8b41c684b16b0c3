"""Pascal VOC's annotations: an XML file for each picture."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from nextvit.convert.convert import Annotated, Picture, Record, split_name, upright_size
from nextvit.errors import InputError
from nextvit.image.masks import encode
from nextvit.image.resizing import FORMATS, SUFFIXES, UNREADABLE, reason

OURS = frozenset({"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "file_name"})
"""Fields of COCO's records, which a field of VOC's may not overwrite."""
IMAGE_FOLDERS = ("JPEGImages", "images", "Images")
VOID = 255
"""In the masks: the border between objects."""

Element = ElementTree.Element


def is_voc(root: Path) -> bool:
    """Whether a folder holds XML files as VOC does, in a folder of their own or beside the images of each split."""
    return any(next(root.glob(pattern), None) for pattern in ("Annotations/*.xml", "*.xml", "*/*.xml"))


def read_voc(root: Path) -> Annotated:
    """All that the XML files say, and the masks of objects where there are some.

    Raises:
        InputError: a file is damaged, or a picture is missing.
    """
    files = files_of_splits(root)
    trees = {path: read_xml(path) for paths in files.values() for path in paths}
    from_one = all(corner >= 1 for path, tree in trees.items() for corner in first_corners(path, tree))
    names = sorted({text_of(path, each, "name") for path, tree in trees.items() for each in tree.iter("object")})
    ids = {name: id for id, name in enumerate(names, 1)}
    splits = {
        split: [read_picture(root, path, trees[path], ids, from_one=from_one) for path in paths]
        for split, paths in files.items()
    }
    return Annotated(
        kind="VOC",
        categories=[{"id": id, "name": name, "supercategory": ""} for name, id in ids.items()],
        splits=splits,
        info={"voc_first_pixel": int(from_one)},
        remarks=remarks(root, splits, from_one=from_one),
    )


def files_of_splits(root: Path) -> dict[str, list[Path]]:
    """The XML files of each split: by ImageSets/Main, else by folders, else all in train."""
    together = sorted((root / "Annotations").glob("*.xml"))
    if not together:
        folders = sorted({path.parent for path in root.glob("*/*.xml")}) or [root]
        return {
            "train" if folder == root else split_name(folder.name): sorted(folder.glob("*.xml")) for folder in folders
        }
    lists = {split: root / "ImageSets" / "Main" / f"{split}.txt" for split in ("train", "val", "test")}
    splits: dict[str, list[Path]] = {}
    left = {path.stem: path for path in together}
    for split, file in lists.items():
        for name in names_in(file) if file.is_file() else ():
            if name not in left:
                why = (
                    "is in another list, too" if (root / "Annotations" / f"{name}.xml").is_file() else "has no XML file"
                )
                raise InputError(f"{file}: {name} {why}")
            splits.setdefault(split, []).append(left.pop(name))
    if left:
        splits["rest" if splits else "train"] = list(left.values())
    return splits


def names_in(file: Path) -> list[str]:
    """The first word of each line."""
    return [line.split()[0] for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def read_xml(path: Path) -> Element:
    """The root element. Documents with definitions of their own are refused: a few lines of them can fill the memory."""
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise InputError(f"{path}: defines entities or a document type, which annotations do not need; remove that")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: damaged, or no XML ({error})") from None


def read_picture(root: Path, path: Path, tree: Element, ids: dict[str, int], *, from_one: bool) -> Picture:
    """A picture with its objects."""
    file = find_image(root, path, tree.findtext("filename") or "")
    size = tree.find("size")
    sides = [side_of(size, name) for name in ("width", "height")]
    size_wh = (sides[0], sides[1]) if all(sides) else upright_size(file)
    objects = [read_object(path, each, ids, from_one=from_one) for each in tree.iter("object")]
    mask = root / "SegmentationObject" / f"{path.stem}.png"
    if mask.is_file():
        objects = with_masks(mask, objects, size_wh)
    fields = plain_fields(each for each in tree if each.tag not in ("object", "filename"))
    return Picture(file, file.name, size_wh, objects, {"voc": {**tree.attrib, **fields}})


def side_of(size: Element | None, name: str) -> int:
    """A side in pixels; 0 where it is not given."""
    text = (size.findtext(name) or "").strip() if size is not None else ""
    return int(text) if re.fullmatch(r"\d{1,9}", text) else 0


def find_image(root: Path, path: Path, name: str) -> Path:
    """The picture of an XML file: by the name in it, else by the file's own name."""
    folders = [root / folder for folder in IMAGE_FOLDERS if path.parent.name == "Annotations"] + [path.parent]
    for folder in folders:
        for each in (Path(name).name, *(path.stem + suffix for suffix in SUFFIXES)):
            if each and (folder / each).is_file() and (folder / each).suffix.lower() in SUFFIXES:
                return folder / each
    raise InputError(f"{path}: no picture {(name or path.stem)!r} in {folders[0]}")


def read_object(path: Path, element: Element, ids: dict[str, int], *, from_one: bool) -> Record:
    """An object as COCO has it, and every other field under its own name."""
    left, top, right, bottom = corners(path, element)
    # VOC counts pixels from 1 and the last one in; many tools write edges from 0.
    shift = 1 if from_one else 0
    width, height = right - left + shift, bottom - top + shift
    if width < 0 or height < 0:
        raise InputError(f"{path}: a box ends before it begins, {left:g} to {right:g} and {top:g} to {bottom:g}")
    record: Record = {
        "category_id": ids[text_of(path, element, "name")],
        "bbox": [left - shift, top - shift, width, height],
        "area": width * height,
        "iscrowd": 0,
    }
    fields = {**element.attrib, **plain_fields(each for each in element if each.tag not in ("name", "bndbox"))}
    return {**record, **{f"voc_{name}" if name in OURS else name: value for name, value in fields.items()}}


def corners(path: Path, element: Element) -> tuple[float, ...]:
    """xmin, ymin, xmax, ymax."""
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


def first_corners(path: Path, tree: Element) -> list[float]:
    """Every xmin and ymin."""
    return [value for each in tree.iter("object") for value in corners(path, each)[:2]]


def text_of(path: Path, element: Element, name: str) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise InputError(f"{path}: an object without {name}")
    return text


def plain_fields(elements: Any) -> Record:
    """Elements as values by their names; several of one name as a list."""
    fields: dict[str, list[Any]] = {}
    for element in elements:
        fields.setdefault(element.tag, []).append(plain(element))
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def plain(element: Element) -> Any:
    """A number, a text, or a dict of what is inside."""
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return int(text) if re.fullmatch(r"0|-?[1-9]\d{0,17}", text) else text
    return {**element.attrib, **({"text": text} if text else {}), **plain_fields(element)}


def with_masks(file: Path, objects: list[Record], size_wh: tuple[int, int]) -> list[Record]:
    """The objects with their masks: pixels of value k are the k-th object's."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            values = np.asarray(image)
    except UNREADABLE as error:
        raise InputError(f"{file}: {reason(error)}") from None
    if values.shape != size_wh[::-1]:
        raise InputError(f"{file}: masks of shape {values.shape}, the picture is {size_wh[1]} by {size_wh[0]}")
    if unknown := sorted(set(np.unique(values).tolist()) - {0, VOID} - set(range(1, len(objects) + 1))):
        raise InputError(f"{file}: has the value {unknown[0]}, the picture has {len(objects)} objects")
    masks = [values == k for k in range(1, len(objects) + 1)]
    return [
        {**each, "segmentation": encode(mask), "area": int(mask.sum())} if mask.any() else each
        for each, mask in zip(objects, masks, strict=True)
    ]


def remarks(root: Path, splits: dict[str, list[Picture]], *, from_one: bool) -> Sequence[str]:
    """What a user should know."""
    objects = [each for pictures in splits.values() for picture in pictures for each in picture.objects]
    lines = [
        "boxes: pixels counted from 1, the last one included, as in VOC"
        if from_one
        else "boxes: edges counted from 0, because some begin there"
    ]
    kept = {name: sum(each.get(name) == 1 for each in objects) for name in ("difficult", "truncated", "occluded")}
    if any(kept.values()):
        counts = ", ".join(f"{count} {name}" for name, count in kept.items() if count)
        lines.append(f"objects: {counts}; kept as fields, and learnt and judged like the others")
    if masks := sum("segmentation" in each for each in objects):
        lines.append(f"masks: {masks} of {len(objects)} objects, from SegmentationObject")
    if "rest" in splits:
        lines.append(
            f"rest: {len(splits['rest'])} pictures are in no list of ImageSets/Main; training does not use them"
        )
    other = sorted(path.name for path in (root / "ImageSets").glob("*") if path.name != "Main")
    if other:
        lines.append(f"not taken over: the lists in ImageSets/{', '.join(other)}")
    return lines
