"""Read CVAT's XML files ("CVAT for images 1.1"): one file per task, with the shapes of all its images."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np

from nextvit.convert.file_index import FileIndex, claim
from nextvit.convert.foreign import (
    ForeignDataset,
    ForeignImage,
    Record,
    describe_shapes,
    number_categories,
    read_upright_size,
    to_categories,
)
from nextvit.convert.outlines import rotate, to_box, to_outline, to_points, trace_ellipse
from nextvit.convert.source_files import SourceFiles
from nextvit.convert.xml_file import read_xml
from nextvit.data.class_names import normalize_class_name
from nextvit.data.split_names import standard_split
from nextvit.errors import InputError
from nextvit.image.masks import encode_part
from nextvit.image.reading import MAX_PIXELS

LEFT_OUT_SHAPES = ("polyline", "points", "cuboid", "skeleton", "tag")
"""Shapes without an area in the image, and labels of whole images."""
KEPT_FIELDS = ("occluded", "source", "group_id", "z_order", "rotation")


def read_cvat(files: SourceFiles) -> ForeignDataset:
    """Read all XML files with the root element `annotations`.

    Raises:
        InputError: a file is damaged or of a video, or an image is missing or in doubt.
    """
    trees = {
        path: tree for path in files.with_suffix(".xml") if (tree := read_xml(files.root / path)).tag == "annotations"
    }
    elements = [(path, each) for path, tree in trees.items() for each in find_images(path, tree)]
    shapes = [(path, shape) for path, element in elements for shape in element if shape.tag in READERS]
    ids = number_categories([read_label(path, shape) for path, shape in shapes])
    index, claims = FileIndex(files.images), dict[str, str]()
    left_out = Counter[str]()
    images: list[ForeignImage] = []
    for path, element in elements:
        name = element.get("name") or ""
        image = find_image(index, path, name, element.get("subset") or "")
        claim(claims, image, f"{path} ({name!r:.100})")
        size_wh = read_size(element) or read_upright_size(files.root / image)
        left_out.update(shape.tag for shape in element if shape.tag in LEFT_OUT_SHAPES)
        objects = [read_object(path, name, shape, ids, size_wh) for shape in element if shape.tag in READERS]
        split = standard_split(element.get("subset") or "")
        images.append(ForeignImage(image, size_wh, objects, split=split, annotation=path))
    return ForeignDataset(
        source_format="CVAT",
        categories=to_categories(ids),
        images=images,
        annotation_files=frozenset(trees),
        left_out=[],
        image_left_out_because="no XML file of CVAT's lists this image",
        info={},
        remarks=describe_shapes(images, left_out),
    )


def find_images(path: str, tree: Element) -> list[Element]:
    """The elements of the images."""
    if tree.find("track") is not None:
        raise InputError(f"{path}: has tracks of a video, which are not read; export the task as 'CVAT for images 1.1'")
    images = tree.findall("image")
    for element in images:
        if unknown := [shape.tag for shape in element if shape.tag not in (*READERS, *LEFT_OUT_SHAPES)]:
            raise InputError(f"{path}: image {element.get('name')!r:.60} has the unknown shape {unknown[0]!r:.40}")
    return images


def find_image(index: FileIndex, path: str, name: str, subset: str) -> str:
    """The image file of an image of the task, which may be in subfolders, such as images/ or one of the subset."""
    folder = str(PurePosixPath(path).parent)
    for base in (folder, f"{folder}/images", f"{folder}/images/{subset}", f"{folder}/{subset}"):
        relative = PurePosixPath(base, name)
        if found := index.with_name(str(relative.parent), relative.name):
            break
    else:
        below = "" if folder == "." else f"{folder}/"
        found = [each for each in index.find(name, below=folder) if each.startswith(below)]
    if not found:
        raise InputError(
            f"{path}: no image {name!r:.100}; export the task with its images, or put them into {folder}/images"
        )
    if len(found) > 1:
        raise InputError(f"{path}: image {name!r:.100} may be {found[0]} or {found[1]}; rename or remove one")
    return found[0]


def read_size(element: Element) -> tuple[int, int] | None:
    """Width and height of an image, if they are stated."""
    sides = [element.get(name) or "" for name in ("width", "height")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,8}", side) for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def read_label(path: str, shape: Element) -> str:
    """The class name of a shape."""
    label = normalize_class_name(shape.get("label") or "")
    if not label:
        raise InputError(f"{path}: a {shape.tag} without label")
    return label


def read_object(path: str, name: str, shape: Element, ids: dict[str, int], size_wh: tuple[int, int]) -> Record:
    """A shape as a COCO annotation; CVAT's other fields and the attributes are kept."""
    try:
        record = READERS[shape.tag](shape, size_wh)
    except ValueError as error:
        raise InputError(f"{path}: a {shape.tag} of {name!r:.100}: {error}") from None
    fields = {key: to_number(value) for key in KEPT_FIELDS if (value := shape.get(key))}
    attributes = {each.get("name") or "": (each.text or "").strip() for each in shape.findall("attribute")}
    return {
        "category_id": ids[read_label(path, shape)],
        **record,
        **fields,
        **({"attributes": attributes} if attributes else {}),
    }


def to_number(text: str) -> int | str:
    """A whole number, else the text."""
    return int(text) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text) else text


def read_numbers(shape: Element, *names: str) -> list[float]:
    """Attributes that must be numbers.

    Raises:
        ValueError: one is missing, or is no finite number.
    """
    try:
        numbers = [float(shape.get(name) or "") for name in names]
    except ValueError:
        numbers = [float("nan")]
    if not np.isfinite(numbers).all():
        raise ValueError(f"needs the numbers {', '.join(names)}")
    return numbers


def read_rotation(shape: Element) -> float:
    """Degrees, clockwise."""
    return read_numbers(shape, "rotation")[0] if shape.get("rotation") else 0.0


def read_box(shape: Element, size_wh: tuple[int, int]) -> Record:
    """A box; a rotated one is an outline."""
    left, top, right, bottom = read_numbers(shape, "xtl", "ytl", "xbr", "ybr")
    if right < left or bottom < top:
        raise ValueError(f"ends before it begins, {left:g} to {right:g} and {top:g} to {bottom:g}")
    if not (degrees := read_rotation(shape)):
        return to_box(left, top, right - left, bottom - top)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return to_outline(rotate(corners, ((left + right) / 2, (top + bottom) / 2), degrees))


def read_polygon(shape: Element, size_wh: tuple[int, int]) -> Record:
    """An outline, written as "x,y;x,y;...\""""
    text = shape.get("points") or ""
    points = to_points([pair.split(",") for pair in text.split(";") if pair.strip()])
    if points is None or len(points) < 3:
        raise ValueError(f"needs points x,y;x,y;x,y, at least three, got {text!r:.60}")
    return to_outline(points)


def read_ellipse(shape: Element, size_wh: tuple[int, int]) -> Record:
    """An ellipse as an outline of many corners."""
    x, y, *radii = read_numbers(shape, "cx", "cy", "rx", "ry")
    if min(radii) <= 0:
        raise ValueError(f"has the radii {radii[0]:g} and {radii[1]:g}")
    return to_outline(trace_ellipse((x, y), radii, read_rotation(shape)))


def read_mask(shape: Element, size_wh: tuple[int, int]) -> Record:
    """A mask: run lengths along the rows of its own box, the first of pixels outside the object."""
    try:
        left, top, width, height = (int(shape.get(name) or "") for name in ("left", "top", "width", "height"))
        runs = np.array([int(run) for run in (shape.get("rle") or "").split(",")], np.int64)
    except (ValueError, OverflowError):
        raise ValueError("needs whole numbers as left, top, width, height and rle") from None
    if not (left >= 0 and top >= 0 and 0 < width <= size_wh[0] - left and 0 < height <= size_wh[1] - top):
        raise ValueError(f"of {width}x{height} pixels at {left}, {top} is not inside of {size_wh[0]}x{size_wh[1]}")
    if width * height > MAX_PIXELS:
        raise ValueError(f"has more than {MAX_PIXELS:,} pixels")
    if (runs < 0).any() or (runs > width * height).any() or runs.sum() != width * height:
        raise ValueError(f"its run lengths do not cover {width}x{height} pixels")
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return {
        **to_box(left, top, width, height),
        "area": int(mask.sum()),
        "segmentation": encode_part(mask, top=top, left=left, size=(size_wh[1], size_wh[0])),
    }


READERS: dict[str, Callable[[Element, tuple[int, int]], Record]] = {
    "box": read_box,
    "polygon": read_polygon,
    "ellipse": read_ellipse,
    "mask": read_mask,
}
"""Shapes with an area."""
