"""Whether the batches that worker processes send fit into shared memory, which containers keep small."""

import os
from itertools import islice
from pathlib import Path
from typing import cast

from nextvit.errors import InputError
from nextvit.train.state import Training
from nextvit.views.training_batches import TrainingSet, tensors_of

SHARED_MEMORY = Path("/dev/shm")
MEASURED_IMAGES = 8


def check_shared_memory(training: Training) -> None:
    """Refuse a training whose batches would fill the shared memory of this machine.

    Docker gives a container 64 MiB unless it is asked for more. The size of a batch is that of the first few views of
    the training, which are made here once more than needed.

    Raises:
        InputError: fewer bytes are free than the workers' batches need.
    """
    loader = training.batches
    if not loader.num_workers or not SHARED_MEMORY.is_dir():
        return
    batch_bytes = measure_batch(training)
    # Each worker may be so many batches ahead, and one is in use.
    count = min(loader.num_workers * (loader.prefetch_factor or 0) + 1, len(training.sampler))
    processes = training.world.local_size
    needed, free = batch_bytes * count * processes, free_bytes(SHARED_MEMORY)
    if needed > free:
        together = f" in each of {processes} processes" if processes > 1 else ""
        raise InputError(
            f"{SHARED_MEMORY} has {mib(free)} free, and {loader.num_workers} data.workers{together} need {mib(needed)} "
            f"of it for {count} batches of {mib(batch_bytes)}: start the container with "
            f"--shm-size={-(-2 * needed // 2**30)}g, or pass --data.workers 0"
        )


def measure_batch(training: Training) -> int:
    """About how many bytes of shared memory a batch of this process takes; 0 where its images cannot be read."""
    dataset = cast(TrainingSet, training.batches.dataset)
    keys = list(islice((key for batch in training.sampler for key in batch), MEASURED_IMAGES))
    few = dataset.__getitems__(keys)
    images = -(-training.images_per_step // training.world.size)
    return sum(tensor.nbytes for tensor in tensors_of(few)) * images // len(keys)


def free_bytes(folder: Path) -> int:
    """What may still be written into a file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def mib(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 2**20:.1f} MiB"
