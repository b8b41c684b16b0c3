"""RUN/heatmaps.npz: for a few right and wrong answers, where in the picture the evidence lies."""

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
PICTURE_PX = 160


def write_heatmaps(run: Path, model: Classifier, card: ModelCard, evaluation: Evaluation) -> None:
    """Explain the most confident mistakes and the first right answers of an exam, as arrays for the report.

    The file holds what the network saw, `pixels` (N, H, W, 3) uint8, scaled down to at most 160 px; the texts `labels`
    and `guesses` and the `probabilities` of the guesses (N,); and the maps `for_guess` and `for_label` (N, h, w) uint8,
    255 where the evidence for that class is strongest. An exam without single answers leaves no file.
    """
    right = [answer for answer in evaluation.details.get("examples", []) if answer["guess"] == answer["label"]]
    answers = [*evaluation.details.get("mistakes", [])[:MOST_SHOWN], *right[:MOST_SHOWN]]
    readable = [(answer, pixels) for answer in answers if (pixels := read_pixels(answer["path"], card)) is not None]
    if not readable:
        return
    device = next(model.parameters()).device
    pixels_NHWC = np.stack([pixels for _, pixels in readable])
    images_NCHW = normalise(torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).to(device), card.input)

    def maps_for(name: str) -> np.ndarray[Any, Any]:
        classes = torch.tensor([card.classes.index(answer[name]) for answer, _ in readable], device=device)
        maps_NHW = grad_cam(model, images_NCHW, classes, stage=choose_stage(card.input.image_size))
        return (255 * maps_NHW).round().byte().cpu().numpy()

    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        pixels=np.stack([shrink(pixels) for pixels in pixels_NHWC]),
        for_guess=maps_for("guess"),
        for_label=maps_for("label"),
        guesses=np.array([answer["guess"] for answer, _ in readable]),
        labels=np.array([answer["label"] for answer, _ in readable]),
        probabilities=np.array([answer["probability"] for answer, _ in readable]),
    )
    write_durably(run / HEATMAPS, buffer.getvalue())


def read_pixels(path: str, card: ModelCard) -> Pixels | None:
    """The network's input from a file; None where it is gone, or lies in an archive."""
    try:
        return card.input(path)
    except DecodeError:
        return None


def shrink(pixels: Pixels) -> Pixels:
    """The picture (H, W, 3) with its longer side at most `PICTURE_PX`."""
    image = Image.fromarray(pixels)
    image.thumbnail((PICTURE_PX, PICTURE_PX))
    return np.array(image)
