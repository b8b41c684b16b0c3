"""RUN/heatmaps.npz: Grad-CAM heatmaps for a few right and wrong predictions."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.files.durable import write_durably
from nextvit.files.run_folder import HEATMAPS
from nextvit.image.reading import DecodeError, Pixels
from nextvit.models.classification import Classifier
from nextvit.models.deployed import normalise
from nextvit.models.heatmap import choose_stage, grad_cam
from nextvit.tasks.task import Evaluation

MOST_SHOWN = 6
THUMBNAIL_PX = 160


def write_heatmaps(run: Path, model: Classifier, card: ModelCard, evaluation: Evaluation) -> None:
    """Write heatmaps for the most confident mistakes and the first right predictions of an evaluation.

    The file contains the network's inputs `pixels` (N, H, W, 3) uint8, shrunk to at most `THUMBNAIL_PX`; the texts
    `labels` and `guesses` and the `probabilities` of the guesses (N,); and the maps `for_guess` and `for_label` (N, h,
    w) uint8, 255 where the evidence for that class is strongest. Without examples or mistakes no file is written.
    """
    right = [example for example in evaluation.details.get("examples", []) if example["guess"] == example["label"]]
    examples = [*evaluation.details.get("mistakes", [])[:MOST_SHOWN], *right[:MOST_SHOWN]]
    readable = [(example, pixels) for example in examples if (pixels := read_pixels(example["path"], card)) is not None]
    if not readable:
        return
    device = next(model.parameters()).device
    pixels_NHWC = np.stack([pixels for _, pixels in readable])
    images_NCHW = normalise(torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).to(device), card.input)

    def maps_for(name: str) -> np.ndarray[Any, Any]:
        classes = torch.tensor([card.classes.index(example[name]) for example, _ in readable], device=device)
        maps_NHW = grad_cam(model, images_NCHW, classes, stage=choose_stage(card.input.image_size))
        return (255 * maps_NHW).round().byte().cpu().numpy()

    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        pixels=np.stack([shrink(pixels) for pixels in pixels_NHWC]),
        for_guess=maps_for("guess"),
        for_label=maps_for("label"),
        guesses=np.array([example["guess"] for example, _ in readable]),
        labels=np.array([example["label"] for example, _ in readable]),
        probabilities=np.array([example["probability"] for example, _ in readable]),
    )
    write_durably(run / HEATMAPS, buffer.getvalue())


def read_pixels(path: str, card: ModelCard) -> Pixels | None:
    """The network's input from a file; None where it cannot be read any more."""
    try:
        return card.input(path)
    except DecodeError:
        return None


def shrink(pixels: Pixels) -> Pixels:
    """The image (H, W, 3) with its longer side at most `THUMBNAIL_PX`."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return np.array(image)
