"""Batches for training, from lists of samples.

What a batch holds depends on seed, epoch and position alone: the shuffling is a function of (seed, epoch) and
every picture is augmented with a generator of its own, seeded by (seed, epoch, index). The number of workers, a
restart, or a resume after any epoch change nothing.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nextvit.data.augment import Augment
from nextvit.data.samples import Sample
from nextvit.data.view import build_view
from nextvit.preprocess import DecodeError, Pixels

Key = tuple[int, int]  # epoch, index of the sample


@dataclass
class Batch:
    """Training images (N, 3, H, W), uint8, with their labels (N,); what could not be read is named instead."""

    images: Tensor
    labels: Tensor
    unreadable: list[str] = field(default_factory=list)

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader when it feeds a GPU."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.unreadable)


class TrainingSet(Dataset[tuple[Pixels, int] | str]):
    """Augmented views: (pixels (H, W, 3), label), or the message of an image that cannot be read."""

    def __init__(self, samples: Sequence[Sample], augment: Augment, *, image_size: tuple[int, int], seed: int) -> None:
        self.samples, self.seed = samples, seed
        self.view = build_view(augment, image_size=image_size)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> tuple[Pixels, int] | str:
        epoch, index = key
        sample = self.samples[index]
        try:
            rng = np.random.default_rng((self.seed, epoch, index))
            return self.view(sample.read(), name=sample.path, rng=rng), sample.label
        except DecodeError as error:
            return str(error)


class EpochSampler(Sampler[list[Key]]):
    """Shuffled batches of (epoch, index); set `epoch` before each pass. The last incomplete batch is left out."""

    def __init__(self, count: int, *, batch_size: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.batch_size = min(batch_size, count)
        self.epoch = 0

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch, self.count))
        order = torch.randperm(self.count, generator=generator).tolist()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield [(self.epoch, index) for index in order[start : start + self.batch_size]]


def mixed_seed(*parts: int) -> int:
    """One 64-bit seed from several numbers, far apart for neighbours."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def collate(items: list[tuple[Pixels, int] | str]) -> Batch:
    """A batch of the images that could be read, channels last in memory; empty tensors if none could."""
    read = [item for item in items if not isinstance(item, str)]
    images_NHWC = np.stack([pixels for pixels, _ in read]) if read else np.empty((0, 1, 1, 3), np.uint8)
    labels = torch.tensor([label for _, label in read], dtype=torch.int64)
    unreadable = [item for item in items if isinstance(item, str)]
    return Batch(torch.from_numpy(images_NHWC).permute(0, 3, 1, 2), labels, unreadable)


def training_batches(
    dataset: TrainingSet, sampler: EpochSampler, *, workers: int, pin_memory: bool = False
) -> DataLoader[Batch]:
    """A loader that gives the batches of `sampler.epoch` on each pass, from processes that stay alive between them."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        worker_init_fn=leave_interrupts_to_parent,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # its own, so that starting a pass draws nothing from the global one
    )
    return loader


def leave_interrupts_to_parent(worker: int) -> None:
    """Ctrl-C reaches the whole process group; a worker's traceback would bury the message of the training process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # and not the handler of the training loop
