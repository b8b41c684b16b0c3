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

from nextvit.data.augment import Augment, build_augmentation
from nextvit.data.decode import decode
from nextvit.data.samples import Sample
from nextvit.preprocess import DecodeError

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


class TrainingSet(Dataset[tuple[Tensor, int] | str]):
    """Augmented views: (uint8 image (3, H, W), label), or the message of an image that cannot be read."""

    def __init__(self, samples: Sequence[Sample], augment: Augment, *, image_size: tuple[int, int], seed: int) -> None:
        self.samples, self.seed = samples, seed
        self.augmentation = build_augmentation(augment, image_size=image_size)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> tuple[Tensor, int] | str:
        epoch, index = key
        sample = self.samples[index]
        try:
            image_CHW = decode(sample.read(), name=sample.path)
        except DecodeError as error:
            return str(error)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed_seed(self.seed, epoch, index))
            return self.augmentation(image_CHW), sample.label


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
        order = torch.randperm(self.count, generator=generator)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield [(self.epoch, index) for index in order[start : start + self.batch_size].tolist()]


def mixed_seed(*parts: int) -> int:
    """One 64-bit seed from several numbers, far apart for neighbours."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def collate(items: list[tuple[Tensor, int] | str]) -> Batch:
    """A batch of the images that could be read; empty tensors if none could."""
    read = [item for item in items if not isinstance(item, str)]
    images = torch.stack([image for image, _ in read]) if read else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    labels = torch.tensor([label for _, label in read], dtype=torch.int64)
    return Batch(images, labels, [item for item in items if isinstance(item, str)])


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
