"""The section that shows where the evidence for answers lies, from RUN/heatmaps.npz."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.files.run_folder import HEATMAPS
from nextvit.report.page import Markup, escape, paragraph, pictures, section

GAP_PX = 4
STRONGEST = 0.65
NOTE = (
    "Bright is where the picture speaks for a class (Grad-CAM; for inputs of 128 px and more it is the class activation "
    "map, which splits the class's logit over the positions). Of a mistake: the picture, the evidence for the answer, "
    "and the evidence for the truth. Of a right answer: the picture and the evidence. One map has {width}x{height} "
    "positions; what lies between them is interpolated."
)

Arrays = dict[str, NDArray[Any]]


def evidence(run: Path) -> Markup | None:
    """A few right and wrong answers with their heatmaps; None where training left none."""
    if not (run / HEATMAPS).is_file():
        return None
    with np.load(run / HEATMAPS, allow_pickle=False) as file:
        kept: Arrays = dict(file)
    height, width = kept["for_guess"].shape[1:]
    shown = [explained(kept, index) for index in range(len(kept["pixels"]))]
    note = paragraph(NOTE.format(width=width, height=height), tone="soft")
    return section("What the answers rest on", pictures(shown, wide=True), note)


def explained(kept: Arrays, index: int) -> tuple[NDArray[np.uint8], Markup]:
    """One answer's pictures side by side, with a caption."""
    pixels, guess, label = (kept[name][index] for name in ("pixels", "guesses", "labels"))
    right = guess == label
    blank = np.full_like(pixels, 255)
    gap = blank[:, :GAP_PX]
    for_guess = overlaid(pixels, kept["for_guess"][index])
    for_label = blank if right else overlaid(pixels, kept["for_label"][index])
    truth = "" if right else f" &nbsp; truth: {escape(label)}"
    tone = "good" if right else "bad"
    caption = f'<span class="{tone}">{escape(guess)}</span> {kept["probabilities"][index]:.0%}{truth}'
    return np.concatenate([pixels, gap, for_guess, gap, for_label], axis=1), Markup(caption)


def overlaid(pixels: NDArray[np.uint8], heat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) under a map (h, w), 0 to 255: the stronger the evidence, the more of the colour is seen."""
    height, width = pixels.shape[:2]
    smooth = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BICUBIC)) / 255
    colours = matplotlib.colormaps["inferno"](smooth)[..., :3] * 255
    share = STRONGEST * smooth[..., None]
    grey = pixels.mean(axis=2, keepdims=True)
    return np.rint((1 - share) * grey + share * colours).astype(np.uint8)
