"""Images -> the network's inputs, read, decoded and resized in threads ahead of their use, in order."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from nextvit.errors import InputError
from nextvit.image.reading import Encoded, ImageLike
from nextvit.image.resizing import Prepared, Preprocess
from nextvit.machine.cores import usable_cores

THREAD_NAME = "nextvit-reader"
MAX_WORKERS = 16
"""Default limit: each thread holds a whole image while it resizes it, 36 MB for a photo from a phone."""


def prepare_ahead(
    images: Iterable[ImageLike], preprocess: Preprocess, *, workers: int, ahead: int
) -> Generator[Prepared | InputError]:
    """Read and resize images in threads, and yield the network's input for each, in order.

    Paths and encoded files are read in threads, where Pillow decodes and resizes without holding Python's global lock.
    Pillow images and arrays are resized in the caller's thread as soon as they are taken: the caller owns them, and may
    share them or write the next video frame into them.

    Args:
        images: iterated over in the caller's thread, at most `ahead` + 1 images early.
        workers: number of threads; 0: the caller's thread reads each image when it is needed.
        ahead: number of images that may be read, or queued to be read, before they are needed.

    Yields:
        The prepared image, or the InputError that names an image that cannot be read.
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
                yield wait_for(waiting.popleft())
        while waiting:
            yield wait_for(waiting.popleft())
    finally:
        # Also when the caller stops early or is interrupted: each thread ends after its current image.
        pool.shutdown(cancel_futures=True)


def wait_for(read: Future[Prepared | InputError] | Prepared | InputError) -> Prepared | InputError:
    return read.result() if isinstance(read, Future) else read


def default_workers() -> int:
    """One reader per usable core, even if the runtime uses all cores: readers that are far enough ahead wait."""
    return min(MAX_WORKERS, usable_cores())
