"""Training's augmented view of an image with annotated objects: from a file's bytes to pixels, boxes and masks.

Boxes and masks follow from the `Placement` of the pixels. All randomness comes from the generator that is passed in,
none from a global one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextvit.data.object_masks import rasterize_mask, translate_polygon
from nextvit.data.objects import Objects, Segmentation, Targets
from nextvit.errors import InputError
from nextvit.image.reading import Pixels
from nextvit.image.resizing import size_within
from nextvit.views.colour import jitter_colours
from nextvit.views.placement import Crop, Placement, decode_crop, find_source_pixels, lerp, render_view
from nextvit.views.settings import DetectionAugment

PasteSource = Callable[[np.random.Generator], tuple[bytes, Objects, Path]]
"""Draws another image of the dataset: its file's bytes, its objects, and its name for messages."""

MIN_SIDE_PX = 1.0
"""Objects with a smaller box in the view are left out."""


@dataclass(frozen=True)
class DetectionView:
    """Decodes an image and draws an augmented view of it and its objects."""

    settings: DetectionAugment
    image_size: tuple[int, int]
    """Limits of the shorter and the longer side, in pixels."""
    exchanged: NDArray[np.int64] | None = None
    """(classes,), what each class is in a flipped view; None: the same."""

    def __call__(
        self,
        content: bytes,
        objects: Objects,
        *,
        name: Path,
        rng: np.random.Generator,
        another: PasteSource | None = None,
    ) -> tuple[Pixels, Targets]:
        """Draw a view.

        Args:
            content: the bytes of an image file.
            objects: the annotations, in the pixels of the upright image.
            name: used in messages.
            rng: source of all randomness.
            another: where copy-paste gets its objects from; None: nothing is pasted.

        Returns:
            The view (height, width, 3), uint8, RGB, and the objects on it.

        Raises:
            DecodeError: as `nextvit.image.reading.read_image`.
            InputError: the image has another size than the one that was annotated, a segmentation does not fit it, or
                objects without masks are to be pasted.
        """
        pixels, targets = self.draw_view(content, objects, name=name, rng=rng)
        if another and rng.random() < self.settings.copy_paste:
            other_content, other_objects, other_name = another(rng)
            other = self.draw_view(other_content, other_objects, name=other_name, rng=rng)
            pixels, targets = paste_objects((pixels, targets), other, rng)
        if self.settings.photometric:
            pixels = jitter_colours(pixels, self.settings.photometric, rng)
        return pixels, targets

    def draw_view(
        self, content: bytes, objects: Objects, *, name: Path, rng: np.random.Generator
    ) -> tuple[Pixels, Targets]:
        """The image cropped, resized and flipped, and the objects on it."""
        decoded = decode_crop(
            content,
            lambda size_wh: draw_placement(size_wh, self.settings, self.image_size, rng),
            view_side_px=min(self.settings.scales) * self.image_size[0],
            name=name,
        )
        pixels = render_view(decoded.pixels_CHW, decoded.placement)
        if objects.size_wh not in (None, decoded.size_wh):
            real, annotated = ("{}x{}".format(*each) for each in (decoded.size_wh, objects.size_wh))
            raise InputError(f"{name}: is {real} px, and was annotated as {annotated}; its boxes are elsewhere")
        try:
            targets = transform_objects(objects, decoded.placement, decoded.size_wh, tighten=self.settings.tighten)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        if decoded.placement.is_flipped and self.exchanged is not None:
            targets = replace(targets, labels=self.exchanged[targets.labels])
        return pixels, targets


def draw_placement(
    size_wh: tuple[int, int], settings: DetectionAugment, image_size: tuple[int, int], rng: np.random.Generator
) -> Placement:
    """Draw a random placement.

    Args:
        size_wh: width and height of the image.
        settings: which augmentations, and how strong.
        image_size: limits of the view's shorter and longer side.
        rng: source of all randomness.
    """
    shorter, longer = image_size
    is_flipped = bool(rng.random() < settings.flip)
    if rng.random() < settings.jitter:
        crop, view_size = draw_large_scale_jitter(size_wh, settings, image_size, rng)
        return Placement(crop, view_size, is_flipped)
    crop = (0, 0, *size_wh)
    if rng.random() < settings.crop:
        crop = draw_detr_crop(size_wh, settings, image_size, rng)
    limits = (shorter * float(rng.choice(settings.scales)), longer)
    width, height = size_within((crop[2], crop[3]), limits)
    return Placement(crop, (height, width), is_flipped)


def draw_detr_crop(
    size_wh: tuple[int, int], settings: DetectionAugment, image_size: tuple[int, int], rng: np.random.Generator
) -> Crop:
    """Draw a random crop, as DETR does (Carion et al., arXiv:2005.12872).

    DETR resizes the image, crops it and resizes the crop. Here height and width are drawn at that intermediate scale,
    but the image is resized only once, from the crop to the view.
    """
    shorter, longer = image_size
    scaled_wh = size_within(size_wh, (shorter * float(rng.choice(settings.crop_scales)), longer))
    min_length, max_length = (round(fraction * shorter) for fraction in settings.crop_sides)
    edges: list[tuple[int, int]] = []
    for side, scaled in zip(size_wh, scaled_wh, strict=True):
        length = int(rng.integers(min(scaled, min_length), min(scaled, max_length) + 1))
        start = int(rng.integers(scaled - length + 1))
        first = min(side - 1, round(start * side / scaled))
        edges.append((first, max(1, round((start + length) * side / scaled) - first)))
    (left, width), (top, height) = edges
    return left, top, width, height


def draw_large_scale_jitter(
    size_wh: tuple[int, int], settings: DetectionAugment, image_size: tuple[int, int], rng: np.random.Generator
) -> tuple[Crop, tuple[int, int]]:
    """Draw large-scale jitter (Ghiasi et al., arXiv:2012.07177): a random scale, and a crop of the input's size.

    Returns:
        The crop, and the height and width of the view.
    """
    scale = lerp(*settings.jitter_scale, at=rng.random())
    full_wh = size_within(size_wh, image_size)
    edges: list[tuple[int, int, int]] = []
    for side, full in zip(size_wh, full_wh, strict=True):
        length = min(side, max(1, round(side / scale)))
        edges.append((int(rng.integers(side - length + 1)), length, max(1, round(full * min(1.0, scale)))))
    (left, width, view_width), (top, height, view_height) = edges
    return (left, top, width, height), (view_height, view_width)


def transform_objects(objects: Objects, placement: Placement, size_wh: tuple[int, int], *, tighten: bool) -> Targets:
    """The objects on a view; crowds, and objects smaller than `MIN_SIDE_PX` there, are left out.

    Args:
        objects: the annotations of the whole image.
        placement: of the view.
        size_wh: width and height of the image.
        tighten: give an object with a mask that the crop cuts the box of the rest of its mask, and leave it out if
            nothing is left.

    Returns:
        Boxes, labels and masks in the view's pixels. The mask of an object that has none is all False.
    """
    boxes = placement.transform_boxes(objects.boxes)
    kept = np.flatnonzero(~objects.crowd & (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE_PX).all(axis=1))
    boxes, labels = boxes[kept], objects.labels[kept]
    if not objects.segmentations:
        return Targets(boxes, labels)
    segmentations = [objects.segmentations[index] for index in kept]
    masks = transform_masks(segmentations, objects.boxes[kept], placement, size_wh)
    if not tighten:
        return Targets(boxes, labels, masks)
    has_mask = np.array([bool(segmentation) for segmentation in segmentations], dtype=bool)
    return tighten_boxes(Targets(boxes, labels, masks), has_mask & placement.find_cut_boxes(objects.boxes[kept]))


def tighten_boxes(targets: Targets, is_changed: NDArray[np.bool_]) -> Targets:
    """Give objects where `is_changed` (K,) the boxes of their masks; drop those of them whose mask is empty."""
    assert targets.masks is not None
    boxes, kept = targets.boxes.copy(), np.ones(len(targets.boxes), dtype=bool)
    for index in np.flatnonzero(is_changed):
        box = mask_to_box(targets.masks[index])
        if box is None:
            kept[index] = False
        else:
            boxes[index] = box
    if kept.all():  # masks are large: avoid a copy
        return Targets(boxes, targets.labels, targets.masks)
    return Targets(boxes[kept], targets.labels[kept], targets.masks[kept])


def mask_to_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """The box x1, y1, x2, y2 around a mask (H, W); None if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def transform_masks(
    segmentations: list[Segmentation], boxes_K4: NDArray[np.float32], placement: Placement, size_wh: tuple[int, int]
) -> NDArray[np.bool_]:
    """The masks (K, height, width) of the view, sampled from the image's by nearest neighbour.

    Args:
        segmentations: K of them, in the image's pixels.
        boxes_K4: the objects' boxes in the image. To save time, a mask is rasterised only in its box and one pixel
            around.
        placement: of the view.
        size_wh: width and height of the image.
    """
    masks = np.zeros((len(segmentations), *placement.view_size), dtype=bool)
    left, top, width, height = placement.crop
    columns = find_source_pixels(placement.view_size[1], left, width, limit=size_wh[0])
    rows = find_source_pixels(placement.view_size[0], top, height, limit=size_wh[1])
    corners = np.concatenate([np.floor(boxes_K4[:, :2]) - 1, np.ceil(boxes_K4[:, 2:]) + 1], axis=1)
    corners = corners.clip(0, (*size_wh, *size_wh)).astype(np.int64)
    for mask, segmentation, (x1, y1, x2, y2) in zip(masks, segmentations, corners.tolist(), strict=True):
        if not segmentation or x1 >= x2 or y1 >= y2:
            continue
        in_columns, in_rows = slice(*np.searchsorted(columns, (x1, x2))), slice(*np.searchsorted(rows, (y1, y2)))
        crop = rasterize_crop(segmentation, (x1, y1, x2 - x1, y2 - y1), size_wh)
        unflipped = mask[:, ::-1] if placement.is_flipped else mask
        unflipped[in_rows, in_columns] = crop.take(rows[in_rows] - y1, axis=0).take(columns[in_columns] - x1, axis=1)
    return masks


def rasterize_crop(segmentation: Segmentation, crop: Crop, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """A crop (height, width) of an object's mask; polygons are rasterised only there."""
    left, top, width, height = crop
    if isinstance(segmentation, list):
        return rasterize_mask([translate_polygon(polygon, left, top) for polygon in segmentation], height, width)
    return rasterize_mask(segmentation, size_wh[1], size_wh[0])[top : top + height, left : left + width]


def paste_objects(
    own: tuple[Pixels, Targets], other: tuple[Pixels, Targets], rng: np.random.Generator
) -> tuple[Pixels, Targets]:
    """Paste each object of another view with probability 0.5 (copy-paste, Ghiasi et al., arXiv:2012.07177).

    Pasted objects keep their position. The masks below them lose the covered pixels, and boxes follow; objects that are
    fully covered are dropped.

    Args:
        own: pixels, which are changed in place, and objects of the view.
        other: pixels and objects of the view to paste from.
        rng: source of all randomness.

    Raises:
        InputError: there are objects, but no masks.
    """
    (pixels, targets), (other_pixels, other_targets) = own, other
    chosen = np.flatnonzero(rng.random(len(other_targets.boxes)) < 0.5)
    if not len(chosen):
        return own
    own_masks = targets.masks
    if own_masks is None and not len(targets.boxes):
        own_masks = np.zeros((0, *pixels.shape[:2]), dtype=bool)
    if own_masks is None or other_targets.masks is None:
        raise InputError("objects.copy_paste needs masks, and the data has boxes alone; set it to 0")
    height, width = np.minimum(pixels.shape[:2], other_pixels.shape[:2]).tolist()
    masks = np.zeros((len(chosen), *pixels.shape[:2]), dtype=bool)
    masks[:, :height, :width] = other_targets.masks[chosen, :height, :width]
    added = tighten_boxes(
        Targets(other_targets.boxes[chosen], other_targets.labels[chosen], masks), np.ones(len(chosen), bool)
    )
    covered: NDArray[np.bool_] = np.any(masks, axis=0)
    np.copyto(pixels[:height, :width], other_pixels[:height, :width], where=covered[:height, :width, None])
    is_hidden: NDArray[np.bool_] = np.any(own_masks & covered, axis=(1, 2))
    visible = tighten_boxes(Targets(targets.boxes, targets.labels, own_masks & ~covered), is_hidden)
    assert visible.masks is not None and added.masks is not None
    return pixels, Targets(
        np.concatenate([visible.boxes, added.boxes]),
        np.concatenate([visible.labels, added.labels]),
        np.concatenate([visible.masks, added.masks]),
    )
