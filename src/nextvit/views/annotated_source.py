"""Training images with annotated objects: views of different sizes, padded to a canvas."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nextvit.data.annotations import Annotations
from nextvit.data.objects import Objects, Targets
from nextvit.data.samples import Samples
from nextvit.image.canvas import canvas_size, pad_to_canvas
from nextvit.image.drawing import Mark, class_style, draw_marks
from nextvit.image.masks import encode
from nextvit.image.reading import Pixels
from nextvit.views.contact_sheet import LARGE, Sheet
from nextvit.views.detection_view import DetectionView


@dataclass(frozen=True)
class ObjectTargets:
    """The objects on padded images."""

    sizes_N2: Tensor
    """(N, 2), height and width of each image at the top left of its canvas."""
    objects: list[Targets]

    def part(self, part: slice) -> "ObjectTargets":
        return ObjectTargets(self.sizes_N2[part], self.objects[part])

    def to(self, device: torch.device) -> "ObjectTargets":
        """Move the sizes; the objects of each image follow in the loss, because their numbers differ."""
        return ObjectTargets(self.sizes_N2.to(device, non_blocking=True), self.objects)

    def pin_memory(self) -> "ObjectTargets":
        return self

    @property
    def canvas(self) -> tuple[int, int]:
        return canvas_size(self.sizes_N2.cpu().numpy())


@dataclass(frozen=True)
class AnnotatedSource:
    """Samples with their annotations, in the same order."""

    samples: Samples
    annotations: Annotations
    view_of: DetectionView
    sheet: Sheet = LARGE

    @property
    def groups(self) -> NDArray[np.bool_]:
        """Whether each image is wide: wide and high images in one batch would need a canvas that is mostly padding."""
        return self.annotations.is_wide

    def __len__(self) -> int:
        return len(self.samples)

    def view(self, index: int, rng: np.random.Generator) -> tuple[Pixels, Targets]:
        content, objects, path = self.read(index)
        return self.view_of(content, objects, name=path, rng=rng, another=self.read_another)

    def read(self, index: int) -> tuple[bytes, Objects, Path]:
        """The content of an image file, its annotated objects, and its path."""
        sample = self.samples[index]
        return sample.read(), self.annotations[index], sample.path

    def read_another(self, rng: np.random.Generator) -> tuple[bytes, Objects, Path]:
        """A random image, for copy-paste."""
        return self.read(int(rng.integers(len(self))))

    def collate(self, views: Sequence[Pixels], targets: Sequence[Targets]) -> tuple[Tensor, ObjectTargets]:
        images_NHWC, sizes_N2 = pad_to_canvas(views)
        return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2), ObjectTargets(torch.from_numpy(sizes_N2), [*targets])

    def draw(self, images_NHWC: Pixels, targets: ObjectTargets, classes: tuple[str, ...]) -> Pixels:
        """Draw on the whole canvas, at the size of the contact sheet."""
        scale = self.sheet.side_px / max(images_NHWC.shape[1:3])
        sheets = [
            draw_marks(Image.fromarray(canvas), to_marks(each, canvas.shape[:2], classes), scale=scale)
            for canvas, each in zip(images_NHWC, targets.objects, strict=True)
        ]
        return np.stack([np.asarray(sheet) for sheet in sheets])


def to_marks(found: Targets, canvas: tuple[int, int], classes: tuple[str, ...]) -> list[Mark]:
    """How to draw the objects of a view at the top left of a canvas (height, width)."""
    masks = [None] * len(found.boxes)
    if found.masks is not None:
        missing = [(0, whole - own) for whole, own in zip(canvas, found.masks.shape[1:], strict=True)]
        masks = [encode(np.pad(mask, missing)) if mask.any() else None for mask in found.masks]
    return [
        Mark(box=(x1, y1, x2, y2), style=class_style(label), texts=(classes[label],), mask=mask)
        for (x1, y1, x2, y2), label, mask in zip(found.boxes.tolist(), found.labels.tolist(), masks, strict=True)
    ]
