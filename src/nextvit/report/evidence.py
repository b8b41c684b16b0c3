"""The section with heatmaps of the evidence for predictions, from RUN/heatmaps.npz."""

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.errors import InputError
from nextvit.files.arrays import Arrays, read_arrays, require_arrays
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

MAPS = ("for_guess", "for_label")
MAX_HEATMAPS_BYTES = 2**26
"""Of a dozen thumbnails with their heatmaps, many times over."""


def evidence_section(run: Path) -> Markup | None:
    """A few correct and wrong predictions with their heatmaps; None if the run has no heatmaps."""
    if not (run / HEATMAPS).is_file():
        return None
    arrays = read_heatmaps(run / HEATMAPS)
    height, width = arrays["for_guess"].shape[1:]
    shown = [side_by_side(arrays, index) for index in range(len(arrays["pixels"]))]
    note = paragraph(NOTE.format(width=width, height=height), tone="soft")
    return section("Evidence for predictions", image_grid(shown, wide=True), note)


def read_heatmaps(path: Path) -> Arrays:
    """The arrays of heatmaps.npz, in which every prediction has a row.

    Raises:
        InputError: they are damaged, or do not belong together.
    """
    arrays = read_arrays(path, max_bytes=MAX_HEATMAPS_BYTES)
    count = len(arrays["pixels"]) if arrays.get("pixels", np.array(0)).ndim else None
    per_prediction = {"guesses": ("U", (count,)), "labels": ("U", (count,)), "probabilities": ("f", (count,))}
    bytes_of_images = {"pixels": ("u", (count, None, None, 3)), **dict.fromkeys(MAPS, ("u", (count, None, None)))}
    require_arrays(arrays, {**bytes_of_images, **per_prediction}, what=path)
    for name in ("pixels", *MAPS):
        if arrays[name].dtype != np.uint8 or 0 in arrays[name].shape[1:]:
            raise InputError(f"{path}: damaged ({name} is {arrays[name].dtype} of shape {arrays[name].shape})")
    if arrays["for_guess"].shape != arrays["for_label"].shape:
        raise InputError(f"{path}: damaged (the heatmaps differ in size)")
    return arrays


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
