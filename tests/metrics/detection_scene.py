"""Images of random objects, and answers about them that are right, shifted, of another class, doubled or made up."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from nextvit.data.objects import Objects, Segmentation
from nextvit.image.masks import encode
from nextvit.predictions.results import Detection, Detections

CLASSES = ("cell", "nut", "car", "none of these")
SIZE = (240, 320)  # height, width


def ellipse(box: Sequence[float], size: tuple[int, int] = SIZE) -> np.ndarray:
    image = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(image).ellipse(tuple(box), fill=1)
    return np.array(image)


def polygon(box: Sequence[float]) -> list[list[float]]:
    x1, y1, x2, y2 = box
    return [[x1, y1, x2, y1, x2, y2, (x1 + x2) / 2, y2 + 1.5, x1, y2]]


def random_box(generator: np.random.Generator) -> np.ndarray:
    """Of a side of 3 to 220 px: small, medium and large ones."""
    width, height = np.exp(generator.uniform(np.log(3), np.log(220), 2))
    x1, y1 = generator.uniform(0, SIZE[1] - width), generator.uniform(0, SIZE[0] - height)
    return np.array([x1, y1, x1 + width, y1 + height]).round(1)


def segmentation_of(box: np.ndarray, number: int) -> Segmentation:
    """A polygon, run lengths as text, and run lengths as numbers, in turn."""
    if number % 3 == 0:
        return polygon(box.tolist())
    mask = ellipse(box.tolist())
    if number % 3 == 1:
        return dict(encode(mask))
    flat = mask.T.ravel().astype(int)
    changes = np.flatnonzero(np.diff(np.r_[0, flat])).tolist()
    return {"size": list(SIZE), "counts": np.diff([0, *changes, flat.size]).tolist()}


def draw_scene(*, pictures: int = 12, seed: int = 0, crowds: bool = True) -> tuple[list[Detections], list[Objects]]:
    """Answers and annotations; scores are rounded, so that many are equal, some images are empty, and some answers
    too."""
    generator = np.random.default_rng(seed)
    answers, annotations = [], []
    for picture in range(pictures):
        count = 0 if picture % 5 == 3 else int(generator.integers(1, 14))
        boxes = np.array([random_box(generator) for _ in range(count)], np.float32).reshape(-1, 4)
        labels = generator.integers(0, 3, count)
        crowd = generator.random(count) < 0.15 if crowds else np.zeros(count, np.bool_)
        segmentations = tuple(segmentation_of(box, index) for index, box in enumerate(boxes))
        areas = (boxes[:, 2] - boxes[:, 0]).astype(np.float64) * (boxes[:, 3] - boxes[:, 1])
        annotations.append(Objects(boxes=boxes, labels=labels, crowd=crowd, areas=areas, segmentations=segmentations))
        answers.append(answer_to(annotations[-1], generator, silent=picture % 7 == 5))
    return answers, annotations


def answer_to(objects: Objects, generator: np.random.Generator, *, silent: bool) -> Detections:
    found: list[Detection] = []
    made_up = [(random_box(generator), int(generator.integers(0, 3))) for _ in range(4)]
    twice = [pair for pair in zip(objects.boxes, objects.labels, strict=True) for _ in range(2)]
    for box, label in [] if silent else [*made_up, *twice]:
        spread = generator.choice([0.0, 0.02, 0.1]) * (box[2:] - box[:2])
        moved = np.asarray(box, np.float64) + np.tile(generator.normal(0, 1, 2) * spread, 2)
        named = int(label) if generator.random() < 0.8 else int(generator.integers(0, 3))
        found.append(
            Detection(
                label=CLASSES[named],
                category_id=named * 10,
                score=float(generator.integers(1, 20) / 20),
                box=tuple(moved.tolist()),
                mask=encode(ellipse(moved.tolist())),
            )
        )
    found.sort(key=lambda each: -each.score)
    return Detections(height=SIZE[0], width=SIZE[1], objects=tuple(found))
