"""Which format a dataset is in, by the contents of its files."""

from collections.abc import Callable

from nextvit.convert.cvat import read_cvat
from nextvit.convert.foreign import ForeignDataset
from nextvit.convert.labelme import is_labelme_file, read_labelme
from nextvit.convert.source_files import SourceFiles
from nextvit.convert.voc import read_voc
from nextvit.convert.xml_file import read_root_tag
from nextvit.convert.yolo import find_yolo_file, read_yolo
from nextvit.data.coco_layouts import is_coco
from nextvit.data.foreign_layouts import CONVERT, LAYOUTS, find_markers
from nextvit.errors import InputError

READERS: dict[str, Callable[[SourceFiles], ForeignDataset]] = {
    "VOC": read_voc,
    "CVAT": read_cvat,
    "LabelMe": read_labelme,
    "YOLO": read_yolo,
}
XML_ROOTS = {"annotation": "VOC", "annotations": "CVAT"}
"""The root element of each format's files."""


def read_foreign(files: SourceFiles) -> ForeignDataset:
    """Read a dataset in one of the formats.

    Raises:
        InputError: the folder is in no format that is read, or in several, or a file cannot be read.
    """
    found = find_formats(files)
    if len(found) > 1:
        (first, file), (second, other), *_ = found.items()
        raise InputError(
            f"{files.root}: has annotations in {first}'s format ({file}) and in {second}'s ({other}); move those away "
            "that are not to be used"
        )
    if found:
        return READERS[next(iter(found))](files)
    if is_coco(files.root):
        raise InputError(f"{files.root}: is already in COCO's format; use it directly")
    for layout in LAYOUTS:
        if layout.advice != CONVERT and (marker := find_markers(layout, files.root)):
            raise InputError(
                f"{files.root}: is in {layout.name} ({marker.relative_to(files.root)}), which is not converted; "
                f"{layout.advice}"
            )
    raise InputError(
        f"{files.root}: neither VOC's format (Annotations/*.xml, or *.xml beside the images), nor YOLO's "
        "(labels/*.txt, or *.txt beside the images), nor LabelMe's (*.json beside the images), nor CVAT's for images "
        "(annotations.xml)"
    )


def find_formats(files: SourceFiles) -> dict[str, str]:
    """The formats of the annotations, with a file of each."""
    found: dict[str, str] = {}
    for path in files.with_suffix(".xml"):
        if len(found) < len(XML_ROOTS) and (name := XML_ROOTS.get(read_root_tag(files.root / path))):
            found.setdefault(name, path)
    if path := next((path for path in files.with_suffix(".json") if is_labelme_file(files.root / path)), None):
        found["LabelMe"] = path
    if path := find_yolo_file(files):
        found["YOLO"] = path
    return found
