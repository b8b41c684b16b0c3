"""Which class each pixel of a picture has: from mask files whose values are indices of classes, or from annotated objects."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.data.annotations import Annotations
from nextvit.data.object_masks import mask_of
from nextvit.data.objects import Objects
from nextvit.data.samples import Rows
from nextvit.errors import InputError
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.reading import FORMATS, MAX_PIXELS, UNREADABLE, reason, upright

ClassMask = NDArray[np.uint8]
"""(height, width), of each pixel the index of its class, or IGNORED."""

MAX_CLASSES = 255
LOSSLESS = ("PNG", "BMP", "TIFF", "GIF", "PPM")
"""Formats that give back the values that were saved."""
BACKGROUND = "background"
"""The class of pixels without an object, where masks are made of objects."""


class BadMask(InputError):
    """A mask that cannot be used; its kind is that of the finding."""

    def __init__(self, name: str | Path, problem: str, *, kind: str = "bad_mask") -> None:
        super().__init__(f"{name}: {problem}")
        self.name, self.problem, self.kind = name, problem, kind


@dataclass(frozen=True)
class Coding:
    """What the values in mask files mean: indices of classes from 0 on, and 255 for none."""

    num_classes: int
    zero_is_ignored: bool = False
    """As in ADE20K: 0 is no label, and classes count from 1."""

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """(256,), the class of each value, or IGNORED; what stands for an unknown value means nothing."""
        table = np.arange(256).astype(np.uint8)
        if self.zero_is_ignored:
            table[1:] -= 1
            table[0] = IGNORE_INDEX
        table[IGNORE_INDEX] = IGNORE_INDEX
        return table

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(256,), which values may occur."""
        return (self.table < self.num_classes) | (self.table == IGNORE_INDEX)

    def classes(self, values_HW: NDArray[np.uint8], *, name: str | Path) -> ClassMask:
        """The classes of a mask's values.

        Raises:
            BadMask: a value is no class.
        """
        strange = ~self.known[values_HW]
        if strange.any():
            first, last = int(self.zero_is_ignored), int(self.zero_is_ignored) + self.num_classes - 1
            raise BadMask(
                name,
                f"has the value {values_HW[strange][0]}; expected {first} to {last} (the {self.num_classes} classes) or 255",
                kind="value_out_of_range",
            )
        return self.table[values_HW]


class Masks(Protocol):
    """The masks of a split, in the order of its samples."""

    @property
    def coding(self) -> Coding: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ClassMask:
        """The classes of a picture's pixels; BadMask where that cannot be told."""
        ...

    def values(self, index: int) -> NDArray[np.uint8]:
        """The values (height, width) before `coding` tells what they mean."""
        ...

    def name(self, index: int) -> str:
        """What a mask is called in messages."""
        ...

    def select(self, chosen: NDArray[np.bool_]) -> "Masks":
        """Those where `chosen`, (N,), is true."""
        ...


@dataclass(frozen=True)
class MaskFiles:
    """Masks in files of their own, one for each picture."""

    names: Rows
    """The bytes of the paths, packed for the reason for which `samples` are packed."""
    coding: Coding

    @classmethod
    def pack(cls, paths: Sequence[str], coding: Coding) -> "MaskFiles":
        names = [os.fsencode(path) for path in paths]
        ends = np.cumsum([0, *map(len, names)], dtype=np.int64)
        return cls(Rows(np.frombuffer(b"".join(names), np.uint8), ends), coding)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> ClassMask:
        return self.coding.classes(self.values(index), name=self.name(index))

    def values(self, index: int) -> NDArray[np.uint8]:
        name = self.name(index)
        try:
            content = Path(name).read_bytes()
        except OSError as error:
            raise BadMask(name, reason(error)) from None
        return read_values(content, name=name)

    def name(self, index: int) -> str:
        return os.fsdecode(self.names[index].tobytes())

    def select(self, chosen: NDArray[np.bool_]) -> "MaskFiles":
        return MaskFiles(self.names.select(chosen), self.coding)


@dataclass(frozen=True)
class ObjectMasks:
    """Masks drawn from annotated objects: class 0 is what has none, class k + 1 that of objects of class k."""

    annotations: Annotations
    num_classes: int
    """With the background."""

    @property
    def coding(self) -> Coding:
        return Coding(self.num_classes)

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> ClassMask:
        width, height = self.annotations.sizes_wh[index].tolist()
        try:
            return drawn(self.annotations[index], height, width)
        except InputError as error:
            raise BadMask(self.name(index), str(error)) from None

    def values(self, index: int) -> NDArray[np.uint8]:
        return self[index]

    def name(self, index: int) -> str:
        return f"the objects of image {self.annotations.image_ids[index]}"

    def select(self, chosen: NDArray[np.bool_]) -> "ObjectMasks":
        return ObjectMasks(self.annotations.select(chosen), self.num_classes)


def drawn(objects: Objects, height: int, width: int) -> ClassMask:
    """The classes of a picture's pixels from its objects, the smaller above the larger.

    Crowds, and the boxes of objects without mask, hold the class and others: they are IGNORED where no object is known.
    """
    mask_HW = np.zeros((height, width), np.uint8)
    segmentations = objects.segmentations or (None,) * len(objects)
    vague = np.array([crowd or not each for crowd, each in zip(objects.crowd, segmentations, strict=True)], np.bool_)
    masks = {}
    for k, segmentation in enumerate(segmentations):
        masks[k] = mask_of(segmentation, height, width) if segmentation else box_mask(objects.boxes[k], height, width)
    for k in sorted(masks, key=lambda k: (not vague[k], -int(masks[k].sum()), k)):
        mask_HW[masks[k]] = IGNORE_INDEX if vague[k] else objects.labels[k] + 1
    return mask_HW


def box_mask(box: NDArray[np.float32], height: int, width: int) -> NDArray[np.bool_]:
    """All pixels that a box x1, y1, x2, y2 touches."""
    mask_HW = np.zeros((height, width), np.bool_)
    left, top = np.floor(box[:2]).clip(0).astype(int)
    right, bottom = np.ceil(box[2:]).clip(0).astype(int)
    mask_HW[top:bottom, left:right] = True
    return mask_HW


def read_values(content: bytes, *, name: str | Path) -> NDArray[np.uint8]:
    """The values (height, width) of a mask's file: grey levels or indices into a palette, as they are saved.

    Black and white in one bit is 0 and 1.

    Raises:
        BadMask: it is no image, damaged, in colours, in a format that changes values, or has values above 255.
    """
    try:
        opened: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        with opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{opened.width}x{opened.height}")
            opened.load()
            file_format, image = opened.format or "", upright(opened)
    except UNREADABLE as error:
        raise BadMask(name, reason(error)) from None
    if file_format not in LOSSLESS:
        raise BadMask(name, f"a mask in {file_format} does not keep its values; save it as PNG")
    if image.mode in ("1", "L", "P"):
        return np.asarray(image).astype(np.uint8) // spread_of(content)
    if image.mode.startswith("I"):
        return narrow(np.asarray(image), name=name)
    raise BadMask(
        name,
        f"is in colours ({image.mode}), such as {image.getpixel((0, 0))}; expected one channel of class indices",
        kind="mask_in_colours",
    )


def spread_of(content: bytes) -> int:
    """By how much Pillow multiplies the values of a grey PNG of 2 or 4 bits, so that the highest becomes 255."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return 1
    bits, colour_type = content[24], content[25]
    return {2: 85, 4: 17}.get(bits, 1) if colour_type == 0 else 1


def narrow(values: NDArray[Any], *, name: str | Path) -> NDArray[np.uint8]:
    """Values of 16 or 32 bits as bytes."""
    if values.min() < 0 or values.max() > 255:
        worst = values.max() if values.max() > 255 else values.min()
        raise BadMask(name, f"has the value {worst}; a mask's values are 0 to 255", kind="value_out_of_range")
    return values.astype(np.uint8)
