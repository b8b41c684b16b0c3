"""Read Pascal VOC's annotations: one XML file per image."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from nextvit.convert.file_index import FileIndex, claim, fold, pair_image, swap_folder
from nextvit.convert.foreign import (
    ForeignDataset,
    ForeignImage,
    LeftOut,
    Record,
    number_categories,
    read_upright_size,
    to_categories,
)
from nextvit.convert.source_files import SourceFiles
from nextvit.convert.voc_lists import read_lists
from nextvit.convert.voc_objects import (
    read_corners,
    read_name,
    read_object,
    read_side,
    read_top_left_corners,
    to_plain_fields,
)
from nextvit.convert.xml_file import read_xml
from nextvit.errors import InputError
from nextvit.files.regular import require_regular
from nextvit.image.masks import encode
from nextvit.image.reading import FORMATS, UNREADABLE, reason

ANNOTATION_FOLDERS = ("Annotations", "annotation", "xmls", "xml", "labels")
IMAGE_FOLDERS = ("JPEGImages", "images", "image", "imgs", "img")
OBJECT_MASKS, CLASS_MASKS = "SegmentationObject", "SegmentationClass"
VOID = 255
"""Mask value of the border between objects."""


def read_voc(files: SourceFiles) -> ForeignDataset:
    """Read all XML files with the root element `annotation`, and the object masks where there are any.

    Raises:
        InputError: a file is damaged, or an image is missing or in doubt.
    """
    # 1. Read every file: class names and the origin of coordinates depend on all of them.
    all_trees = {path: read_xml(files.root / path) for path in files.with_suffix(".xml")}
    trees = {path: tree for path, tree in all_trees.items() if tree.tag == "annotation"}
    corners = [corner for path, tree in trees.items() for corner in read_top_left_corners(path, tree)]
    is_one_based = all(corner >= 1 for corner in corners)
    ids = number_categories([read_name(path, each) for path, tree in trees.items() for each in tree.iter("object")])
    lists = read_lists(files, {path: find_set_folder(path) for path in trees})
    # 2. Convert image by image.
    index, claims = FileIndex(files.images), dict[str, str]()
    masks: list[str] = []
    images: list[ForeignImage] = []
    for path, tree in trees.items():
        image = pair_image(index, path, list_image_folders(path), tree.findtext("filename") or "")
        claim(claims, image, path)
        mask = find_mask(index, path)
        masks += [mask] if mask else []
        split = lists.by_file.get(path)
        images.append(
            read_image_annotations(files, path, tree, image, ids, mask=mask, split=split, is_one_based=is_one_based)
        )
    return ForeignDataset(
        source_format="VOC",
        categories=to_categories(ids),
        images=images,
        annotation_files=frozenset({*trees, *masks, *lists.used}),
        left_out=[
            LeftOut("masks of classes, not of objects", list_in_folder(files.images, CLASS_MASKS)),
            LeftOut("masks of objects without an XML file", list_in_folder(files.images, OBJECT_MASKS)),
            LeftOut("lists in ImageSets that are not those of the splits", lists.unused),
        ],
        image_left_out_because="no XML file of this image",
        info={"voc_first_pixel": int(is_one_based)},
        remarks=[*describe_objects(images, is_one_based=is_one_based), *lists.remarks],
    )


def find_set_folder(path: str) -> str:
    """The folder of the set that an XML file belongs to: above Annotations, or the file's own."""
    parts = PurePosixPath(path).parent.parts
    positions = [index for index, part in enumerate(parts) if fold(part) in map(fold, ANNOTATION_FOLDERS)]
    return str(PurePosixPath(*parts[: positions[-1]])) if positions else str(PurePosixPath(path).parent)


def list_image_folders(path: str) -> list[str]:
    """Where the image of an XML file may be: JPEGImages instead of Annotations, with or without subfolders, or
    beside it."""
    folder, set_folder = str(PurePosixPath(path).parent), find_set_folder(path)
    swapped = swap_folder(folder, ANNOTATION_FOLDERS, IMAGE_FOLDERS)
    flat = [str(PurePosixPath(set_folder, name)) for name in IMAGE_FOLDERS] if swapped else []
    return list(dict.fromkeys([*swapped, *flat, folder]))


def find_mask(index: FileIndex, path: str) -> str | None:
    """The image with the object masks of an XML file's image."""
    folders = [
        *swap_folder(str(PurePosixPath(path).parent), ANNOTATION_FOLDERS, [OBJECT_MASKS]),
        str(PurePosixPath(find_set_folder(path), OBJECT_MASKS)),
    ]
    return next((found[0] for each in folders if (found := index.with_stem(each, PurePosixPath(path).stem))), None)


def list_in_folder(paths: Sequence[str], name: str) -> list[str]:
    """The files that are in a folder of this name."""
    return [path for path in paths if fold(name) in map(fold, PurePosixPath(path).parts[:-1])]


def read_image_annotations(
    files: SourceFiles,
    path: str,
    tree: Element,
    image: str,
    ids: dict[str, int],
    *,
    mask: str | None,
    split: str | None,
    is_one_based: bool,
) -> ForeignImage:
    """The image of one XML file, with its objects.

    Args:
        files: the files of the dataset.
        path: the XML file.
        tree: its root element.
        image: its image.
        ids: category ids by class name.
        mask: the image with the masks of its objects, if there is one.
        split: the split that a list states.
        is_one_based: whether pixels are counted from 1.
    """
    size = tree.find("size")
    sides = [read_side(size, name) for name in ("width", "height")]
    size_wh = (sides[0], sides[1]) if all(sides) else read_upright_size(files.root / image)
    objects = [read_object(path, each, ids, is_one_based=is_one_based) for each in tree.iter("object")]
    refuse_fractions(path, tree, size_wh)
    if mask:
        objects = add_masks(files, mask, objects, size_wh)
    fields = to_plain_fields(each for each in tree if each.tag not in ("object", "filename"))
    return ForeignImage(image, size_wh, objects, {"voc": {**tree.attrib, **fields}}, split, path)


def refuse_fractions(path: str, tree: Element, size_wh: tuple[int, int]) -> None:
    """Raise InputError where all boxes of a file are within one pixel of the corner, as fractions of the sides are."""
    boxes = [read_corners(path, each) for each in tree.iter("object")]
    if boxes and min(size_wh) > 2 and all(max(box) <= 1 for box in boxes):
        raise InputError(
            f"{path}: its boxes end within one pixel of the corner; they seem to be fractions of the image's sides, "
            "VOC's are in pixels"
        )


def add_masks(files: SourceFiles, mask: str, objects: list[Record], size_wh: tuple[int, int]) -> list[Record]:
    """The objects with their masks from SegmentationObject: pixels of value k belong to the k-th object, from 1."""
    file = files.root / mask
    try:
        require_regular(file)
        with Image.open(file, formats=FORMATS) as image:
            if image.size != size_wh:
                raise InputError(
                    f"{file}: masks of {image.size[0]}x{image.size[1]} pixels, the image has {size_wh[0]}x{size_wh[1]}"
                )
            values = np.asarray(image)
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{file}: {reason(error)}") from None
    if values.ndim != 2:
        raise InputError(f"{file}: has colours; expected one value per pixel, the number of the object")
    if unknown := sorted(set(np.unique(values).tolist()) - {0, VOID} - set(range(1, len(objects) + 1))):
        raise InputError(f"{file}: has the value {unknown[0]}, the image has {len(objects)} objects")
    with_masks: list[Record] = []
    for k, each in enumerate(objects, 1):
        pixels = values == k
        with_mask = {**each, "segmentation": encode(pixels), "area": int(pixels.sum())}
        with_masks.append(with_mask if pixels.any() else each)
    return with_masks


def describe_objects(images: Sequence[ForeignImage], *, is_one_based: bool) -> list[str]:
    """What a user should know about the boxes and masks, line by line."""
    objects = [each for image in images for each in image.objects]
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
        lines.append(f"masks: {masks} of {len(objects)} objects, from SegmentationObject or polygons")
    return lines
