"""A segmentation model run on tiles of an image at its full resolution, or at several scales and mirrored."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import MAX_SIDE_PX
from nextvit.bundle.sided_classes import find_sides, list_alone
from nextvit.errors import InputError
from nextvit.image.canvas import STRIDE_PX
from nextvit.image.reading import Pixels, Size
from nextvit.image.resizing import INPUT_NAME
from nextvit.predictions.kind import kind_of, output_names
from nextvit.predictions.multi_scale import average_views, scale_preprocess
from nextvit.predictions.segmentation import with_scores
from nextvit.predictions.tiling import Windows, blend_rows
from nextvit.runtime.session import Arrays, Session

Floats = NDArray[np.floating[Any]]

MAX_SCALE = 4.0
"""Sixteen times the pixels; a larger scale costs memory and adds nothing."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """On which tiles or scales of an image a segmentation model is run.

    Raises:
        InputError: a value is out of range, or tiles are combined with scales or flips.
    """

    window_px: int | None = None
    """Side of the tiles in pixels of the original image, a multiple of 32; None: the whole image."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes of the whole image, relative to the model's usual input size."""
    flip: bool = False
    """Whether to run each scale mirrored, too."""

    def __post_init__(self) -> None:
        side = self.window_px
        if side is not None and (side % STRIDE_PX or not STRIDE_PX <= side <= MAX_SIDE_PX):
            raise InputError(
                f"the side of a window is a multiple of {STRIDE_PX} px from {STRIDE_PX} to {MAX_SIDE_PX}, got {side}"
            )
        if not self.scales or not all(0 < scale <= MAX_SCALE for scale in self.scales):
            raise InputError(f"scales are one or more numbers above 0, at most {MAX_SCALE:g}, got {list(self.scales)}")
        if side is not None and (self.scales != (1.0,) or self.flip):
            raise InputError("windows are in the image's own pixels; use them without scales and flips")


class TiledSession:
    """From one image (1, H, W, 3) of any size to the class (1, H, W) of each of its pixels.

    Args:
        session: of a model whose outputs are classes and logits.
        card: the model's own.
        scores: give `logits`, too, float32 (1, C, H, W), at the image's full size.
    """

    def __init__(self, session: Session, card: ModelCard, tiling: Tiling, *, scores: bool = False) -> None:
        self.session, self.card, self.tiling, self.scores = session, card, tiling, scores

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        [pixels_HWC] = inputs[INPUT_NAME]
        size = pixels_HWC.shape[:2]
        classes_HW = np.empty(size, np.uint8)
        logits_CHW = np.empty((len(self.card.classes), *size), np.float32) if self.scores else None
        row = 0
        for scores_CrW in self.rows(pixels_HWC):
            below = row + scores_CrW.shape[1]
            classes_HW[row:below] = scores_CrW.argmax(axis=0)
            if logits_CHW is not None:
                logits_CHW[:, row:below] = scores_CrW
            row = below
        found = {"classes": classes_HW[None]}
        return found if logits_CHW is None else {**found, "logits": logits_CHW[None]}

    def rows(self, pixels_HWC: Pixels) -> Iterator[Floats]:
        """Yield the scores (C, some rows, W) of the image's pixels, from the top."""
        if (side := self.tiling.window_px) is not None:
            return blend_rows(pixels_HWC, self.logits, Windows(size=(side, side)))
        bands = average_views(
            Image.fromarray(pixels_HWC),
            lambda pixels: self.logits(pixels[None])[0],
            self.card.input,
            scales=self.tiling.scales,
            flip=self.tiling.flip,
            exchanged=find_sides(self.card.classes).exchanged(len(self.card.classes)),
        )
        # The logarithm of a probability serves as a logit; that of 0 would be infinite.
        return (np.log(np.maximum(band_CrW, np.finfo(np.float32).tiny)) for band_CrW in bands)

    def logits(self, pixels_NHWC: Pixels) -> Floats:
        """The logits (N, C, H / 4, W / 4) of the network's input; of the whole canvas where the input is padded.

        Raises:
            InputError: they are NaN or infinite, or of another number of classes than the card's.
        """
        outputs = self.session.run(self.card.input.network_inputs(list(pixels_NHWC)))
        logits_NCHW = outputs["logits"]
        if logits_NCHW.ndim != 4 or logits_NCHW.shape[1] != len(self.card.classes):
            raise InputError(
                f"the model puts out logits {logits_NCHW.shape}; its card has {len(self.card.classes)} classes"
            )
        if not np.isfinite(logits_NCHW).all():
            raise InputError("the model puts out NaN or infinity; it diverged: train again with a lower --optim.lr")
        return logits_NCHW

    def facts(self) -> dict[str, Any]:
        return {**self.session.facts(), "views": asdict(self.tiling)}  # the key that records have


def check_tiling(tiling: Tiling, card: ModelCard, *, what: Path, card_of: Callable[[Size], ModelCard]) -> None:
    """Raise InputError where a model cannot be run with this tiling.

    Args:
        what: names the model in messages.
        card_of: gives the model's card at another input size; raises InputError where the model does not take it.
    """
    if not kind_of(card).can_be_tiled:
        raise InputError(f"{what}: windows, scales and flips are for segmentation, this is a model for {card.task}")
    if "logits" not in output_names(card):
        raise InputError(
            f"{what}: puts out classes alone, and windows, scales and flips need their scores; export it again with "
            "--scores"
        )
    sides = find_sides(card.classes)
    if tiling.flip and sides.alone:
        raise InputError(
            f"{what}: a mirror image shows no class of the model where it has {list_alone(sides, card.classes)}, "
            "classes with a side but no counterpart; leave out --flip"
        )
    if card.input.padded:
        return
    side = tiling.window_px
    for size in [(side, side)] if side else [scale_preprocess(card.input, scale).image_size for scale in tiling.scales]:
        card_of(size)


def tiled_card(card: ModelCard, tiling: Tiling, *, scores: bool) -> ModelCard:
    """The card of a model with tiling: its input is an image of any size, not resized."""
    return with_scores(replace(card, input=replace(card.input, resize="original")), scores)
