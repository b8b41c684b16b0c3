"""A segmentation task on drawn images, and answers by colour alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import SegmentationFacts
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.resizing import Preprocess
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.segmentation_evaluation import SegmentationEvaluator
from nextvit.tasks.task import make_evaluator
from tests.data.masks_by_hand import CLASSES

CARD = ModelCard(
    task="segmentation",
    classes=CLASSES,
    input=Preprocess(image_size=(72, 120), resize="pad"),
    variant="nextvit_nano",
    architecture={},
    facts=SegmentationFacts(),
)


def by_colour(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Red is the square, blue the disc; beyond the images is nothing."""
    red, green, blue = np.moveaxis(inputs["images"].astype(int), 3, 0)
    classes = np.where((red > 170) & (blue < 90) & (green < 90), 1, np.where((blue > 170) & (red < 90), 2, 0))
    for each, (height, width) in zip(classes, inputs["sizes"], strict=True):
        each[height:] = IGNORE_INDEX
        each[:, width:] = IGNORE_INDEX
    return {"classes": classes.astype(np.uint8)}


def find_task(root: Path) -> SegmentationEvaluator:
    task = make_evaluator(read_dataset(root), CARD)
    assert isinstance(task, SegmentationEvaluator)
    return task
