"""The section with heatmaps of the evidence for predictions, from RUN/heatmaps.npz."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.files.run_folder import HEATMAPS
from nextvit.report.page import Markup, escape, image_grid, paragraph, section

GAP_PX = 4
MAX_ALPHA = 0.65
NOTE = (
    "Bright regions are evidence for a class (Grad-CAM; for inputs of 128 px and more it is the class activation map, "
    "which splits the class's logit over the positions). For a mistake: the image, the evidence for the predicted "
    "class, and the evidence for the true class. For a correct prediction: the image and the evidence. A map has "
    "{width}x{height} positions; values between them are interpolated."
)

Arrays = dict[str, NDArray[Any]]


def evidence_section(run: Path) -> Markup | None:
    """A few correct and wrong predictions with their heatmaps; None if the run has no heatmaps."""
    if not (run / HEATMAPS).is_file():
        return None
    with np.load(run / HEATMAPS, allow_pickle=False) as file:
        arrays: Arrays = dict(file)
    height, width = arrays["for_guess"].shape[1:]
    shown = [side_by_side(arrays, index) for index in range(len(arrays["pixels"]))]
    note = paragraph(NOTE.format(width=width, height=height), tone="soft")
    return section("Evidence for predictions", image_grid(shown, wide=True), note)


def side_by_side(arrays: Arrays, index: int) -> tuple[NDArray[np.uint8], Markup]:
    """The image and the heatmaps of one prediction side by side, with a caption."""
    pixels, guess, label = (arrays[name][index] for name in ("pixels", "guesses", "labels"))
    is_correct = guess == label
    blank = np.full_like(pixels, 255)
    gap = blank[:, :GAP_PX]
    for_guess = overlay_heatmap(pixels, arrays["for_guess"][index])
    for_label = blank if is_correct else overlay_heatmap(pixels, arrays["for_label"][index])
    truth = "" if is_correct else f" &nbsp; truth: {escape(label)}"
    tone = "good" if is_correct else "bad"
    caption = f'<span class="{tone}">{escape(guess)}</span> {arrays["probabilities"][index]:.0%}{truth}'
    return np.concatenate([pixels, gap, for_guess, gap, for_label], axis=1), Markup(caption)


def overlay_heatmap(pixels: NDArray[np.uint8], heat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 3) in grey under a heatmap (h, w), 0 to 255: the stronger the evidence, the more opaque the
    colour."""
    height, width = pixels.shape[:2]
    smooth = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BICUBIC)) / 255
    colours = matplotlib.colormaps["inferno"](smooth)[..., :3] * 255
    alpha = MAX_ALPHA * smooth[..., None]
    grey = pixels.mean(axis=2, keepdims=True)
    return np.rint((1 - alpha) * grey + alpha * colours).astype(np.uint8)
