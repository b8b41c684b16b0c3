"""VOC's objects as COCO's annotations."""

import re
from collections.abc import Iterable
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from nextvit.convert.foreign import Record, rename_fields
from nextvit.convert.outlines import Points, polygon_area, to_box, to_points
from nextvit.data.class_names import normalize_class_name
from nextvit.errors import InputError, shorten


def read_object(path: str, element: Element, ids: dict[str, int], *, is_one_based: bool) -> Record:
    """An object as a COCO annotation; VOC's other fields are kept under their own names."""
    left, top, right, bottom = read_corners(path, element)
    # VOC counts pixels from 1 and includes the last one; many tools write edges that start at 0.
    shift = 1 if is_one_based else 0
    width, height = right - left + shift, bottom - top + shift
    if width < 0 or height < 0:
        raise InputError(f"{path}: a box ends before it begins, {left:g} to {right:g} and {top:g} to {bottom:g}")
    record: Record = {
        "category_id": ids[read_name(path, element)],
        **to_box(left - shift, top - shift, width, height),
    }
    used = ["name", "bndbox"]
    outlines = [points - shift for each in element.findall("polygon") if (points := read_polygon(each)) is not None]
    if outlines:
        used.append("polygon")
        record |= {
            "segmentation": [points.ravel().tolist() for points in outlines],
            "area": sum(map(polygon_area, outlines)),
        }
    fields = {**element.attrib, **to_plain_fields(each for each in element if each.tag not in used)}
    return {**record, **rename_fields(fields, "voc")}


def read_name(path: str, element: Element) -> str:
    """The class name of an object.

    Raises:
        InputError: it is missing or empty.
    """
    name = normalize_class_name(element.findtext("name") or "")
    if not name:
        raise InputError(f"{path}: an object without name")
    return name


def read_corners(path: str, element: Element) -> tuple[float, ...]:
    """xmin, ymin, xmax, ymax of an object; whole numbers as int."""
    values = [element.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
    try:
        numbers = tuple(float(value or "") for value in values)
    except ValueError:
        numbers = ()
    if not numbers or not np.isfinite(numbers).all():
        raise InputError(
            f"{path}: an object needs bndbox with xmin, ymin, xmax, ymax, got "
            + ", ".join(shorten(str(value)) for value in values)
        )
    return tuple(int(number) if number.is_integer() else number for number in numbers)


def read_top_left_corners(path: str, tree: Element) -> list[float]:
    """xmin and ymin of every object, in one list."""
    return [value for each in tree.iter("object") for value in read_corners(path, each)[:2]]


def read_polygon(element: Element) -> Points | None:
    """The corners of an outline, as Roboflow (x1, y1, x2, ...) or LabelMe's older tool (pt with x and y) write them.

    None where it is neither, so that it is kept as it stands.
    """
    pairs = [(each.findtext("x"), each.findtext("y")) for each in element.findall("pt")]
    number = 1
    while not element.findall("pt") and element.find(f"x{number}") is not None:
        pairs.append((element.findtext(f"x{number}"), element.findtext(f"y{number}")))
        number += 1
    points = to_points([[x or "", y or ""] for x, y in pairs])
    return points if points is not None and len(points) >= 3 else None


def read_side(size: Element | None, name: str) -> int:
    """Width or height in pixels; 0 if it is missing or not a number."""
    text = (size.findtext(name) or "").strip() if size is not None else ""
    return int(text) if re.fullmatch(r"\d{1,9}", text) else 0


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
