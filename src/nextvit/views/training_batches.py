"""Batches for training, from lists of samples.

What a batch holds depends on seed and position alone: the order of a pass over the pictures is a function of (seed, pass)
and every picture is augmented with a generator of its own, seeded by (seed, pass, index). The number of workers, a restart,
or a resume in the middle of an epoch change nothing. An epoch is a pass, unless it has a number of steps of its own.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nextvit.data.annotations import Annotations
from nextvit.data.class_masks import ClassMask, Masks
from nextvit.data.objects import Objects, Targets
from nextvit.data.samples import Sample
from nextvit.errors import InputError
from nextvit.image.resizing import DecodeError, Pixels, frame_size, framed
from nextvit.views.detection_view import DetectionView
from nextvit.views.label_view import View
from nextvit.views.segmentation_view import SegmentationView

Key = tuple[int, int]  # number of the pass over the samples, index of the sample
ATTEMPTS = 32

Seen = Targets | ClassMask | None
"""What is on a view, where that is more than its picture's labels."""


@dataclass(frozen=True)
class Framed:
    """Of pictures with objects: the height and width (N, 2) of each at the top left of its frame, and what is on it."""

    sizes: Tensor
    objects: list[Targets]


@dataclass
class Batch:
    """Training images (N, 3, H, W), uint8, channels innermost in memory, and the indices of their samples."""

    images: Tensor
    indices: list[int]
    unreadable: list[str] = field(default_factory=list)
    """Messages of pictures that could not be read; others stand in their places."""
    failure: str | None = None
    """Why there is no batch; an exception would come out of a worker as a traceback."""
    framed: Framed | None = None
    """What is to be found on the images, where that are objects."""
    masks: Tensor | None = None
    """The class of each pixel of the images (N, H, W), uint8, where they have masks."""

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader when it feeds a GPU."""
        masks = None if self.masks is None else self.masks.pin_memory()
        return replace(self, images=self.images.pin_memory(), masks=masks)

    def parts(self, count: int) -> Iterator["Batch"]:
        """The same in so many parts, of which the first are larger where it does not divide. Frames are as large as their part
        needs, as if it was the whole batch of a process."""
        for positions in np.array_split(np.arange(len(self.images)), count):
            part = slice(int(positions[0]), int(positions[-1]) + 1)
            images, indices = self.images[part], self.indices[part]
            if self.framed is None:
                yield Batch(images, indices, masks=None if self.masks is None else self.masks[part])
                continue
            sizes_N2 = self.framed.sizes[part]
            height, width = frame_size(sizes_N2.numpy())
            yield Batch(images[:, :, :height, :width], indices, framed=Framed(sizes_N2, self.framed.objects[part]))


class Look(Protocol):
    """What training sees of its pictures."""

    def __len__(self) -> int: ...

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[Pixels, Seen]:
        """A view (H, W, 3) of a picture, and what is on it where there is more than labels.

        Raises:
            DecodeError: the picture cannot be read.
        """
        ...


@dataclass(frozen=True)
class LabelledLook:
    """Views of pictures that have labels alone."""

    samples: Sequence[Sample]
    view: View

    def __len__(self) -> int:
        return len(self.samples)

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[Pixels, None]:
        sample = self.samples[index]
        return self.view(sample.read(), name=sample.path, rng=rng), None


@dataclass(frozen=True)
class AnnotatedLook:
    """Views of pictures with objects."""

    samples: Sequence[Sample]
    annotations: Annotations
    view: DetectionView

    def __len__(self) -> int:
        return len(self.samples)

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[Pixels, Targets]:
        content, objects, path = self.picture(index)
        return self.view(content, objects, name=path, rng=rng, another=self.another)

    def picture(self, index: int) -> tuple[bytes, Objects, Path]:
        sample = self.samples[index]
        return sample.read(), self.annotations[index], sample.path

    def another(self, rng: np.random.Generator) -> tuple[bytes, Objects, Path]:
        """Any of the pictures, for its objects to be pasted."""
        return self.picture(int(rng.integers(len(self))))


@dataclass(frozen=True)
class MaskedLook:
    """Views of pictures with masks, all of one size."""

    samples: Sequence[Sample]
    masks: Masks
    view: SegmentationView

    def __len__(self) -> int:
        return len(self.samples)

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[Pixels, ClassMask]:
        sample = self.samples[index]
        return self.view(sample.read(), self.masks[index], name=sample.path, rng=rng)


class TrainingSet(Dataset[Batch]):
    """Augmented views of pictures, a whole batch at a time."""

    def __init__(self, look: Look, *, seed: int) -> None:
        self.look, self.seed = look, seed

    def __len__(self) -> int:
        return len(self.look)

    def __getitems__(self, keys: list[Key]) -> Batch:
        """The DataLoader's way to ask for a batch at once."""
        unreadable: list[str] = []
        try:
            seen, indices = zip(*(self.one(number, index, unreadable) for number, index in keys), strict=True)
        except InputError as error:
            return Batch(torch.empty(0), [], unreadable, failure=str(error))
        views = [view for view, _ in seen]
        objects = [targets for _, targets in seen if isinstance(targets, Targets)]
        if not objects:
            classes = [mask for _, mask in seen if isinstance(mask, np.ndarray)]
            masks = torch.from_numpy(np.stack(classes)) if classes else None
            images = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)
            return Batch(images, list(indices), unreadable, masks=masks)
        images_NHWC, sizes_N2 = framed(views)
        found = Framed(torch.from_numpy(sizes_N2), objects)
        return Batch(torch.from_numpy(images_NHWC).permute(0, 3, 1, 2), list(indices), unreadable, framed=found)

    def one(self, number: int, index: int, unreadable: list[str]) -> tuple[tuple[NDArray[np.uint8], Seen], int]:
        """What is seen in a pass of a picture, or, where it cannot be read, of another drawn by its generator; and of which."""
        rng = np.random.default_rng((self.seed, number, index))
        for _ in range(ATTEMPTS):
            try:
                return self.look(index, rng), index
            except DecodeError as error:
                unreadable.append(str(error))
            index = int(rng.integers(len(self.look)))
        raise InputError(f"{ATTEMPTS} images in a row cannot be read; the last: {unreadable[-1]}")


class EpochSampler(Sampler[list[Key]]):
    """The shuffled batches of an epoch, of (pass, index). Set `epoch`, and `start` to skip the first batches, before each.

    An epoch is a pass over the samples, whose last incomplete batch is left out; with `steps` it is so many batches of passes
    that follow one another, wherever one ends. With `weights` (count,), samples are drawn with replacement in proportion to
    them; without, each comes at most once in a pass. With `alike` (count,), the samples of a batch are all of one kind, as far as
    there are enough: pictures that are wide and pictures that are high need frames which are mostly empty.
    """

    def __init__(
        self,
        count: int,
        *,
        batch_size: int,
        seed: int,
        steps: int = 0,
        weights: NDArray[np.float64] | None = None,
        alike: NDArray[np.bool_] | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.count, self.seed, self.weights, self.alike = count, seed, weights, alike
        self.batch_size = min(batch_size, count)
        self.steps_per_pass = count // self.batch_size
        self.steps = steps or self.steps_per_pass
        self.part = part
        """Which part of each batch, of how many: a process's own."""
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
        """The indices of a pass's samples, one after the other; passes count from 0."""
        rng = np.random.default_rng((self.seed, number))
        if self.weights is None:
            order = rng.permutation(self.count)
        else:
            shares = np.cumsum(self.weights)
            order = np.searchsorted(shares, rng.random(self.count) * shares[-1], side="right")
        return order if self.alike is None else self.in_alike_batches(order, self.alike, rng)

    def in_alike_batches(
        self, order: NDArray[np.int64], alike: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """The samples of this order that fill batches, kind by kind, and the batches shuffled: at most one is of both."""
        used = order[: self.steps_per_pass * self.batch_size]
        batches = used[np.argsort(alike[used], kind="stable")].reshape(self.steps_per_pass, self.batch_size)
        return rng.permutation(batches).ravel()


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
