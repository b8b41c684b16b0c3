"""Read LabelMe's annotations: one JSON file per image, with shapes."""

import base64
import binascii
import io
import math
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from nextvit.convert.file_index import FileIndex, claim, pair_image, split_path, swap_folder
from nextvit.convert.foreign import (
    ForeignDataset,
    ForeignImage,
    Record,
    describe_shapes,
    number_categories,
    read_upright_size,
    rename_fields,
    to_categories,
)
from nextvit.convert.outlines import Points, to_box, to_outline, to_points, trace_ellipse
from nextvit.convert.source_files import SourceFiles
from nextvit.data.class_names import normalize_class_name
from nextvit.errors import InputError
from nextvit.files.regular import read_regular
from nextvit.files.structured_text import parse_json
from nextvit.image.masks import encode_part
from nextvit.image.reading import MAX_PIXELS, UNREADABLE, reason

MAX_BYTES = 2**27
"""A file may hold its whole image."""
SNIFFED_BYTES = 2**16
ANNOTATION_FOLDERS = ("annotations", "labels", "json", "jsons", "labelme")
IMAGE_FOLDERS = ("images", "JPEGImages", "imgs")
LEFT_OUT_SHAPES = ("line", "linestrip", "point", "points")
"""Shapes without an area."""
USED_FIELDS = frozenset({"label", "points", "shape_type", "mask"})


def is_labelme_file(path: Path) -> bool:
    """Whether a JSON file begins like LabelMe's; the image inside may stand before the shapes."""
    try:
        with path.open("rb") as file:
            head = file.read(SNIFFED_BYTES)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    is_coco = re.search(rb'"annotations"\s*:\s*\[', head)
    return bool(re.search(rb'"(shapes"\s*:\s*\[|imagePath"|imageData")', head)) and not is_coco


def read_labelme(files: SourceFiles) -> ForeignDataset:
    """Read all JSON files that have shapes.

    Raises:
        InputError: a file is damaged, or its image is missing or in doubt.
    """
    index, claims = FileIndex(files.images), dict[str, str]()
    contents: dict[str, Record] = {}
    for path in files.with_suffix(".json"):
        if not is_labelme_file(files.root / path):
            continue
        content = parse_json(read_regular(files.root / path, max_bytes=MAX_BYTES), what=str(files.root / path))
        if isinstance(content, dict) and isinstance(content.get("shapes"), list):
            contents[path] = {key: value for key, value in content.items() if key != "imageData"}
    ids = number_categories([name for path, content in contents.items() for name in read_labels(path, content)])
    left_out = Counter[str]()
    images: list[ForeignImage] = []
    for path, content in contents.items():
        image = find_image(index, path, content)
        claim(claims, image, path)
        images.append(read_image_annotations(files, path, content, image, ids, left_out))
    return ForeignDataset(
        source_format="LabelMe",
        categories=to_categories(ids),
        images=images,
        annotation_files=frozenset(contents),
        left_out=[],
        image_left_out_because="no JSON file of LabelMe's is of this image",
        info={},
        remarks=describe_shapes(images, Counter({f"of type {kind}": count for kind, count in left_out.items()})),
    )


def find_image(index: FileIndex, path: str, content: Record) -> str:
    """The image of a JSON file."""
    stated = content.get("imagePath") or ""
    if not isinstance(stated, str):
        raise InputError(f"{path}: imagePath must be a text, got {stated!r:.60}")
    folder = str(PurePosixPath(path).parent)
    stated_folder = "/".join(split_path(f"{folder}/{stated}")[:-1]) or "."
    folders = [folder, stated_folder, *swap_folder(folder, ANNOTATION_FOLDERS, IMAGE_FOLDERS)]
    return pair_image(index, path, list(dict.fromkeys(folders)), stated)


def read_labels(path: str, content: Record) -> list[str]:
    """The label of each shape that is read."""
    labels: list[str] = []
    for shape in content["shapes"]:
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise InputError(f"{path}: a shape needs a label, got {shape!r:.60}")
        label = normalize_class_name(shape["label"])
        if not label:
            raise InputError(f"{path}: a shape without label")
        if read_type(shape) not in LEFT_OUT_SHAPES:
            labels.append(label)
    return labels


def read_type(shape: Record) -> str:
    """The kind of a shape; files of old versions have polygons alone and state none."""
    return str(shape.get("shape_type") or "polygon")


def read_image_annotations(
    files: SourceFiles, path: str, content: Record, image: str, ids: dict[str, int], left_out: Counter[str]
) -> ForeignImage:
    """The image of one JSON file with its objects; shapes without an area are counted in `left_out`."""
    sides = [content.get(name) for name in ("imageWidth", "imageHeight")]
    width, height = (side if isinstance(side, int) and 0 < side < 2**31 else 0 for side in sides)
    size_wh = (width, height) if width and height else read_upright_size(files.root / image)
    objects: list[tuple[Record, list[Points]]] = []
    groups: dict[tuple[int, str], list[Points]] = {}
    for number, shape in enumerate(content["shapes"], 1):
        kind = read_type(shape)
        if kind in LEFT_OUT_SHAPES:
            left_out[kind] += 1
            continue
        try:
            found = read_shape(kind, shape, size_wh)
        except ValueError as error:
            raise InputError(f"{files.root / path}: shape {number}, {shape['label']!r:.60}: {error}") from None
        category_id, group = ids[normalize_class_name(shape["label"])], shape.get("group_id")
        record = {"category_id": category_id, **read_fields(shape)}
        if isinstance(found, dict):
            objects.append(({**record, **found}, []))
            continue
        # Outlines of one label and group are the parts of one object.
        outlines = groups.setdefault((category_id, f"shape {number}" if group is None else f"group {group}"), [])
        if not outlines:
            objects.append((record, outlines))
        outlines.append(found)
    extra = {key: content[key] for key in ("version", "flags") if content.get(key)}
    records = [{**record, **to_outline(*outlines)} if outlines else record for record, outlines in objects]
    return ForeignImage(image, size_wh, records, {"labelme": extra} if extra else {}, annotation=path)


def read_fields(shape: Record) -> Record:
    """What a shape says beside its label and points, such as flags and group_id."""
    fields = {key: value for key, value in shape.items() if key not in USED_FIELDS and value not in (None, {}, "")}
    return rename_fields(fields, "labelme")


def read_shape(kind: str, shape: Record, size_wh: tuple[int, int]) -> Record | Points:
    """The fields of a box or of a mask, or the corners of an outline.

    Raises:
        ValueError: the points are not those of such a shape, or the kind is unknown.
    """
    points = to_points(shape.get("points"))
    if points is None:
        raise ValueError(f"points must be pairs of numbers, got {shape.get('points')!r:.60}")
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    match kind:
        case "rectangle" if len(points) == 2 or (len(points) == 4 and is_upright(points)):
            return to_box(left, top, right - left, bottom - top)
        case "rectangle" if len(points) == 4:
            return points
        case "polygon" | "rotation" if len(points) >= 3:
            return points
        case "circle" if len(points) == 2:
            center, edge = points.tolist()
            radius = math.dist(center, edge)
            return trace_ellipse(center, (radius, radius))
        case "mask" if len(points) == 2:
            return read_mask(shape.get("mask"), points, size_wh)
        case "rectangle" | "polygon" | "rotation" | "circle" | "mask":
            raise ValueError(f"a {kind} of {len(points)} points")
        case _:
            raise ValueError(f"shapes of the type {kind!r:.40} are not read; remove them, or make them polygons")


def is_upright(points: Points) -> bool:
    """Whether four points are the corners of a box whose sides are those of the image."""
    return len({*points[:, 0].tolist()}) == 2 and len({*points[:, 1].tolist()}) == 2


def read_mask(value: object, points: Points, size_wh: tuple[int, int]) -> Record:
    """A mask that is an image in a text, for the part of the image between two corners, both included."""
    (left, top), (right, bottom) = np.rint(points.min(axis=0)).tolist(), np.rint(points.max(axis=0)).tolist()
    if not (0 <= left <= right < size_wh[0] and 0 <= top <= bottom < size_wh[1]):
        raise ValueError(f"a mask from {left:g}, {top:g} to {right:g}, {bottom:g}, outside of the image")
    if (right - left) * (bottom - top) > MAX_PIXELS:
        raise ValueError(f"a mask of more than {MAX_PIXELS:,} pixels")
    left, top, size = int(left), int(top), (int(right - left + 1), int(bottom - top + 1))
    try:
        with Image.open(io.BytesIO(base64.b64decode(str(value or ""), validate=True)), formats=["PNG"]) as image:
            found = image.size
            mask = np.asarray(image.convert("L")) > 0 if found == size else np.zeros((0, 0), np.bool_)
    except (*UNREADABLE, binascii.Error) as error:
        raise ValueError(f"a mask that cannot be read ({reason(error)})") from None
    if found != size:
        raise ValueError(f"a mask of {found[0]}x{found[1]} pixels between corners of {size[0]}x{size[1]}")
    return {
        **to_box(left, top, size[0], size[1]),
        "area": int(mask.sum()),
        "segmentation": encode_part(mask, top=top, left=left, size=(size_wh[1], size_wh[0])),
    }
