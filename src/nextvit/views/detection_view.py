"""The view that training gets of a picture with objects: from a file's bytes to pixels, boxes and masks.

All that moves pixels is one `Placement`: the part of the picture that the view shows, the size that it is resized to, and
whether it is mirrored. Boxes and masks follow from it, so they stay in step. Nothing is drawn from a global generator.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nextvit.data.object_masks import mask_of
from nextvit.data.objects import Objects, Segmentation, Targets
from nextvit.errors import InputError
from nextvit.image.resizing import Pixels, fitted_size
from nextvit.views.decode import decode, read_jpeg_header
from nextvit.views.label_view import LARGE, Crop, between, cut, reduced, resize
from nextvit.views.large_jpeg import open_large_jpeg, reduction_for
from nextvit.views.settings import DetectionAugment

Another = Callable[[np.random.Generator], tuple[bytes, Objects, Path]]
"""Draws another picture of the data: its file's bytes, its objects, and its name for messages."""

LEAST_SIDE_PX = 1.0
"""Objects whose box is smaller, in the view, are left out."""

BRIGHTNESS, CONTRAST, SATURATION, HUE_DEGREES = 32.0, 0.5, 0.5, 18.0
"""The most that colours change by at a strength of 1."""

LUMA = (0.299, 0.587, 0.114)
TO_YIQ = np.array([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])


@dataclass(frozen=True)
class Placement:
    """Which part of a picture a view shows, and how."""

    part: Crop
    """In the picture's pixels."""
    size: tuple[int, int]
    """Height and width of the view."""
    flip: bool

    def moved(self, boxes_K4: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes of the picture as boxes of the view, cut at its border."""
        left, top, width, height = self.part
        across, down = self.size[1] / width, self.size[0] / height
        x = (boxes_K4[:, 0::2].astype(np.float64) - left) * across
        y = (boxes_K4[:, 1::2].astype(np.float64) - top) * down
        if self.flip:
            x = self.size[1] - x[:, ::-1]
        x, y = x.clip(0, self.size[1]), y.clip(0, self.size[0])
        return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).astype(np.float32)

    def cuts(self, boxes_K4: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which boxes (K,) of the picture are not wholly in the part."""
        left, top, width, height = self.part
        x1, y1, x2, y2 = boxes_K4.T
        return (x1 < left) | (y1 < top) | (x2 > left + width) | (y2 > top + height)


@dataclass(frozen=True)
class DetectionView:
    """Decodes a picture and draws an augmented view of it and its objects."""

    settings: DetectionAugment
    image_size: tuple[int, int]
    """Limits of the shorter and the longer side, pixels."""

    def __call__(
        self, content: bytes, objects: Objects, *, name: Path, rng: np.random.Generator, another: Another | None = None
    ) -> tuple[Pixels, Targets]:
        """A view (height, width, 3), uint8, RGB, of the content of an image file, and what is to be found on it.

        Args:
            content: the file's bytes.
            objects: what is annotated, in the pixels of the upright picture.
            name: stands in messages.
            rng: decides all that is random.
            another: where copy-paste takes its objects from; without it nothing is pasted.

        Raises:
            DecodeError: as `nextvit.image.resizing.read_image`.
            InputError: the picture has another size than the one that was annotated, a segmentation is none of it, or
                objects without masks are to be pasted.
        """
        pixels, targets = self.placed(content, objects, name=name, rng=rng)
        if another and rng.random() < self.settings.copy_paste:
            other_content, other_objects, other_name = another(rng)
            other = self.placed(other_content, other_objects, name=other_name, rng=rng)
            pixels, targets = pasted((pixels, targets), other, rng)
        if self.settings.photometric:
            pixels = recoloured(pixels, self.settings.photometric, rng)
        return pixels, targets

    def placed(
        self, content: bytes, objects: Objects, *, name: Path, rng: np.random.Generator
    ) -> tuple[Pixels, Targets]:
        """The picture cut, resized and mirrored, and what is to be found on it."""
        part_CHW, placement, size_wh = self.decode_part(content, name=name, rng=rng)
        view_1CHW = resize(part_CHW, placement.size)
        if placement.flip:
            view_1CHW = view_1CHW.flip(3)
        pixels = view_1CHW[0].permute(1, 2, 0).contiguous().numpy()
        if objects.size_wh not in (None, size_wh):
            real, annotated = ("{}x{}".format(*each) for each in (size_wh, objects.size_wh))
            raise InputError(f"{name}: is {real} px, and was annotated as {annotated}; its boxes lie elsewhere")
        try:
            return pixels, targets_of(objects, placement, size_wh, tighten=self.settings.tighten)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None

    def decode_part(
        self, content: bytes, *, name: Path, rng: np.random.Generator
    ) -> tuple[Tensor, Placement, tuple[int, int]]:
        """The part (3, h, w) of a picture that is seen, where it is placed, and the picture's width and height.

        A large JPEG is reduced as far as does not show; the placement is then that of the pixels that were kept.
        """
        header = read_jpeg_header(content)
        if header is None or min(header.width, header.height) < LARGE * min(self.settings.scales) * self.image_size[0]:
            image_CHW = decode(content, name=name)
            size_wh = (image_CHW.shape[2], image_CHW.shape[1])
            placement = draw_placement(size_wh, self.settings, self.image_size, rng)
            return cut(image_CHW, placement.part), placement, size_wh
        large = open_large_jpeg(content, name=name)
        size_wh = (large.width, large.height)
        placement = draw_placement(size_wh, self.settings, self.image_size, rng)
        (view_height, view_width), (_, _, width, height) = placement.size, placement.part
        reduction = reduction_for((width, height), needed_wh=(view_width, view_height))
        part = reduced(placement.part, reduction)
        left, top, width, height = (edge * reduction for edge in part)
        reduced_CHW = torch.from_numpy(large.pixels(reduction=reduction)).permute(2, 0, 1)
        return cut(reduced_CHW, part), Placement((left, top, width, height), placement.size, placement.flip), size_wh


def draw_placement(
    size_wh: tuple[int, int], settings: DetectionAugment, image_size: tuple[int, int], rng: np.random.Generator
) -> Placement:
    """A random placement of a picture of this size, for an input of these limits of the shorter and the longer side."""
    shorter, longer = image_size
    flip = bool(rng.random() < settings.flip)
    if rng.random() < settings.jitter:
        return jittered(size_wh, settings, image_size, flip, rng)
    part = (0, 0, *size_wh)
    if rng.random() < settings.crop:
        part = draw_part(size_wh, settings, image_size, rng)
    limits = (shorter * float(rng.choice(settings.scales)), longer)
    width, height = fitted_size((part[2], part[3]), limits)
    return Placement(part, (height, width), flip)


def draw_part(
    size_wh: tuple[int, int], settings: DetectionAugment, image_size: tuple[int, int], rng: np.random.Generator
) -> Crop:
    """A random part of a picture. Height and width are drawn on the picture at another scale, but it is not resized to it:
    one resize of the part gives the view."""
    shorter, longer = image_size
    scaled_wh = fitted_size(size_wh, (shorter * float(rng.choice(settings.crop_scales)), longer))
    least, most = (round(share * shorter) for share in settings.crop_sides)
    edges: list[tuple[int, int]] = []
    for side, scaled in zip(size_wh, scaled_wh, strict=True):
        length = int(rng.integers(min(scaled, least), min(scaled, most) + 1))
        start = int(rng.integers(scaled - length + 1))
        first = min(side - 1, round(start * side / scaled))
        edges.append((first, max(1, round((start + length) * side / scaled) - first)))
    (left, width), (top, height) = edges
    return left, top, width, height


def jittered(
    size_wh: tuple[int, int],
    settings: DetectionAugment,
    image_size: tuple[int, int],
    flip: bool,
    rng: np.random.Generator,
) -> Placement:
    """The picture at a random scale; where it is larger than the input, a random part of the input's size."""
    scale = between(*settings.jitter_scale, at=rng.random())
    full_wh = fitted_size(size_wh, image_size)
    edges: list[tuple[int, int, int]] = []
    for side, full in zip(size_wh, full_wh, strict=True):
        length = min(side, max(1, round(side / scale)))
        edges.append((int(rng.integers(side - length + 1)), length, max(1, round(full * min(1.0, scale)))))
    (left, width, view_width), (top, height, view_height) = edges
    return Placement((left, top, width, height), (view_height, view_width), flip)


def targets_of(objects: Objects, placement: Placement, size_wh: tuple[int, int], *, tighten: bool) -> Targets:
    """What is to be found on the view; crowds, and what is smaller than `LEAST_SIDE_PX` there, are left out.

    The mask of an object that has none is all False. With `tighten`, an object that is cut and has a mask gets the box of
    what is left of it, and is left out where nothing is.
    """
    boxes = placement.moved(objects.boxes)
    kept = np.flatnonzero(~objects.crowd & (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE_PX).all(axis=1))
    boxes, labels = boxes[kept], objects.labels[kept]
    if not objects.segmentations:
        return Targets(boxes, labels)
    segmentations = [objects.segmentations[index] for index in kept]
    masks = placed_masks(segmentations, objects.boxes[kept], placement, size_wh)
    if not tighten:
        return Targets(boxes, labels, masks)
    known = np.array([bool(segmentation) for segmentation in segmentations], dtype=bool)
    return tightened(Targets(boxes, labels, masks), known & placement.cuts(objects.boxes[kept]))


def tightened(targets: Targets, changed: NDArray[np.bool_]) -> Targets:
    """Those of the objects `changed` (K,) with the boxes of their masks, without those of which nothing is left."""
    assert targets.masks is not None
    boxes, kept = targets.boxes.copy(), np.ones(len(targets.boxes), dtype=bool)
    for index in np.flatnonzero(changed):
        box = box_of(targets.masks[index])
        if box is None:
            kept[index] = False
        else:
            boxes[index] = box
    if kept.all():  # masks are large: no copy without need
        return Targets(boxes, targets.labels, targets.masks)
    return Targets(boxes[kept], targets.labels[kept], targets.masks[kept])


def box_of(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """The box around a mask (H, W); None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def placed_masks(
    segmentations: list[Segmentation], boxes_K4: NDArray[np.float32], placement: Placement, size_wh: tuple[int, int]
) -> NDArray[np.bool_]:
    """The masks (K, height, width) of the view: each of its pixels is the picture's that lies under its middle.

    Only what lies in the objects' boxes (K, 4), and a pixel around them, is drawn.
    """
    masks = np.zeros((len(segmentations), *placement.size), dtype=bool)
    left, top, width, height = placement.part
    columns = pixels_under(placement.size[1], left, width, limit=size_wh[0])
    rows = pixels_under(placement.size[0], top, height, limit=size_wh[1])
    corners = np.concatenate([np.floor(boxes_K4[:, :2]) - 1, np.ceil(boxes_K4[:, 2:]) + 1], axis=1)
    corners = corners.clip(0, (*size_wh, *size_wh)).astype(np.int64)
    for mask, segmentation, (x1, y1, x2, y2) in zip(masks, segmentations, corners.tolist(), strict=True):
        if not segmentation or x1 >= x2 or y1 >= y2:
            continue
        across, down = slice(*np.searchsorted(columns, (x1, x2))), slice(*np.searchsorted(rows, (y1, y2)))
        part = part_of_mask(segmentation, (x1, y1, x2 - x1, y2 - y1), size_wh)
        upright = mask[:, ::-1] if placement.flip else mask
        upright[down, across] = part.take(rows[down] - y1, axis=0).take(columns[across] - x1, axis=1)
    return masks


def pixels_under(count: int, start: int, length: int, *, limit: int) -> NDArray[np.int64]:
    """Of `count` equal pieces of start..start + length, the pixel that the middle of each lies in."""
    middles = start + (np.arange(count) + 0.5) * (length / count)
    return np.minimum(middles.astype(np.int64), limit - 1)


def part_of_mask(segmentation: Segmentation, part: Crop, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """A part (height, width) of an object's mask; polygons are drawn no further than it reaches."""
    left, top, width, height = part
    if isinstance(segmentation, list):
        return mask_of([shifted(polygon, left, top) for polygon in segmentation], height, width)
    return mask_of(segmentation, size_wh[1], size_wh[0])[top : top + height, left : left + width]


def shifted(polygon: list[float], left: int, top: int) -> list[float]:
    """A polygon x, y, x, y, ... as seen from the point left, top."""
    points = np.array(polygon, dtype=np.float64)
    points[0::2] -= left
    points[1::2] -= top
    # COCO's drawing rounds to fifths of a pixel: what the subtraction leaves behind the decimals would tip tenths.
    return points.round(6).tolist()


def pasted(
    own: tuple[Pixels, Targets], other: tuple[Pixels, Targets], rng: np.random.Generator
) -> tuple[Pixels, Targets]:
    """Each object of the other view that has a mask is laid, with a probability of one half, where it is on the other view.

    What is covered is cut from the masks below it, with their boxes; what is covered whole is no longer there.

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
    added = tightened(
        Targets(other_targets.boxes[chosen], other_targets.labels[chosen], masks), np.ones(len(chosen), bool)
    )
    covered: NDArray[np.bool_] = np.any(masks, axis=0)
    np.copyto(pixels[:height, :width], other_pixels[:height, :width], where=covered[:height, :width, None])
    hidden: NDArray[np.bool_] = np.any(own_masks & covered, axis=(1, 2))
    left = tightened(Targets(targets.boxes, targets.labels, own_masks & ~covered), hidden)
    assert left.masks is not None and added.masks is not None
    return pixels, Targets(
        np.concatenate([left.boxes, added.boxes]),
        np.concatenate([left.labels, added.labels]),
        np.concatenate([left.masks, added.masks]),
    )


def recoloured(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Pixels (H, W, 3) with brightness, contrast, saturation and hue changed, each evenly up to its limit times `strength`.

    All four are one affine map of red, green and blue, hue being a turn about the axis of greys.
    """
    brightness, contrast, saturation, hue = (strength * (2 * rng.random(4) - 1)).tolist()
    angle, gain = math.radians(HUE_DEGREES * hue), 1 + CONTRAST * contrast
    turn = np.array([(1, 0, 0), (0, math.cos(angle), -math.sin(angle)), (0, math.sin(angle), math.cos(angle))])
    chroma = np.diag([1.0, 1 + SATURATION * saturation, 1 + SATURATION * saturation])
    matrix = gain * (np.linalg.inv(TO_YIQ) @ chroma @ turn @ TO_YIQ)
    offset = 127.5 * (1 - gain) + BRIGHTNESS * brightness
    rows = np.concatenate([matrix, np.full((3, 1), offset)], axis=1)
    return np.array(Image.fromarray(pixels).convert("RGB", tuple(rows.ravel().tolist())))
