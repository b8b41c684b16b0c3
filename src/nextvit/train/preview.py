"""RUN/augmented.png: some pictures as the network is going to see them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from nextvit.data.objects import Targets
from nextvit.files.run_folder import AUGMENTED
from nextvit.image.drawing import Mark, class_colours, common_classes, draw_marks, look_of, tinted
from nextvit.image.masks import encode
from nextvit.image.resizing import Pixels
from nextvit.train.recipe import Recipe
from nextvit.views.contact_sheet import MOST_SHOWN, write_contact_sheet
from nextvit.views.mix import mixed
from nextvit.views.training_batches import Batch, TrainingSet, mixed_seed

if TYPE_CHECKING:
    from nextvit.train.loop import Training

FRAMES_SHOWN, FRAME_COLUMNS, FRAME_PX = 8, 4, 320
"""Of pictures with objects or masks: fewer, and larger."""


def write_preview(run: Path, training: "Training", recipe: Recipe) -> None:
    """Augment and mix the first images of the first epoch, or draw their objects on them, and show them side by side."""
    dataset = training.batches.dataset
    assert isinstance(dataset, TrainingSet)
    batch = dataset.__getitems__(next(iter(training.sampler))[:MOST_SHOWN])
    if batch.failure:  # the first step is going to say so
        return
    if batch.masks is not None:
        drawn = with_masks(batch, training.task.card.classes)
        write_contact_sheet(run / AUGMENTED, drawn, side_px=FRAME_PX, columns=FRAME_COLUMNS)
        return
    if batch.framed is None:
        write_contact_sheet(run / AUGMENTED, as_mixed(batch, training, recipe))
        return
    drawn = with_objects(batch, training.task.card.classes)
    write_contact_sheet(run / AUGMENTED, drawn, side_px=FRAME_PX, columns=FRAME_COLUMNS)


def as_mixed(batch: Batch, training: "Training", recipe: Recipe) -> Pixels:
    """The images (N, H, W, 3) of a batch with labels, after the mixing."""
    targets = torch.from_numpy(training.targets(batch.indices))
    torch.manual_seed(mixed_seed(recipe.compute.seed))
    pixels, _ = mixed(batch.images.float(), targets, recipe.mix, np.random.default_rng(recipe.compute.seed))
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def with_masks(batch: Batch, classes: tuple[str, ...]) -> Pixels:
    """The first views (N, H, W, 3) of a batch with masks, under the colours of the classes, one of most pixels thinly."""
    assert batch.masks is not None
    views_NHWC, masks_NHW = (each[:FRAMES_SHOWN].numpy() for each in (batch.images.permute(0, 2, 3, 1), batch.masks))
    colours = class_colours(len(classes))
    common = common_classes(np.bincount(masks_NHW.reshape(-1), minlength=256)[: len(classes)].tolist())
    sheets = [
        tinted(Image.fromarray(view), mask, colours, thin=common)
        for view, mask in zip(views_NHWC, masks_NHW, strict=True)
    ]
    return np.stack([np.asarray(sheet) for sheet in sheets])


def with_objects(batch: Batch, classes: tuple[str, ...]) -> Pixels:
    """The first frames (N, h, w, 3) of a batch with objects, at the size that they are shown in."""
    assert batch.framed is not None
    frames_NHWC = batch.images[:FRAMES_SHOWN].permute(0, 2, 3, 1).numpy()
    scale = FRAME_PX / max(frames_NHWC.shape[1:3])
    found = batch.framed.objects[:FRAMES_SHOWN]
    sheets = [
        draw_marks(Image.fromarray(frame), marks_of(each, frame.shape[:2], classes), scale=scale)
        for frame, each in zip(frames_NHWC, found, strict=True)
    ]
    return np.stack([np.asarray(sheet) for sheet in sheets])


def marks_of(found: Targets, frame: tuple[int, int], classes: tuple[str, ...]) -> list[Mark]:
    """What is to be found on a view at the top left of a frame of this height and width."""
    masks = [None] * len(found.boxes)
    if found.masks is not None:
        missing = [(0, whole - own) for whole, own in zip(frame, found.masks.shape[1:], strict=True)]
        masks = [encode(np.pad(mask, missing)) if mask.any() else None for mask in found.masks]
    return [
        Mark(box=(x1, y1, x2, y2), look=look_of(label), texts=(classes[label],), mask=mask)
        for (x1, y1, x2, y2), label, mask in zip(found.boxes.tolist(), found.labels.tolist(), masks, strict=True)
    ]
