"""Network inputs for evaluation, with the same preprocessing as serving, in threads. Needs no torch."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from nextvit.data.samples import Sample
from nextvit.image.canvas import group_by_canvas
from nextvit.image.reading import DecodeError, Encoded
from nextvit.image.resizing import Prepared, Preprocess
from nextvit.machine.cores import usable_cores


@dataclass(frozen=True)
class EvaluationBatch:
    """Preprocessed images with their samples, and messages about images that could not be read."""

    images: list[Prepared]
    samples: list[Sample]
    unreadable: list[str]
    preprocess: Preprocess

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """The graph's inputs, for a batch with at least one image."""
        return self.preprocess.network_inputs([each.pixels for each in self.images])


def evaluation_batches(
    samples: Sequence[Sample],
    preprocess: Preprocess,
    *,
    batch_size: int = 32,
    own_canvas: bool = False,
    threads: int | None = None,
) -> Iterator[EvaluationBatch]:
    """Yield every sample once, in order, with the same preprocessing as serving. Threads read the next batch while the
    network runs on one, because Pillow works without Python's lock.

    Args:
        own_canvas: put only consecutive images whose own canvas has the same size into one batch.
        threads: number of reading threads; None: one for each core that this process may use.
    """

    def read(sample: Sample) -> Prepared | str:
        try:
            return preprocess.prepare(Encoded(sample.read(), sample.path))
        except DecodeError as error:
            return str(error)

    pool = ThreadPoolExecutor(threads or usable_cores())
    pending: deque[tuple[Sequence[Sample], Iterator[Prepared | str]]] = deque()
    try:
        for start in range(0, len(samples) + batch_size, batch_size):
            if chosen := samples[start : start + batch_size]:
                pending.append((chosen, pool.map(read, chosen)))
            if start and pending:
                batch = collect_batch(*pending.popleft(), preprocess)
                yield from split_by_canvas(batch) if own_canvas else (batch,)
    finally:
        # Also where an interrupt ends the evaluation: a thread that hangs on a network's disk is not waited for.
        pool.shutdown(wait=False, cancel_futures=True)


def collect_batch(
    samples: Sequence[Sample], results: Iterator[Prepared | str], preprocess: Preprocess
) -> EvaluationBatch:
    """Wait for the results of all samples, and make a batch of them; a result that is a text says why an image could
    not be read."""
    read = list(zip(samples, results, strict=True))
    return EvaluationBatch(
        [result for _, result in read if isinstance(result, Prepared)],
        [sample for sample, result in read if isinstance(result, Prepared)],
        [result for _, result in read if isinstance(result, str)],
        preprocess,
    )


def split_by_canvas(batch: EvaluationBatch) -> Iterator[EvaluationBatch]:
    """Split a batch into batches with canvases of one size; messages about unreadable images go with the first."""
    samples, unreadable = iter(batch.samples), batch.unreadable
    for images in group_by_canvas(batch.images) if batch.images else ((),):
        yield EvaluationBatch(list(images), list(islice(samples, len(images))), unreadable, batch.preprocess)
        unreadable = []
