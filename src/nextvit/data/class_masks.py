"""Class masks: the class of each pixel of an image, from mask files with class indices or from annotated objects."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nextvit.data.annotations import Annotations
from nextvit.data.object_masks import MaskPart, rasterize_part
from nextvit.data.objects import Objects
from nextvit.data.samples import RaggedArray, Sample, Samples
from nextvit.errors import InputError
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.netpbm import is_scaled_netpbm
from nextvit.image.reading import UNREADABLE, DecodeError, open_image, read_content, reason, upright

ClassMask = NDArray[np.uint8]
"""(height, width), the class index of each pixel, or IGNORE_INDEX."""

MAX_CLASSES = 255
LOSSLESS = ("PNG", "BMP", "TIFF", "GIF", "PPM")
"""Formats that keep the values that were saved."""
MAX_DRAWN_PX = 2**31
"""Pixels of the masks of all objects of one image, each in its own rectangle: more would take too long."""
BACKGROUND = "background"
"""The class of pixels without an object, in masks that are made from objects."""


class BadMask(InputError):
    """A mask that cannot be used; `kind` is that of the finding."""

    def __init__(self, name: str | Path, problem: str, *, kind: str = "bad_mask") -> None:
        super().__init__(f"{name}: {problem}")
        self.name, self.problem, self.kind = name, problem, kind


@dataclass(frozen=True)
class MaskEncoding:
    """The meaning of values in mask files: class indices from 0, and 255 for unlabelled pixels."""

    num_classes: int
    zero_is_ignored: bool = False
    """As in ADE20K: 0 means unlabelled, and classes count from 1."""
    class_of: tuple[int, ...] = ()
    """For each class of the files its index among a model's; empty: the same."""

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """(256,), the class of each value, or IGNORE_INDEX; entries of unknown values have no meaning."""
        table = np.arange(256).astype(np.uint8)
        if self.zero_is_ignored:
            table[1:] -= 1
            table[0] = IGNORE_INDEX
        table[IGNORE_INDEX] = IGNORE_INDEX
        if self.class_of:
            first = int(self.zero_is_ignored)
            table[first : first + self.num_classes] = self.class_of
        return table

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(256,), which values are valid."""
        first, values = int(self.zero_is_ignored), np.arange(256)
        is_class = (first <= values) & (values < first + self.num_classes)
        return is_class | (values == IGNORE_INDEX) | (values < first)

    def classes(self, values_HW: NDArray[np.uint8], *, name: str | Path) -> ClassMask:
        """The classes of a mask's values.

        Raises:
            BadMask: a value is not valid.
        """
        is_unknown = ~self.known[values_HW]
        if is_unknown.any():
            first, last = int(self.zero_is_ignored), int(self.zero_is_ignored) + self.num_classes - 1
            raise BadMask(
                name,
                f"has the value {values_HW[is_unknown][0]}; expected {first} to {last} "
                f"(the {self.num_classes} classes) or 255",
                kind="value_out_of_range",
            )
        return self.table[values_HW]


class Masks(Protocol):
    """The masks of a split, in the order of its samples."""

    @property
    def encoding(self) -> MaskEncoding: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ClassMask:
        """The classes of an image's pixels; BadMask where the mask cannot be used."""
        ...

    def values(self, index: int) -> NDArray[np.uint8]:
        """The values (height, width) of a mask as they are saved."""
        ...

    def name(self, index: int) -> str:
        """The name of a mask in messages."""
        ...

    def select(self, chosen: NDArray[np.bool_]) -> "Masks":
        """The masks where `chosen`, (N,), is true."""
        ...

    def map_classes(self, class_of: Sequence[int]) -> "Masks":
        """The same masks with class `class_of[c]` instead of c."""
        ...


@dataclass(frozen=True)
class MaskFiles:
    """Masks in files, one for each image."""

    names: RaggedArray
    """The bytes of the paths; `nextvit.data.samples` says why they are packed."""
    encoding: MaskEncoding

    @classmethod
    def pack(cls, paths: Sequence[str], encoding: MaskEncoding) -> "MaskFiles":
        """Pack the paths of mask files."""
        names = [os.fsencode(path) for path in paths]
        offsets = np.cumsum([0, *map(len, names)], dtype=np.int64)
        return cls(RaggedArray(np.frombuffer(b"".join(names), np.uint8), offsets), encoding)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> ClassMask:
        return self.encoding.classes(self.values(index), name=self.name(index))

    def values(self, index: int) -> NDArray[np.uint8]:
        name = self.name(index)
        try:
            content = read_content(Path(name))
        except DecodeError as error:
            raise BadMask(name, str(error).removeprefix(f"{name}: ")) from None
        return read_mask_values(content, name=name)

    def name(self, index: int) -> str:
        return os.fsdecode(self.names[index].tobytes())

    def select(self, chosen: NDArray[np.bool_]) -> "MaskFiles":
        return MaskFiles(self.names.select(chosen), self.encoding)

    def map_classes(self, class_of: Sequence[int]) -> "MaskFiles":
        return MaskFiles(self.names, replace(self.encoding, class_of=tuple(class_of)))


@dataclass(frozen=True)
class ObjectMasks:
    """Masks made from annotated objects: class 0 is the background, and class k + 1 is of objects of class k."""

    annotations: Annotations
    samples: Samples
    """The images, whose sizes are compared before anything is drawn."""
    encoding: MaskEncoding
    """Of the classes, including the background."""

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> ClassMask:
        return self.encoding.classes(self.values(index), name=self.name(index))

    def values(self, index: int) -> NDArray[np.uint8]:
        width, height = self.annotations.sizes_wh[index].tolist()
        try:
            check_annotated_size(self.samples[index], width, height)
            return rasterize_objects(self.annotations[index], height, width)
        except BadMask:
            raise
        except InputError as error:
            raise BadMask(self.name(index), str(error)) from None

    def name(self, index: int) -> str:
        return f"the objects of image {self.annotations.image_ids[index]}"

    def select(self, chosen: NDArray[np.bool_]) -> "ObjectMasks":
        return ObjectMasks(self.annotations.select(chosen), self.samples.select(chosen), self.encoding)

    def map_classes(self, class_of: Sequence[int]) -> "ObjectMasks":
        return ObjectMasks(self.annotations, self.samples, replace(self.encoding, class_of=tuple(class_of)))


def check_annotated_size(sample: Sample, width: int, height: int) -> None:
    """Compare the size in the annotations with that in the image's header, either way up.

    Raises:
        BadMask: they differ, or the header cannot be read; its kind says which.
    """
    try:
        with open_image(sample.path) as image:
            size = image.size
    except UNREADABLE as error:
        raise BadMask(sample.path, reason(error), kind="unreadable") from None
    if sorted(size) != sorted((width, height)):
        raise BadMask(sample.path, f"is {size[0]}x{size[1]}, annotated as {width}x{height}", kind="mask_size_differs")


def rasterize_objects(objects: Objects, height: int, width: int) -> ClassMask:
    """The classes of an image's pixels from its objects, smaller ones in front of larger ones.

    Crowds, and boxes of objects without a mask, contain also pixels of other classes: they become IGNORE_INDEX where
    there is no other object.

    Raises:
        InputError: a segmentation cannot be drawn, or all together have too many pixels.
    """
    mask_HW = np.zeros((height, width), np.uint8)
    segmentations = objects.segmentations or (None,) * len(objects)
    is_vague = [bool(crowd or not each) for crowd, each in zip(objects.crowd, segmentations, strict=True)]
    parts: list[PackedPart] = []
    pixels = 0
    for k, segmentation in enumerate(segmentations):
        part = (
            rasterize_part(segmentation, height, width)
            if segmentation
            else rasterize_box(objects.boxes[k], height, width)
        )
        pixels += part.mask_HW.size
        if pixels > MAX_DRAWN_PX:
            raise InputError(f"its objects' masks have more than {MAX_DRAWN_PX:,} pixels together")
        parts.append(PackedPart.pack(part))
    for k in sorted(range(len(parts)), key=lambda k: (not is_vague[k], -parts[k].area, k)):
        part = parts[k].unpack()
        mask_HW[part.region][part.mask_HW] = IGNORE_INDEX if is_vague[k] else objects.labels[k] + 1
    return mask_HW


@dataclass(frozen=True)
class PackedPart:
    """A `MaskPart` in one bit a pixel: all of an image are kept until they are sorted by area."""

    left: int
    top: int
    shape: tuple[int, int]
    bits: NDArray[np.uint8]
    area: int
    """Pixels of the object."""

    @classmethod
    def pack(cls, part: MaskPart) -> "PackedPart":
        """Pack a part."""
        height, width = part.mask_HW.shape
        return cls(part.left, part.top, (height, width), np.packbits(part.mask_HW), int(part.mask_HW.sum()))

    def unpack(self) -> MaskPart:
        """The part as it was."""
        height, width = self.shape
        flat = np.unpackbits(self.bits, count=height * width).view(np.bool_)
        return MaskPart(self.left, self.top, flat.reshape(height, width))


def rasterize_box(box: NDArray[np.float32], height: int, width: int) -> MaskPart:
    """All pixels of an image that a box x1, y1, x2, y2 touches."""
    left, top = np.floor(box[:2]).clip(0, (width, height)).astype(int).tolist()
    right, bottom = np.ceil(box[2:]).clip((left, top), (width, height)).astype(int).tolist()
    return MaskPart(left, top, np.ones((bottom - top, right - left), np.bool_))


def read_mask_values(content: bytes, *, name: str | Path) -> NDArray[np.uint8]:
    """The values (height, width) of a mask file: grey levels or palette indices as they are saved; 0 and 1 for 1 bit.

    Args:
        content: the file's bytes.
        name: used in messages.

    Raises:
        BadMask: the file is not an image, damaged, in colours, in a lossy format, or has values above 255.
    """
    try:
        with open_image(io.BytesIO(content)) as opened:
            if is_scaled_netpbm(opened):
                raise ValueError("a PNM whose largest value is not 255 is scaled when it is read; save it as PNG")
            opened.load()
            file_format, image = opened.format or "", upright(opened)
    except UNREADABLE as error:
        raise BadMask(name, reason(error)) from None
    if file_format not in LOSSLESS:
        raise BadMask(name, f"a mask in {file_format} does not keep its values; save it as PNG")
    if image.mode in ("1", "L", "P"):
        return np.asarray(image).astype(np.uint8) // pillow_value_scale(content)
    if image.mode.startswith("I"):
        return to_uint8(np.asarray(image), name=name)
    raise BadMask(
        name,
        f"is in colours ({image.mode}), such as {image.getpixel((0, 0))}; expected one channel of class indices",
        kind="mask_in_colours",
    )


def pillow_value_scale(content: bytes) -> int:
    """The factor by which Pillow scales the values of a grey PNG of 2 or 4 bits, so that the maximum becomes 255."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return 1
    bits, colour_type = content[24], content[25]
    return {2: 85, 4: 17}.get(bits, 1) if colour_type == 0 else 1


def to_uint8(values: NDArray[Any], *, name: str | Path) -> NDArray[np.uint8]:
    """Values of 16 or 32 bits as bytes; BadMask where one does not fit."""
    if values.min() < 0 or values.max() > 255:
        worst = values.max() if values.max() > 255 else values.min()
        raise BadMask(name, f"has the value {worst}; a mask's values are 0 to 255", kind="value_out_of_range")
    return values.astype(np.uint8)
