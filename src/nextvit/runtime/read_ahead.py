"""Images read, decoded and resized in threads, ahead of their use and in order."""

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from nextvit.errors import InputError
from nextvit.image.resizing import Encoded, ImageLike, Prepared, Preprocess

THREAD_NAME = "nextvit-reader"
MOST_WORKERS = 16
"""Unless more are asked for: each holds a whole picture while it resizes it, 36 MB of one from a phone."""


def read_ahead(
    images: Iterable[ImageLike], preprocess: Preprocess, *, workers: int, ahead: int
) -> Generator[Prepared | InputError]:
    """The network's input for each image, in order; what cannot be read is its error instead, which names it.

    Paths and files' bytes are read in threads, which Pillow decodes and resizes in without Python's lock. Pillow images
    and arrays are resized in the caller's thread, as soon as they are taken: they are the caller's, who may share
    them or write the next frame into them.

    Args:
        images: taken one after another in the caller's thread, never more than `ahead` + 1 of them before their turn.
        workers: threads; 0: the caller's, where each image is read in its turn.
        ahead: how many images may be read, or be waiting to be, before their turn.
    """

    def read(image: ImageLike) -> Prepared | InputError:
        try:
            return preprocess.prepare(image)
        except InputError as error:
            return error

    if workers == 0:
        yield from map(read, images)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix=THREAD_NAME)
    waiting: deque[Future[Prepared | InputError] | Prepared | InputError] = deque()
    try:
        for image in images:
            waiting.append(pool.submit(read, image) if isinstance(image, str | Path | Encoded) else read(image))
            if len(waiting) > ahead:
                yield result_of(waiting.popleft())
        while waiting:
            yield result_of(waiting.popleft())
    finally:
        # Also when the caller stops early or is interrupted: threads end with the image that they are at.
        pool.shutdown(cancel_futures=True)


def result_of(read: Future[Prepared | InputError] | Prepared | InputError) -> Prepared | InputError:
    return read.result() if isinstance(read, Future) else read


def default_workers() -> int:
    """One for each core, also where the graph takes all of them: readers that are far enough ahead wait, so they never
    take more than their share of the work."""
    return min(MOST_WORKERS, usable_cores())


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
