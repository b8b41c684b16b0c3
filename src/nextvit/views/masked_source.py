"""Training images with a class for each pixel: views of one size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nextvit.data.class_masks import ClassMask, Masks
from nextvit.data.samples import Samples
from nextvit.image.drawing import class_colours, find_dominant_classes, tint_classes
from nextvit.image.reading import Pixels
from nextvit.views.contact_sheet import LARGE, Sheet
from nextvit.views.segmentation_view import SegmentationView
from nextvit.views.training_batches import stack_views


@dataclass(frozen=True)
class MaskTargets:
    """The class of each pixel."""

    classes_NHW: Tensor
    """uint8, 255 where a pixel has no class."""

    def part(self, part: slice) -> "MaskTargets":
        return MaskTargets(self.classes_NHW[part])

    def to(self, device: torch.device) -> "MaskTargets":
        return MaskTargets(self.classes_NHW.to(device, non_blocking=True))

    def pin_memory(self) -> "MaskTargets":
        return MaskTargets(self.classes_NHW.pin_memory())

    @property
    def canvas(self) -> None:
        return None


@dataclass(frozen=True)
class MaskedSource:
    """Samples with their masks, in the same order."""

    samples: Samples
    masks: Masks
    view_of: SegmentationView
    groups: None = None
    sheet: Sheet = LARGE

    def __len__(self) -> int:
        return len(self.samples)

    def view(self, index: int, rng: np.random.Generator) -> tuple[Pixels, ClassMask]:
        sample = self.samples[index]
        return self.view_of(sample.read(), self.masks[index], name=sample.path, rng=rng)

    def collate(self, views: Sequence[Pixels], targets: Sequence[ClassMask]) -> tuple[Tensor, MaskTargets]:
        return stack_views(views), MaskTargets(torch.from_numpy(np.stack(targets)))

    def draw(self, images_NHWC: Pixels, targets: MaskTargets, classes: tuple[str, ...]) -> Pixels:
        """Tint the pixels with the colours of their classes, the most frequent classes less."""
        masks_NHW = targets.classes_NHW.numpy()
        counts = np.bincount(masks_NHW.reshape(-1), minlength=256)[: len(classes)]
        thin = find_dominant_classes(counts.tolist())
        sheets = [
            tint_classes(Image.fromarray(view), mask, class_colours(len(classes)), thin=thin)
            for view, mask in zip(images_NHWC, masks_NHW, strict=True)
        ]
        return np.stack([np.asarray(sheet) for sheet in sheets])
