"""From a file to its answer, one image after another, and where that time goes."""

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
"""The file's bytes (from the system's cache, mostly), upright RGB pixels, the input's size, the graph, the answer; of a
detector the last holds laying the picture into its frame, and pasting the masks into it."""


class TimedSession:
    """A session that remembers how many seconds it ran."""

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
    """What a user waits for: {"p50_ms", "images", "shares"}, the shares of the whole time by `STAGES`.

    Args:
        files: images, taken in turn until there are enough, each by itself in the caller's thread.
        images: how many are timed.
        warm_up: how many go before, which do not count.

    Raises:
        DecodeError: a file cannot be read.
        InputError: there are no files.
    """
    if not files or images < 1:
        raise InputError("end to end needs image files, and at least 1 to be timed")
    endless = cycle(files)
    for file in islice(endless, warm_up):
        predict_in_stages(predictor, file)
    seconds = np.array([predict_in_stages(predictor, file)[1] for file in islice(endless, images)])
    shares = seconds.sum(axis=0) / seconds.sum()
    return {
        "p50_ms": round(1000 * float(np.median(seconds.sum(axis=1))), 4),
        "images": images,
        "shares": {name: round(float(share), 4) for name, share in zip(STAGES, shares, strict=True)},
    }


def predict_in_stages(predictor: Predictor, file: Path) -> tuple[Prediction, list[float]]:
    """The predictor's answer for one file, and the seconds of each of `STAGES`."""
    session = TimedSession(predictor.session)
    started = time.perf_counter()
    content = file.read_bytes()
    read = time.perf_counter()
    image = read_image(Encoded(content, file))
    decoded = time.perf_counter()
    pixels = resize_image(image, predictor.card.input)
    resized = time.perf_counter()
    [answer] = Predictor(session, predictor.card).answer_prepared([Prepared(pixels, (image.height, image.width))])
    whole = time.perf_counter() - resized
    return answer, [read - started, decoded - read, resized - decoded, session.seconds, whole - session.seconds]
