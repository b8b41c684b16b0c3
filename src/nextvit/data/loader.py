"""Batches for training, from lists of samples.

What a batch holds depends on seed, epoch and position alone: the order is a function of (seed, epoch) and every picture
is augmented with a generator of its own, seeded by (seed, epoch, index). The number of workers, a restart, or a resume
in the middle of an epoch change nothing.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nextvit.data.samples import Sample
from nextvit.data.view import View
from nextvit.errors import InputError
from nextvit.preprocess import DecodeError

Key = tuple[int, int]  # epoch, index of the sample
ATTEMPTS = 32


@dataclass
class Batch:
    """Training images (N, 3, H, W), uint8, channels innermost in memory, and the indices of their samples."""

    images: Tensor
    indices: list[int]
    unreadable: list[str] = field(default_factory=list)
    """Messages of pictures that could not be read; others stand in their places."""
    failure: str | None = None
    """Why there is no batch; an exception would come out of a worker as a traceback."""

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader when it feeds a GPU."""
        return Batch(self.images.pin_memory(), self.indices, self.unreadable, self.failure)


class TrainingSet(Dataset[Batch]):
    """Augmented views of samples, a whole batch at a time."""

    def __init__(self, samples: Sequence[Sample], view: View, *, seed: int) -> None:
        self.samples, self.view, self.seed = samples, view, seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, keys: list[Key]) -> Batch:
        """The DataLoader's way to ask for a batch at once."""
        unreadable: list[str] = []
        try:
            views, indices = zip(*(self.one(epoch, index, unreadable) for epoch, index in keys), strict=True)
        except InputError as error:
            return Batch(torch.empty(0), [], unreadable, failure=str(error))
        return Batch(torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), list(indices), unreadable)

    def one(self, epoch: int, index: int, unreadable: list[str]) -> tuple[NDArray[np.uint8], int]:
        """The view (H, W, 3) of a sample, or, where it cannot be read, of another drawn by its generator; and whose it is."""
        rng = np.random.default_rng((self.seed, epoch, index))
        for _ in range(ATTEMPTS):
            sample = self.samples[index]
            try:
                return self.view(sample.read(), name=sample.path, rng=rng), index
            except DecodeError as error:
                unreadable.append(str(error))
            index = int(rng.integers(len(self.samples)))
        raise InputError(f"{ATTEMPTS} images in a row cannot be read; the last: {unreadable[-1]}")


class EpochSampler(Sampler[list[Key]]):
    """Shuffled batches of (epoch, index). Set `epoch`, and `start` to pass over the first batches, before each pass.

    The last incomplete batch is left out. With `weights` (count,), samples are drawn with replacement in proportion to
    them; without, each comes at most once.
    """

    def __init__(
        self,
        count: int,
        *,
        batch_size: int,
        seed: int,
        weights: NDArray[np.float64] | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.count, self.seed, self.weights = count, seed, weights
        self.batch_size = min(batch_size, count)
        self.part = part
        """Which part of each batch, of how many: a process's own."""
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        order, (part, parts) = self.order(), self.part
        for batch in range(self.start, len(self)):
            whole = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, int(index)) for index in np.array_split(whole, parts)[part]]

    def order(self) -> NDArray[np.int64]:
        """The indices of this epoch's samples, one after the other."""
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.weights is None:
            return rng.permutation(self.count)
        shares = np.cumsum(self.weights)
        return np.searchsorted(shares, rng.random(self.count) * shares[-1], side="right")


def balancing_weights(labels: NDArray[np.int32], num_classes: int) -> NDArray[np.float64]:
    """For each sample the weight by which classes are drawn in proportion to the square root of their size.

    Halfway between the data as it is and classes of equal weight, of which the small ones would be learnt by heart
    (Mahajan et al., arXiv:1805.00932, section 2.2).
    """
    counts = np.bincount(labels, minlength=num_classes)
    return (1 / np.sqrt(np.maximum(1, counts)))[labels]


def mixed_seed(*parts: int) -> int:
    """One 64-bit seed from several numbers, far apart for neighbours."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def as_it_is(batch: Batch) -> Batch:
    """The collation of batches that are made whole."""
    return batch


def training_batches(
    dataset: TrainingSet, sampler: EpochSampler, *, workers: int, pin_memory: bool = False
) -> DataLoader[Batch]:
    """A loader that gives the batches of `sampler.epoch` on each pass, from processes that stay alive between them."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=as_it_is,  # pyright: ignore[reportArgumentType] (torch thinks of lists of items)
        persistent_workers=workers > 0,
        worker_init_fn=leave_interrupts_to_parent,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # its own, so that starting a pass draws nothing from the global one
    )
    return loader


def leave_interrupts_to_parent(worker: int) -> None:
    """Ctrl-C, and often SIGTERM, reach the whole process group. A worker that died of it would take the training process
    along in the middle of a step; `shut_down` ends the workers, and they end by themselves when their parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def shut_down(loader: DataLoader[Batch]) -> None:
    """End the workers of a loader, which do not end on SIGTERM."""
    iterator: Any = loader._iterator
    if iterator is not None and loader.num_workers:
        iterator._shutdown_workers()
