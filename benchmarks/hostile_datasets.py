"""What benchmarks/hostile.py damages of images, datasets, foreign annotations and shards."""

import contextlib
import json
import shutil
import tarfile
from pathlib import Path
from random import Random
from typing import Any

import frozen_inputs
import numpy as np
from hostile_damage import damage_bytes, damage_json, damage_npz, damage_text
from hostile_reading import Target, refused, replaced, verb
from PIL import Image

# Images


def draw_encoded(folder: Path) -> None:
    """A small image in every format and mode that Pillow can write."""
    generator = np.random.default_rng(0)
    pixels = frozen_inputs.noisy(generator, (40, 30), (90, 140, 60))
    colours = Image.fromarray(pixels)
    deep = Image.fromarray(generator.integers(0, 2**16, (30, 40)).astype(np.uint16))
    images = {mode: colours.convert(mode) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "F")}
    options: dict[str, dict[str, Any]] = {
        "jpg": {"progressive": True},
        "tif": {"compression": "tiff_lzw"},
        "gif": {"save_all": True, "append_images": [colours.rotate(9)]},
        "webp": {"lossless": True},
    }
    for suffix in ("jpg", "png", "webp", "bmp", "tif", "gif", "ppm", "jp2", "avif"):
        for mode, image in {**images, "I;16": deep}.items():
            path = folder / f"{mode.replace(';', '')}.{suffix}"
            try:
                image.save(path, **options.get(suffix, {}))
            except (OSError, ValueError, KeyError):
                path.unlink(missing_ok=True)  # a mode that the format does not have
    (folder / "plain.pgm").write_bytes(b"P2\n4 3\n200\n" + b" ".join(str(17 * i).encode() for i in range(12)))


def read_damaged_image(folder: Path, random: Random) -> None:
    from nextvit.image.reading import Encoded, read_image

    path = random.choice(sorted(folder.iterdir()))
    content = damage_bytes(path.read_bytes(), random)
    refused(lambda: read_image(Encoded(content, path.name)))


# Datasets


def draw_small(folder: Path, *, keep: int) -> None:
    """The drawn datasets with at most `keep` files in each folder of images."""
    frozen_inputs.draw(folder)
    for name in ("faulty", "images", "keys"):
        shutil.rmtree(folder / name)
    for parent in [each for each in folder.rglob("*") if each.is_dir()]:
        for path in sorted(parent.glob("*.png"))[keep:]:
            path.unlink()


def draw_datasets(folder: Path) -> None:
    draw_small(folder, keep=4)
    for path in folder.glob("objects/annotations/*.json"):
        content = json.loads(path.read_bytes())
        content["images"] = content["images"][:4]
        content["annotations"] = [each for each in content["annotations"] if each["image_id"] < 4]
        path.write_text(json.dumps(content))
    rows = (folder / "labels.csv").read_text().splitlines()
    there = [row for row in rows[1:] if (folder / row.split(",")[0]).is_file()]
    (folder / "labels.csv").write_text("\n".join([rows[0], *there]) + "\n")


def check_damaged(folder: Path, random: Random) -> None:
    dataset = random.choice(("objects", "objects", "objects", "masks", "labels.csv", "classes"))
    texts = {
        "objects": ("objects/annotations/instances_train.json", "objects/annotations/instances_val.json"),
        "masks": ("masks/classes.txt", "masks/masks/train/0.png", "masks/images/val/1.png"),
        "labels.csv": ("labels.csv",),
        "classes": ("classes/train/red/0.png",),
    }[dataset]
    path = folder / random.choice(texts)
    damage = {".json": damage_json, ".png": damage_bytes}.get(path.suffix)
    content = damage(path.read_bytes(), random) if damage else damage_text(path.read_text(), random)
    options = ["--task", "segmentation"] if dataset == "objects" and random.random() < 0.3 else []
    with replaced(path, content):
        verb("check", folder / dataset, "--json", *options)


def draw_foreign(folder: Path) -> None:
    """Small datasets in the formats that `nextvit convert` reads."""
    draw_small(folder, keep=2)
    for name in ("classes", "labelled", "masks", "objects"):
        shutil.rmtree(folder / name)
    (folder / "labels.csv").unlink()
    labelme, cvat = folder / "labelme", folder / "cvat"
    for each in (labelme, cvat / "images"):
        shutil.copytree(folder / "voc" / "JPEGImages", each)
    shapes = [
        {"label": "a", "points": [[2, 3], [30, 4], [20, 40]], "shape_type": "polygon", "group_id": None, "flags": {}},
        {"label": "b", "points": [[2, 3], [30, 40]], "shape_type": "rectangle", "group_id": 1, "flags": {}},
        {"label": "b", "points": [[20, 20], [30, 20]], "shape_type": "circle", "group_id": None, "flags": {}},
    ]
    width, height = frozen_inputs.SIZE_WH
    for name in ("a", "b"):
        content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None,
                   "imageHeight": height, "imageWidth": width}  # fmt: skip
        (labelme / f"{name}.json").write_text(json.dumps(content))
    cvat_objects = (
        '<box label="a" source="manual" occluded="0" xtl="2.0" ytl="3.0" xbr="30.0" ybr="40.0" z_order="0"/>'
        '<polygon label="b" source="manual" occluded="0" points="2.0,3.0;30.0,4.0;20.0,40.0" z_order="0"/>'
        '<mask label="b" source="manual" occluded="0" rle="3, 5, 12" left="2" top="2" width="5" height="4"/>'
    )
    listed = "".join(
        f'<image id="{index}" name="{name}.png" width="{width}" height="{height}">{cvat_objects}</image>'
        for index, name in enumerate(("a", "b"))
    )
    (cvat / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{listed}</annotations>'
    )


def convert_damaged(folder: Path, random: Random) -> None:
    path = random.choice(
        sorted(each for each in folder.rglob("*") if each.suffix in (".xml", ".txt", ".yaml", ".json"))
    )
    is_json = path.suffix == ".json"
    content = damage_json(path.read_bytes(), random) if is_json else damage_text(path.read_text(), random)
    source, out = folder / path.relative_to(folder).parts[0], folder / "out"
    try:
        with replaced(path, content):
            verb("convert", source, "--out", out, "--json")
    finally:
        shutil.rmtree(out, ignore_errors=True)


# Shards and archives


def draw_shards(folder: Path) -> None:
    draw_small(folder / "drawn", keep=4)
    verb("shard", folder / "drawn" / "classes", "--out", folder / "shards")
    shutil.rmtree(folder / "drawn")


def check_damaged_shards(folder: Path, random: Random) -> None:
    from nextvit.image.reading import read_image

    path = random.choice(sorted((folder / "shards").iterdir()))
    if path.suffix == ".json":
        content = damage_json(path.read_bytes(), random)
    elif path.suffix == ".npz" and random.random() < 0.7:
        content = damage_npz(path.read_bytes(), random)
    else:
        content = damage_bytes(path.read_bytes(), random)
    with replaced(path, content):
        if path.suffix == ".tar":
            with contextlib.suppress(tarfile.TarError, ValueError, EOFError), tarfile.open(path) as archive:
                names = archive.getnames()
                refused(lambda: read_image(path / random.choice(names or ["nothing.png"])))
        verb("check", folder / "shards", "--json")


DATASETS = {
    "images": Target(47, draw_encoded, read_damaged_image),
    "datasets": Target(16, draw_datasets, check_damaged),
    "foreign annotations": Target(16, draw_foreign, convert_damaged),
    "shards": Target(4, draw_shards, check_damaged_shards),
}
