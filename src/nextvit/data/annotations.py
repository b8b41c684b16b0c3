"""The annotated objects of a whole split in packed arrays; `nextvit.data.samples` says why they are packed."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nextvit.data.objects import Objects, Segmentation
from nextvit.data.samples import RaggedArray

NO_MASK, POLYGONS, RUN_LENGTHS = range(3)


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Annotations of N images with K objects in total; image i has the objects `offsets[i]` to `offsets[i + 1]`."""

    image_ids: NDArray[np.int64]
    """(N,), as in the annotation file."""
    sizes_wh: NDArray[np.int32]
    """(N, 2), width and height of the image that was annotated."""
    offsets: NDArray[np.int64]
    """(N + 1,), starting with 0."""
    ids: NDArray[np.int64]
    """(K,), as in the annotation file; -1 where it gives none."""
    boxes: NDArray[np.float32]
    """(K, 4), x1, y1, x2, y2 in pixels."""
    labels: NDArray[np.int32]
    """(K,), class indices."""
    crowd: NDArray[np.bool_]
    """(K,), COCO's iscrowd."""
    areas: NDArray[np.float64]
    """(K,), pixels."""
    mask_formats: NDArray[np.uint8]
    """(K,): NO_MASK, POLYGONS or RUN_LENGTHS."""
    part_offsets: NDArray[np.int64]
    """(K + 1,): object k has the `parts` from `part_offsets[k]` to `part_offsets[k + 1]`."""
    parts: RaggedArray
    """Polygons, or run lengths as one part. In float64, because rounding would change some pixels of outlines."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Objects:
        """The objects of one image."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        chosen = slice(self.offsets[index], self.offsets[index + 1])
        width, height = self.sizes_wh[index].tolist()
        return Objects(
            boxes=self.boxes[chosen],
            labels=self.labels[chosen].astype(np.int64),
            crowd=self.crowd[chosen],
            areas=self.areas[chosen],
            segmentations=tuple(self.segmentation(k, height, width) for k in range(chosen.start, chosen.stop))
            if self.has_masks
            else (),
            size_wh=(width, height),
        )

    @property
    def is_wide(self) -> NDArray[np.bool_]:
        """Which images are wider than they are high: (N,)."""
        return self.sizes_wh[:, 0] > self.sizes_wh[:, 1]

    @property
    def has_masks(self) -> bool:
        """Whether any object has a mask."""
        return len(self.parts) > 0

    def segmentation(self, k: int, height: int, width: int) -> Segmentation:
        """The mask of object k, in an image of this size, in COCO's form."""
        parts = [self.parts[part].tolist() for part in range(self.part_offsets[k], self.part_offsets[k + 1])]
        if self.mask_formats[k] == RUN_LENGTHS:
            return {"size": [height, width], "counts": [int(length) for length in parts[0]]}
        return parts or None

    def object_images(self) -> NDArray[np.int64]:
        """The index of each object's image: (K,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def counts(self, num_classes: int) -> NDArray[np.int64]:
        """The number of objects of each class, without crowds: (num_classes,)."""
        return np.bincount(self.labels[~self.crowd], minlength=num_classes)

    def map_labels(self, new: NDArray[np.int32]) -> "Annotations":
        """The same objects with class `new[c]` instead of c."""
        return replace(self, labels=new[self.labels])

    def select(self, chosen: NDArray[np.bool_]) -> "Annotations":
        """The annotations of the images where `chosen`, (N,), is true."""
        objects, parts = np.diff(self.offsets), np.diff(self.part_offsets)
        kept = np.repeat(chosen, objects)
        return Annotations(
            image_ids=self.image_ids[chosen],
            sizes_wh=self.sizes_wh[chosen],
            offsets=np.append(0, np.cumsum(objects[chosen])),
            ids=self.ids[kept],
            boxes=self.boxes[kept],
            labels=self.labels[kept],
            crowd=self.crowd[kept],
            areas=self.areas[kept],
            mask_formats=self.mask_formats[kept],
            part_offsets=np.append(0, np.cumsum(parts[kept])),
            parts=self.parts.select(np.repeat(kept, parts)),
        )


class AnnotationsBuilder:
    """Packs images and their objects one by one."""

    def __init__(self) -> None:
        self._image_ids, self._sizes_wh, self._ends = array("q"), array("i"), array("q", [0])
        self._ids, self._boxes, self._labels, self._areas = array("q"), array("f"), array("i"), array("d")
        self._crowd, self._forms = array("B"), array("B")
        self._part_ends, self._numbers, self._number_ends = array("q", [0]), array("d"), array("q", [0])

    def add_image(self, image_id: int, size_wh: tuple[int, int]) -> None:
        """Add an image; following objects belong to it."""
        self._image_ids.append(image_id)
        self._sizes_wh.extend(size_wh)
        self._ends.append(self._ends[-1])

    def add_object(
        self,
        *,
        id: int,
        box: tuple[float, float, float, float],
        label: int,
        crowd: bool,
        area: float,
        mask_format: int,
        parts: Sequence[NDArray[np.float64] | NDArray[np.int64]],
    ) -> None:
        """Add an object to the last image.

        Args:
            id: of the annotation, or -1.
            box: x1, y1, x2, y2 in pixels.
            label: class index.
            crowd: COCO's iscrowd.
            area: pixels.
            mask_format: NO_MASK, POLYGONS or RUN_LENGTHS.
            parts: the polygons, or the run lengths as one array.
        """
        self._ends[-1] += 1
        self._ids.append(id)
        self._boxes.extend(box)
        self._labels.append(label)
        self._crowd.append(crowd)
        self._areas.append(area)
        self._forms.append(mask_format)
        for part in parts:
            self._numbers.frombytes(part.astype(np.float64).tobytes())
            self._number_ends.append(len(self._numbers))
        self._part_ends.append(len(self._number_ends) - 1)

    def build(self) -> Annotations:
        """The annotations of all images added so far."""
        return Annotations(
            image_ids=np.array(self._image_ids, np.int64),
            sizes_wh=np.array(self._sizes_wh, np.int32).reshape(-1, 2),
            offsets=np.array(self._ends, np.int64),
            ids=np.array(self._ids, np.int64),
            boxes=np.array(self._boxes, np.float32).reshape(-1, 4),
            labels=np.array(self._labels, np.int32),
            crowd=np.array(self._crowd, np.bool_),
            areas=np.array(self._areas, np.float64),
            mask_formats=np.array(self._forms, np.uint8),
            part_offsets=np.array(self._part_ends, np.int64),
            parts=RaggedArray(np.array(self._numbers, np.float64), np.array(self._number_ends, np.int64)),
        )
