"""Network inputs for evaluation, from lists of samples: the preprocessing of serving, in threads. Needs no torch."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from nextvit.data.samples import Sample
from nextvit.preprocess import DecodeError, Encoded, Prepared, Preprocess


@dataclass(frozen=True)
class EvaluationBatch:
    """Images as the network takes them, with their samples; what could not be read is named instead."""

    images: list[Prepared]
    samples: list[Sample]
    unreadable: list[str]
    preprocess: Preprocess

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """The graph's inputs, of a batch that has images."""
        return self.preprocess.network_inputs([each.pixels for each in self.images])


def evaluation_batches(
    samples: Sequence[Sample], preprocess: Preprocess, *, batch_size: int = 32, threads: int | None = None
) -> Iterator[EvaluationBatch]:
    """Every sample once, in order, through the same preprocessing as serving. Pillow works without Python's lock."""

    def read(sample: Sample) -> Prepared | str:
        try:
            return preprocess.prepare(Encoded(sample.read(), sample.path))
        except DecodeError as error:
            return str(error)

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for start in range(0, len(samples), batch_size):
            chosen = samples[start : start + batch_size]
            results = list(pool.map(read, chosen))
            kept = [(sample, read) for sample, read in zip(chosen, results, strict=True) if isinstance(read, Prepared)]
            unreadable = [result for result in results if isinstance(result, str)]
            yield EvaluationBatch([read for _, read in kept], [sample for sample, _ in kept], unreadable, preprocess)
