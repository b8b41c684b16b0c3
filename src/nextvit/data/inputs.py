"""Network inputs for evaluation, from lists of samples: the preprocessing of serving, in threads. Needs no torch."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextvit.data.samples import Sample
from nextvit.preprocess import DecodeError, Encoded, Preprocess


@dataclass(frozen=True)
class EvaluationBatch:
    """Network inputs (N, H, W, 3), uint8, with their samples; what could not be read is named instead."""

    pixels_NHWC: NDArray[np.uint8]
    samples: list[Sample]
    unreadable: list[str]


def evaluation_batches(
    samples: Sequence[Sample], preprocess: Preprocess, *, batch_size: int = 32, threads: int | None = None
) -> Iterator[EvaluationBatch]:
    """Every sample once, in order, through the same preprocessing as serving. Pillow works without Python's lock."""

    def read(sample: Sample) -> NDArray[np.uint8] | str:
        try:
            return preprocess(Encoded(sample.read(), sample.path))
        except DecodeError as error:
            return str(error)

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for start in range(0, len(samples), batch_size):
            chosen = samples[start : start + batch_size]
            results = list(pool.map(read, chosen))
            kept = [
                (sample, pixels) for sample, pixels in zip(chosen, results, strict=True) if not isinstance(pixels, str)
            ]
            unreadable = [result for result in results if isinstance(result, str)]
            if kept or unreadable:
                pixels_NHWC = np.stack([pixels for _, pixels in kept]) if kept else np.empty((0, 1, 1, 3), np.uint8)
                yield EvaluationBatch(pixels_NHWC, [sample for sample, _ in kept], unreadable)
