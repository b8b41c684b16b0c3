"""Batches for training, from lists of samples.

The contents of a batch depend on seed and position alone: the order of a pass over the images is a function of (seed,
pass), and every image is augmented with its own generator, seeded by (seed, pass, index). The number of workers, a
restart, or resuming in the middle of an epoch change nothing. An epoch is one pass, unless the recipe gives it a number
of steps.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from nextvit.errors import InputError, first_line
from nextvit.image.reading import DecodeError, Pixels
from nextvit.machine.cores import usable_cores
from nextvit.views.contact_sheet import Sheet

Key = tuple[int, int]  # number of the pass over the samples, index of the sample
ATTEMPTS = 32
MORE_SHARED_MEMORY = "start the container with more shared memory (--shm-size=1g), or pass --data.workers 0"


class BatchTargets(Protocol):
    """The ground truth of a batch."""

    def part(self, part: slice) -> "BatchTargets":
        """The ground truth of some of the images."""
        ...

    def to(self, device: torch.device) -> "BatchTargets":
        """The same on a device."""
        ...

    def pin_memory(self) -> "BatchTargets":
        """The same in page-locked memory, which a GPU copies faster."""
        ...

    @property
    def canvas(self) -> tuple[int, int] | None:
        """The height and width of the canvas that the images need, where they are padded; None: they are not padded."""
        ...


@dataclass
class Batch:
    """Training images (N, 3, H, W), uint8, channels innermost in memory, with their targets and the indices of their
    samples."""

    images: Tensor
    targets: BatchTargets | None
    """None where the batch failed."""
    indices: list[int]
    unreadable: list[str] = field(default_factory=list)
    """Messages of images that could not be read; other images replace them."""
    failure: str | None = None
    """Why there is no batch. An exception would leave a worker as a traceback instead of a message."""

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader when it feeds a GPU."""
        targets = self.targets.pin_memory() if self.targets else None
        return replace(self, images=self.images.pin_memory(), targets=targets)

    def parts(self, count: int) -> Iterator["Batch"]:
        """Split the batch into `count` parts, the first of which are larger where it does not divide evenly. The canvas
        of a part is only as large as the part needs, as if it were the whole batch of a process."""
        assert self.targets is not None
        for positions in np.array_split(np.arange(len(self.images)), count):
            part = slice(int(positions[0]), int(positions[-1]) + 1)
            targets = self.targets.part(part)
            height, width = targets.canvas or self.images.shape[2:]
            yield Batch(self.images[part, :, :height, :width], targets, self.indices[part])


class TrainingSource(Protocol):
    """Augmented views of training images, with their targets."""

    @property
    def sheet(self) -> Sheet:
        """How a preview of the views is laid out."""
        ...

    @property
    def groups(self) -> NDArray[np.bool_] | None:
        """(N,), the group of each image, where a batch should be of one group; None: batches are mixed."""
        ...

    def __len__(self) -> int: ...

    def view(self, index: int, rng: np.random.Generator) -> tuple[Pixels, Any]:
        """An augmented view (H, W, 3) of an image, and its target.

        Raises:
            DecodeError: the image cannot be read.
        """
        ...

    def collate(self, views: Sequence[Pixels], targets: Sequence[Any]) -> tuple[Tensor, BatchTargets]:
        """Collate views and targets into a batch: images (N, 3, H, W), channels innermost in memory."""
        ...

    def draw(self, images_NHWC: Pixels, targets: Any, classes: tuple[str, ...]) -> Pixels:
        """Images with their targets drawn on them, for a preview: (N, h, w, 3)."""
        ...


def stack_views(views: Sequence[Pixels]) -> Tensor:
    """Stack views of one size into images (N, 3, H, W), channels innermost in memory."""
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)


class TrainingSet(Dataset[Batch]):
    """Augmented views of images, a whole batch at a time."""

    def __init__(self, source: TrainingSource, *, seed: int) -> None:
        self.source, self.seed = source, seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, keys: list[Key]) -> Batch:
        """A whole batch; the DataLoader calls this."""
        unreadable: list[str] = []
        try:
            seen = [self.view(number, index, unreadable) for number, index in keys]
        except InputError as error:
            return Batch(torch.empty(0), None, [], unreadable, failure=str(error))
        views, targets, indices = zip(*seen, strict=True)
        return Batch(*self.source.collate(views, targets), list(indices), unreadable)

    def view(self, number: int, index: int, unreadable: list[str]) -> tuple[Pixels, Any, int]:
        """The view of an image in a pass, its target and its index. Where the image cannot be read, its generator draws
        another image as a replacement."""
        rng = np.random.default_rng((self.seed, number, index))
        for _ in range(ATTEMPTS):
            try:
                return *self.source.view(index, rng), index
            except DecodeError as error:
                unreadable.append(str(error))
            index = int(rng.integers(len(self.source)))
        raise InputError(f"{ATTEMPTS} images in a row cannot be read; the last: {unreadable[-1]}")


class EpochSampler(Sampler[list[Key]]):
    """The shuffled batches of an epoch, as lists of (pass, index). Before each epoch set `epoch`, and `start` to skip
    the first batches.

    An epoch is a pass over the samples, without the last incomplete batch; with `steps` it is that number of batches
    from consecutive passes.

    Args:
        count: number of samples.
        batch_size: over all processes.
        steps: steps in an epoch; 0: one pass.
        weights: (count,), draw samples with replacement in proportion to them; None: each at most once in a pass.
        groups: (count,), take the samples of a batch from one group where there are enough. Wide and high images in one
            batch would need a canvas that is mostly padding.
        part: index of this process's part of each batch, and the number of parts.
    """

    def __init__(
        self,
        count: int,
        *,
        batch_size: int,
        seed: int,
        steps: int = 0,
        weights: NDArray[np.float64] | None = None,
        groups: NDArray[np.bool_] | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.count, self.seed, self.weights, self.groups = count, seed, weights, groups
        self.batch_size = min(batch_size, count)
        self.steps_per_pass = count // self.batch_size
        self.steps = steps or self.steps_per_pass
        self.part = part
        """Index of this process's part of each batch, and the number of parts."""
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Key]]:
        part, parts = self.part
        step, end = (self.epoch * self.steps + at for at in (self.start, self.steps))
        while step < end:
            number, first = divmod(step, self.steps_per_pass)
            order = self.order(number)
            for batch in range(first, min(self.steps_per_pass, first + end - step)):
                whole = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield [(number, int(index)) for index in np.array_split(whole, parts)[part]]
            step += self.steps_per_pass - first

    def order(self, number: int) -> NDArray[np.int64]:
        """The indices of the samples of a pass, in order; passes count from 0."""
        rng = np.random.default_rng((self.seed, number))
        if self.weights is None:
            order = rng.permutation(self.count)
        else:
            cumulative = np.cumsum(self.weights)
            order = np.searchsorted(cumulative, rng.random(self.count) * cumulative[-1], side="right")
        return order if self.groups is None else self.group_batches(order, self.groups, rng)

    def group_batches(
        self, order: NDArray[np.int64], groups: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Sort the samples of this order into batches of one group, and shuffle the batches; at most one batch is
        mixed."""
        used = order[: self.steps_per_pass * self.batch_size]
        batches = used[np.argsort(groups[used], kind="stable")].reshape(self.steps_per_pass, self.batch_size)
        return rng.permutation(batches).ravel()


def combine_seeds(*parts: int) -> int:
    """One 64-bit seed from several numbers; adjacent numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def share_batch(batch: Batch) -> Batch:
    """Collation for a dataset that already returns whole batches: in a worker, move its tensors to shared memory.

    torch would do it in a thread of the worker's queue, where a failure is printed, and the training waits for the
    batch for ever.
    """
    if get_worker_info() is None:
        return batch
    try:
        for tensor in tensors_of(batch):
            tensor.share_memory_()
    except (RuntimeError, OSError) as error:
        failure = f"a batch could not be put into shared memory ({first_line(error)}): {MORE_SHARED_MEMORY}"
        return Batch(torch.empty(0), None, [], batch.unreadable, failure=failure)
    return batch


def tensors_of(batch: Batch) -> list[Tensor]:
    """The tensors of a batch, which go from a worker to the training through shared memory; the rest through a
    pipe."""
    targets = vars(batch.targets).values() if batch.targets else ()
    return [batch.images, *(value for value in targets if isinstance(value, Tensor))]


def describe_worker_failure(error: Exception) -> str | None:
    """What to tell people about an error of torch's that says that a worker process failed; None: it says something
    else.

    torch raises it while the next batch is awaited, or out of a signal handler in the middle of a step.
    """
    lines = str(error).strip().splitlines()
    if not any("DataLoader worker" in line for line in lines[:1]):
        return None
    if "Original Traceback" in str(error):  # the worker lives, and its exception was carried over
        return f"a worker that reads images failed ({lines[-1].strip()}); --data.workers 0 shows where"
    way_out = (
        MORE_SHARED_MEMORY if "Bus error" in lines[0] else "the memory may be short: lower --data.workers (0: none)"
    )
    return f"a worker that reads images died ({lines[0].partition('. ')[0].rstrip('. ')}); {way_out}"


def training_batches(
    dataset: TrainingSet, sampler: EpochSampler, *, workers: int, pin_memory: bool = False
) -> DataLoader[Batch]:
    """A loader that yields the batches of `sampler.epoch`, from worker processes that stay alive between epochs; not
    from more than this process may use cores."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=min(workers, usable_cores()),  # torch warns of more, and they would only wait for each other
        collate_fn=share_batch,  # pyright: ignore[reportArgumentType] (torch thinks of lists of items)
        persistent_workers=workers > 0,
        worker_init_fn=leave_interrupts_to_parent,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # its own, so that starting a pass draws nothing from the global one
    )
    return loader


def leave_interrupts_to_parent(worker: int) -> None:
    """Ignore SIGINT and SIGTERM in a worker. Ctrl-C, and often SIGTERM, reach the whole process group, and a worker
    that died of it would end the training process in the middle of a step. `shut_down` ends the workers, and they end
    by themselves when their parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def shut_down(loader: DataLoader[Batch]) -> None:
    """End the workers of a loader, which do not end on SIGTERM; one that hangs, on a network's disk perhaps, is
    killed, as Python would wait for it."""
    iterator: Any = loader._iterator
    if iterator is not None and loader.num_workers:
        iterator._shutdown_workers()
        for worker in iterator._workers:
            if worker.is_alive():
                worker.kill()
