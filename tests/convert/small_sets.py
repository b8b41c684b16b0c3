"""Small datasets, written file by file, and what was made of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from nextvit.convert.convert import Conversion, convert_to_coco

WIDTH, HEIGHT = 64, 48
ROW = "0 0.5 0.5 0.2 0.2\n"
"""A row of YOLO's, the box x 25.6, y 19.2, 12.8 x 9.6."""


def write_images(root: Path, *images: str) -> Path:
    """Write images of 64x48, each of its own colour; returns the root."""
    for number, name in enumerate(images):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (number * 7 % 256, number // 36, 90)).save(root / name)
    return root


def write_texts(root: Path, texts: Mapping[str, str | bytes]) -> Path:
    """Write texts by path; returns the root."""
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def write_yolo(root: Path, *images: str, data: str | None = "names: [bolt, nut]\n", rows: str = ROW) -> Path:
    """Images whose labels are in labels instead of images, or beside them, with one row each."""
    write_images(root, *images)
    labels = {str(Path(each.replace("images", "labels")).with_suffix(".txt")): rows for each in images}
    return write_texts(root, {**labels, **({"data.yaml": data} if data else {})})


def voc_xml(*boxes: tuple[float, float, float, float], filename: str = "", name: str = "part", more: str = "") -> str:
    """An XML file of VOC's with these boxes."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        f"</bndbox>{more}</object>"
        for x1, y1, x2, y2 in boxes
    )
    return f"<annotation><filename>{filename}</filename>{objects}</annotation>"


def convert(root: Path) -> tuple[Conversion, dict[str, dict[str, list[dict[str, Any]]]]]:
    """Convert into a new folder beside the root; the objects of each image by split and name."""
    out = root.with_name(f"{root.name}-coco")
    found = convert_to_coco(root, out)
    written: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for file in sorted((out / "annotations").iterdir()):
        split = file.stem.removeprefix("instances_")
        content = json.loads(file.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        written[split] = {name: [] for name in names.values()}
        for each in content["annotations"]:
            written[split][names[each["image_id"]]].append(each)
        on_disk = {
            path.relative_to(out / "images" / split).as_posix() for path in (out / "images" / split).rglob("*.*")
        }
        assert on_disk == written[split].keys()
    return found, written


def class_names(root: Path) -> list[str]:
    """The names of the classes of a converted set, in the order of the file."""
    [file, *_] = sorted((root.with_name(f"{root.name}-coco") / "annotations").iterdir())
    return [each["name"] for each in json.loads(file.read_text(encoding="utf-8"))["categories"]]
