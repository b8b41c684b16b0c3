"""Training images with labels: views of one size, and for each a row of targets, one value for each class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextvit.data.samples import Samples
from nextvit.image.reading import Pixels
from nextvit.views.contact_sheet import SMALL, Sheet
from nextvit.views.label_view import View
from nextvit.views.training_batches import stack_views

Rows = NDArray[np.float32]
Target = tuple[int, bool]
"""The index of a sample, and whether its view is flipped."""


@dataclass(frozen=True)
class LabelTargets:
    """The soft targets of a classifier."""

    rows: Tensor
    """(N, classes), float32: the target probability of each class."""
    labelled: Tensor
    """(N, 1), float32: 1 for images with labels, 0 for those that only a teacher labels; in between after mixing."""

    def part(self, part: slice) -> "LabelTargets":
        return LabelTargets(self.rows[part], self.labelled[part])

    def to(self, device: torch.device) -> "LabelTargets":
        return LabelTargets(*(each.to(device, non_blocking=True) for each in (self.rows, self.labelled)))

    def pin_memory(self) -> "LabelTargets":
        return LabelTargets(self.rows.pin_memory(), self.labelled.pin_memory())

    @property
    def canvas(self) -> None:
        return None


@dataclass(frozen=True)
class LabelledSource:
    """Samples of which the first `num_labelled` have labels."""

    samples: Samples
    view_of: View
    num_classes: int
    smooth: Callable[[Rows], Rows]
    """Label smoothing of rows of 0 and 1."""
    num_labelled: int
    exchanged: NDArray[np.int64] | None = None
    """(classes,), what each class is in a flipped view; None: the same."""
    groups: None = None
    sheet: Sheet = SMALL

    def __len__(self) -> int:
        return len(self.samples)

    def view(self, index: int, rng: np.random.Generator) -> tuple[Pixels, Target]:
        sample = self.samples[index]
        pixels, is_flipped = self.view_of.draw(sample.read(), name=sample.path, rng=rng)
        return pixels, (index, is_flipped)

    def collate(self, views: Sequence[Pixels], targets: Sequence[Target]) -> tuple[Tensor, LabelTargets]:
        indices, flipped = ([*each] for each in zip(*targets, strict=True))
        labelled = (np.array(indices) < self.num_labelled).astype(np.float32)[:, None]
        rows = self.samples.targets(indices, self.num_classes)
        if self.exchanged is not None:
            rows[flipped] = rows[flipped][:, self.exchanged]
        rows = self.smooth(rows) * labelled
        return stack_views(views), LabelTargets(torch.from_numpy(rows), torch.from_numpy(labelled))

    def draw(self, images_NHWC: Pixels, targets: LabelTargets, classes: tuple[str, ...]) -> Pixels:
        return images_NHWC
