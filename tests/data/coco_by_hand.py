"""A small dataset with objects, drawn, and its annotations as plain lists that a test may spoil."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 96, 72
CATEGORIES = [{"id": 3, "name": "square", "supercategory": ""}, {"id": 7, "name": "disc", "supercategory": ""}]

Content = dict[str, Any]


def draw_objects(root: Path, *, train: int = 12, val: int = 4) -> Path:
    """A square (category 3) and a disc (category 7) on each image; images/<split> and
    annotations/instances_<split>.json.

    Image ids begin with 0, category ids have gaps, and every object has a polygon.
    """
    generator = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        folder = root / "images" / split
        folder.mkdir(parents=True)
        content: Content = {"images": [], "annotations": [], "categories": CATEGORIES}
        for index in range(count):
            coarse = Image.fromarray(generator.integers(0, 256, (9, 7, 3), dtype=np.uint8))
            image = coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            draw = ImageDraw.Draw(image)
            side, x, y = (int(generator.integers(low, high)) for low, high in ((12, 24), (2, 20), (2, 40)))
            draw.rectangle((x, y, x + side - 1, y + side - 1), fill=(220, 30, 30))
            square = [x, y, x + side, y, x + side, y + side, x, y + side]
            radius, cx, cy = (int(generator.integers(low, high)) for low, high in ((7, 13), (60, 80), (18, 52)))
            draw.ellipse((cx - radius, cy - radius, cx + radius - 1, cy + radius - 1), fill=(30, 30, 220))
            turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            disc = (
                np.stack([cx + radius * np.cos(turns), cy + radius * np.sin(turns)], axis=1).round(2).ravel().tolist()
            )
            image.save(folder / f"{index}.png")
            content["images"].append({"id": index, "file_name": f"{index}.png", "width": WIDTH, "height": HEIGHT})
            add(content, index, 3, [x, y, side, side], segmentation=[square])
            add(content, index, 7, [cx - radius, cy - radius, 2 * radius, 2 * radius], segmentation=[disc])
        save(root, split, content)
    return root


def add(content: Content, image_id: int, category_id: int, bbox: list[float], **more: object) -> None:
    """One more annotation."""
    content["annotations"].append(
        {
            "id": len(content["annotations"]) + 1,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": 0,
            **more,
        }
    )


def save(root: Path, split: str, content: object) -> None:
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def spoil(root: Path, change: Callable[[Content], object], *, split: str = "train") -> None:
    """Change what is annotated in a split."""
    content = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
    change(content)
    save(root, split, content)
