"""A small dataset with a mask for each image, drawn, in both layouts of folders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 48, 36
CLASSES = ("background", "square", "disc")

Mask = NDArray[np.uint8]


def draw_masked(root: Path, *, train: int = 12, val: int = 4) -> Path:
    """A red square (1) and a blue disc (2) on an image of noise (0): images/<split>/N.png, masks/<split>/N.png,
    classes.txt."""
    generator = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            coarse = Image.fromarray(generator.integers(0, 256, (9, 7, 3), dtype=np.uint8))
            image, mask = coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), Image.new("L", (WIDTH, HEIGHT))
            side, x, y = (int(generator.integers(low, high)) for low, high in ((8, 14), (1, 9), (1, 20)))
            radius, cx, cy = (int(generator.integers(low, high)) for low, high in ((5, 9), (30, 38), (9, 26)))
            for draw, square, disc in (
                (ImageDraw.Draw(image), (220, 30, 30), (30, 30, 220)),
                (ImageDraw.Draw(mask), 1, 2),
            ):
                draw.rectangle((x, y, x + side - 1, y + side - 1), fill=square)
                draw.ellipse((cx - radius, cy - radius, cx + radius - 1, cy + radius - 1), fill=disc)
            image.save(root / "images" / split / f"{index}.png")
            mask.save(root / "masks" / split / f"{index}.png")
    return root


def draw_ade20k(root: Path) -> Path:
    """The same in ADE20K's layout: values count from 1, and the outermost column has no label (0)."""
    draw_masked(root / "plain")
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1 \t0.9\t12\t4\twall, ground\n2 \t0.1\t12\t4\tscreen;square\n3 "
        "\t0.1\t12\t4\tscreen;disc\n"
    )
    for split, name in (("train", "training"), ("val", "validation")):
        for kind, new in (("images", "images"), ("masks", "annotations")):
            (root / new).mkdir(exist_ok=True)
            (root / "plain" / kind / split).rename(root / new / name)
        for path in (root / "annotations" / name).iterdir():
            mask = read_mask(path) + 1
            mask[:, 0] = 0
            Image.fromarray(mask).save(path)
    return root


def read_mask(path: Path) -> Mask:
    return np.array(Image.open(path))


def repaint(root: Path, change: Callable[[Mask], Mask], *, split: str = "train", only: int | None = None) -> None:
    """Change the masks of a split, or the one of an image."""
    for path in (
        sorted((root / "masks" / split).iterdir()) if only is None else [root / "masks" / split / f"{only}.png"]
    ):
        Image.fromarray(change(read_mask(path))).save(path)
