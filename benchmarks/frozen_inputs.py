"""Small datasets, images and damaged files, drawn with fixed seeds: what benchmarks/frozen.py runs the commands on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}
SPLITS = {"train": 6, "val": 4}
SIZE_WH = (72, 56)
"""Of an image with objects or a mask."""
Pixels = NDArray[np.uint8]


def draw(root: Path) -> None:
    """Draw everything that the commands read, each dataset with a generator of its own."""
    draw_classes(root / "classes")
    draw_labels(root / "labels.csv")
    draw_objects(root / "objects")
    draw_masks(root / "masks")
    draw_voc(root / "voc")
    draw_yolo(root / "yolo")
    draw_images(root / "images")
    draw_key(root / "keys")
    draw_faulty(root / "faulty")


def noisy(generator: np.random.Generator, size_wh: tuple[int, int], colour: tuple[int, int, int]) -> Pixels:
    """An image (H, W, 3) of one colour and Gaussian noise."""
    values = np.array(colour) + generator.normal(0, 30, (size_wh[1], size_wh[0], 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def draw_classes(root: Path) -> None:
    """One label an image: a folder for each of three colours; the last one has twice as many images."""
    generator = np.random.default_rng(1)
    for split, count in SPLITS.items():
        for name, colour in COLOURS.items():
            for index in range(count * (2 if name == "red" else 1)):
                save(root / split / name / f"{index}.png", noisy(generator, (72, 64), colour))


def draw_labels(path: Path) -> None:
    """Several labels an image: two halves, each of a colour."""
    generator = np.random.default_rng(2)
    rows = ["path,labels,split"]
    for split, count in {"train": 12, "val": 8}.items():
        for index in range(count):
            names = [str(name) for name in generator.choice(list(COLOURS), 2)]
            halves = [noisy(generator, (20, 40), COLOURS[name]) for name in names]
            save(path.parent / "labelled" / split / f"{index}.png", np.concatenate(halves, axis=1))
            rows.append(f"labelled/{split}/{index}.png,{'|'.join(sorted(set(names)))},{split}")
    write(path, "\n".join(rows) + "\n")


def place_boxes(generator: np.random.Generator) -> list[tuple[int, int, int, int, int]]:
    """Three objects of an image as left, top, width, height and index of the colour."""
    return [
        (24 * slot + int(generator.integers(0, 4)), *map(int, generator.integers([2, 14, 14], [24, 20, 30])), slot % 2)
        for slot in range(3)
    ]


def draw_boxes(generator: np.random.Generator, boxes: list[tuple[int, int, int, int, int]]) -> Pixels:
    """A grey image with a rectangle for each box."""
    pixels = noisy(generator, SIZE_WH, (120, 120, 120))
    for left, top, width, height, index in boxes:
        pixels[top : top + height, left : left + width] = noisy(
            generator, (width, height), list(COLOURS.values())[index]
        )
    return pixels


def annotation(number: int, image: int, box: tuple[int, int, int, int, int]) -> dict[str, Any]:
    """A record of an object in COCO's format, with the rectangle as a polygon."""
    left, top, width, height, index = box
    corners = [left, top, left + width, top, left + width, top + height, left, top + height]
    return {
        "id": number,
        "image_id": image,
        "category_id": 10 * (index + 1),
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
        "segmentation": [corners],
    }


def draw_objects(root: Path) -> None:
    """Two categories of rectangles with polygons, in COCO's layout."""
    generator = np.random.default_rng(3)
    for split, count in SPLITS.items():
        images, annotations = [], []
        for index in range(count):
            boxes = place_boxes(generator)
            save(root / "images" / split / f"{index}.png", draw_boxes(generator, boxes))
            images.append({"id": index, "file_name": f"{index}.png", "width": SIZE_WH[0], "height": SIZE_WH[1]})
            annotations += [annotation(3 * index + slot, index, box) for slot, box in enumerate(boxes)]
        categories = [{"id": 10, "name": "blue"}, {"id": 20, "name": "green"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        write(root / "annotations" / f"instances_{split}.json", json.dumps(content))


def draw_masks(root: Path) -> None:
    """A class for each pixel, of two: rectangles are defects; some pixels have no class, one image has no defect."""
    generator = np.random.default_rng(4)
    write(root / "classes.txt", "normal\ndefect\n")
    for split, count in SPLITS.items():
        for index in range(count):
            boxes = place_boxes(generator) if index else []
            mask = np.zeros(SIZE_WH[::-1], np.uint8)
            for left, top, width, height, _ in boxes:
                mask[top : top + height, left : left + width] = 1
            mask[:2] = 255
            save(root / "images" / split / f"{index}.png", draw_boxes(generator, boxes))
            save(root / "masks" / split / f"{index}.png", mask)


def draw_voc(root: Path) -> None:
    """Two images with boxes in Pascal VOC's format."""
    generator = np.random.default_rng(5)
    for name in ("a", "b"):
        boxes = place_boxes(generator)
        save(root / "JPEGImages" / f"{name}.png", draw_boxes(generator, boxes))
        objects = "".join(
            f"<object><name>{list(COLOURS)[index]}</name><difficult>0</difficult><bndbox><xmin>{left + 1}</xmin>"
            f"<ymin>{top + 1}</ymin><xmax>{left + width}</xmax><ymax>{top + height}</ymax></bndbox></object>"
            for left, top, width, height, index in boxes
        )
        size = f"<size><width>{SIZE_WH[0]}</width><height>{SIZE_WH[1]}</height></size>"
        write(
            root / "Annotations" / f"{name}.xml",
            f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>",
        )


def draw_yolo(root: Path) -> None:
    """Two images with boxes in YOLO's format, one for each split."""
    generator = np.random.default_rng(6)
    write(root / "data.yaml", "names: [blue, green]\n")
    for split in SPLITS:
        boxes = place_boxes(generator)
        save(root / "images" / split / "a.png", draw_boxes(generator, boxes))
        rows = [
            f"{index} {(left + width / 2) / SIZE_WH[0]:.5f} {(top + height / 2) / SIZE_WH[1]:.5f} "
            f"{width / SIZE_WH[0]:.5f} {height / SIZE_WH[1]:.5f}\n"
            for left, top, width, height, index in boxes
        ]
        write(root / "labels" / split / "a.txt", "".join(rows))


def draw_images(root: Path) -> None:
    """Images to predict: with objects, with transparency, of 16 bits, and a JPEG with a rotation in its EXIF."""
    generator = np.random.default_rng(7)
    boxes = place_boxes(generator)
    pixels = draw_boxes(generator, boxes)
    save(root / "objects.png", pixels)
    alpha = generator.integers(0, 256, (*pixels.shape[:2], 1)).astype(np.uint8)
    save(root / "transparent.png", np.concatenate([noisy(generator, SIZE_WH, COLOURS["red"]), alpha], axis=2))
    Image.fromarray(generator.integers(0, 2**16, (50, 90)).astype(np.uint16)).save(root / "sixteen_bits.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.repeat(np.repeat(pixels, 3, 0), 3, 1)).save(root / "rotated.jpg", quality=90, exif=exif)


def draw_key(root: Path) -> None:
    """A pair of Ed25519 keys, the same each time, and a public key of another pair."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem, public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    for name, seed in (("signer", 1), ("other", 2)):
        key = Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write(root / f"{name}.pem", private)
        write(root / f"{name}.pub.pem", key.public_key().public_bytes(pem, public))


def draw_faulty(root: Path) -> None:
    """Datasets, images and settings that must be refused, or in which `nextvit check` finds something."""
    generator = np.random.default_rng(8)
    (root / "empty").mkdir(parents=True)
    (root / "empty_class" / "train" / "blue").mkdir(parents=True)
    save(root / "empty_class" / "train" / "red" / "0.png", noisy(generator, (40, 40), COLOURS["red"]))
    write(root / "image.jpg", b"no image")
    for split, name, index in (("train", "red", 0), ("train", "blue", 0), ("val", "red", 0), ("train", "blue", 1)):
        pixels = noisy(np.random.default_rng(9), (40, 40), COLOURS["red"])
        save(root / "copies" / split / name / f"{index}.png", pixels)
    write(root / "copies" / "train" / "red" / "1.png", b"no image")
    save(root / "copies" / "train" / "red" / "2.png", np.zeros((4, 300, 3), np.uint8))
    write(root / "columns.csv", "file,class\na.png,red\n")
    write(root / "missing.csv", "path,label\nnowhere.png,red\n")
    shutil.copytree(root.parent / "objects", root / "objects")
    change_json(
        root / "objects/annotations/instances_train.json", lambda content: content["annotations"][0].update(image_id=99)
    )
    shutil.copytree(root.parent / "masks", root / "masks")
    save(root / "masks/masks/train/1.png", np.full(SIZE_WH[::-1], 7, np.uint8))
    write(root / "broken.yaml", "optim: [\n")
    write(root / "unknown.yaml", "optim:\n  learning_rate: 1\n")
    write(root / "wrong_type.yaml", "schedule:\n  epochs: several\n")
    write(root / "lines.jsonl", "{}\n")
    write(root / "weights.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}")


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    """Read a JSON file, let `change` alter its content, and write it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write(path, json.dumps(content))


def damage(bundle: Path, run: Path, root: Path) -> None:
    """Damaged copies under `root` of an ONNX bundle and of a run."""
    copies: dict[str, Path] = {}
    for name in ("changed", "lacks_a_file", "has_a_file_more", "no_json", "other_format", "no_golden"):
        copies[name] = Path(shutil.copytree(bundle, root / f"{name}.nextvit"))
    flip_a_byte(copies["changed"] / "model.onnx")
    (copies["lacks_a_file"] / "model.onnx").unlink()
    write(copies["has_a_file_more"] / "more.txt", "more")
    write(copies["no_json"] / "manifest.json", "{")
    change_json(copies["other_format"] / "manifest.json", lambda content: content.update(format=99))
    (copies["no_golden"] / "golden.npz").unlink()
    shutil.copytree(run, root / "run", ignore=shutil.ignore_patterns("exports"))
    for name in ("last", "previous", "best"):
        for path in (root / "run" / "checkpoints" / name).glob("*.safetensors"):
            flip_a_byte(path)
    shutil.copytree(run, root / "no_checkpoint", ignore=shutil.ignore_patterns("exports", "checkpoints"))


def flip_a_byte(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    write(path, bytes(content))
