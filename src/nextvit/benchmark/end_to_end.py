"""Latency from an image file to its prediction, one image after another, and its parts."""

import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.errors import InputError
from nextvit.image.reading import Encoded, read_image
from nextvit.image.resizing import Prepared, resize_image
from nextvit.predictions.results import Prediction
from nextvit.runtime.predictor import Predictor
from nextvit.runtime.session import Session

STAGES = ("read", "decode", "resize", "infer", "answer")
"""The file's bytes (mostly from the system's cache), upright RGB pixels, resizing to the input's size, the graph, and
the prediction; for a detector the last includes padding the image and pasting the masks into it."""


class TimedSession:
    """A session that sums up the seconds of its runs."""

    def __init__(self, session: Session) -> None:
        self.session, self.seconds = session, 0.0

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        started = time.perf_counter()
        outputs = self.session.run(inputs)
        self.seconds += time.perf_counter() - started
        return outputs

    def facts(self) -> dict[str, Any]:
        return self.session.facts()


def measure_end_to_end(
    predictor: Predictor, files: Sequence[Path], *, images: int = 100, warm_up: int = 10
) -> dict[str, Any]:
    """Measure the latency from file to prediction.

    Args:
        files: images, repeated in order until there are enough, each processed alone in the caller's thread.
        images: number of timed images.
        warm_up: number of images before, which are not timed.

    Returns:
        {"p50_ms", "images", "shares"}; the shares are fractions of the total time by `STAGES`.

    Raises:
        DecodeError: a file cannot be read.
        InputError: there are no files.
    """
    if not files or images < 1:
        raise InputError("end to end needs image files, and at least 1 to be timed")
    repeated = cycle(files)
    for file in islice(repeated, warm_up):
        predict_in_stages(predictor, file)
    seconds = np.array([predict_in_stages(predictor, file)[1] for file in islice(repeated, images)])
    shares = seconds.sum(axis=0) / seconds.sum()
    return {
        "p50_ms": round(1000 * float(np.median(seconds.sum(axis=1))), 4),
        "images": images,
        "shares": {name: round(float(share), 4) for name, share in zip(STAGES, shares, strict=True)},
    }


def predict_in_stages(predictor: Predictor, file: Path) -> tuple[Prediction, list[float]]:
    """The predictor's prediction for one file, and the seconds of each of `STAGES`."""
    session = TimedSession(predictor.session)
    started = time.perf_counter()
    content = file.read_bytes()
    read = time.perf_counter()
    image = read_image(Encoded(content, file))
    decoded = time.perf_counter()
    pixels = resize_image(image, predictor.card.input)
    resized = time.perf_counter()
    [prediction] = Predictor(session, predictor.card).predict_prepared([Prepared(pixels, (image.height, image.width))])
    predicted = time.perf_counter() - resized
    return prediction, [read - started, decoded - read, resized - decoded, session.seconds, predicted - session.seconds]
