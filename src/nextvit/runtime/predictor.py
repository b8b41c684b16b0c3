"""A predictor turns images into answers and knows nothing of the backend."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.bundle import INPUT_NAME, read_bundle
from nextvit.card import ModelCard
from nextvit.errors import InputError
from nextvit.postprocess import TO_ANSWERS
from nextvit.preprocess import ImageLike
from nextvit.results import Answer
from nextvit.runtime.session import Session, open_session


class Predictor:
    """A loaded model: `predictor(["a.jpg", array])` gives one answer for each image."""

    def __init__(self, session: Session, card: ModelCard) -> None:
        self.session, self.card = session, card

    def __call__(self, images: Sequence[ImageLike], *, batch_size: int = 16) -> list[Answer]:
        """Answers for paths, Pillow images or uint8 arrays (H, W, 3) in RGB.

        Raises:
            DecodeError: an image cannot be read; the message names it.
            InputError: `images` is a single image, or holds something else than images.
        """
        if isinstance(images, str | Path | Image.Image | np.ndarray):
            raise InputError("pass a list of images, such as [image]")
        answers: list[Answer] = []
        for start in range(0, len(images), batch_size):
            pixels = np.stack([self.card.input(image) for image in images[start : start + batch_size]])
            answers += self.answer(pixels)
        return answers

    def answer(self, pixels_NHWC: NDArray[np.uint8]) -> list[Answer]:
        """Answers for images that are already at the input's size."""
        logits = self.session.run({INPUT_NAME: pixels_NHWC})["logits"]
        return list(TO_ANSWERS[self.card.task](logits, self.card))


def load_bundle(path: str | Path, *, threads: int | None = None, device: str | None = None) -> Predictor:
    """A predictor for a bundle, whose files are checked against their checksums first; for `threads` and `device` see
    `open_session`."""
    manifest = read_bundle(Path(path))
    return Predictor(open_session(Path(path), manifest, threads=threads, device=device), manifest.card)
