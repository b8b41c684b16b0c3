"""Resize an upright image to the network's input: the one definition for evaluation, proof and serving.

The result is uint8, height x width x RGB; the cast to float and the normalisation are part of the network's graph.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.errors import InputError
from nextvit.image.canvas import pad_to_canvas
from nextvit.image.reading import MAX_PIXELS, DecodeError, Encoded, ImageLike, Pixels, Size, read_image

INPUT_NAME, SIZES_NAME = "images", "sizes"
"""Names of the graph's inputs: the images, and where they are padded the height and width of each on its canvas."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

ResizeName = Literal["crop", "stretch", "pad", "original"]
FORMER_NAMES = {"squash": "stretch", "fit": "pad", "keep": "original"}
"""Names of the layouts in cards and recipes of the first format."""


class TooElongatedError(ValueError):
    """An image that would become huge when its shorter side is scaled to the input's size."""


@dataclass(frozen=True)
class Prepared:
    """One image, preprocessed for the network."""

    pixels: Pixels
    """(height, width, 3), RGB, resized."""
    original: Size
    """Height and width of the upright image before it was resized."""

    @property
    def size(self) -> Size:
        height, width, _ = self.pixels.shape
        return height, width


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image of any size becomes the network's input."""

    image_size: Size
    """Height and width of the network's input; with "pad" the limits of the shorter and the longer side of a resized
    image."""
    resize: ResizeName = "crop"
    """"crop": keep the aspect ratio, fill the input and cut what is beyond it; "stretch": scale each side to the
    input's; "pad": keep the aspect ratio and the whole image, as large as the limits allow, padded to a canvas whose
    sides are multiples of 32 px; "original": the image's own pixels, one image at a time, for a session that tiles or
    scales it."""
    crop_ratio: float = 1.0
    """With "crop", the fraction of the shorter side that is kept: 0.875 is ImageNet's Resize 256, CenterCrop 224."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Subtracted from each channel, of pixels scaled to 0..1, inside the graph."""
    std: tuple[float, ...] = IMAGENET_STD
    """Each channel is divided by it, inside the graph."""

    def __post_init__(self) -> None:
        if min(self.image_size) < 32:
            raise InputError(
                f"the network's input must be at least 32 px a side, got {self.image_size[1]}x{self.image_size[0]} "
                "(smaller images are enlarged to it)"
            )
        if math.prod(self.image_size) > MAX_PIXELS:
            raise InputError(f"the network's input may have {MAX_PIXELS:,} pixels at most, got {self.image_size}")
        if not 0.5 <= self.crop_ratio <= 1:
            raise InputError(f"crop_ratio must be between 0.5 and 1, got {self.crop_ratio}")
        self.layout.check(self.image_size)

    @property
    def layout(self) -> "Layout":
        """The implementation of `resize`."""
        return LAYOUTS[self.resize]

    @property
    def padded(self) -> bool:
        """Whether images are padded to a canvas, so that the graph takes the size of each, too."""
        return self.layout.padded

    @property
    def one_size(self) -> bool:
        """Whether every image is resized to `image_size`."""
        return self.layout.one_size

    @property
    def max_batch(self) -> int | None:
        """Largest number of images in a batch; None: any number."""
        return self.layout.max_batch

    @property
    def words(self) -> str:
        """The size in words, width first."""
        height, width = self.image_size
        return f"at most {width}x{height} px, either way up" if self.padded else f"{width}x{height} px"

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs of the graph, in its order."""
        return (INPUT_NAME, SIZES_NAME) if self.padded else (INPUT_NAME,)

    def __call__(self, image: ImageLike) -> Pixels:
        """Read (where it is a path) and resize: (height, width, 3), RGB."""
        return self.prepare(image).pixels

    def prepare(self, image: ImageLike) -> Prepared:
        """Read and resize an image, and keep its original size.

        Raises:
            DecodeError: as `read_image`, or the image is too elongated to be resized.
            InputError: as `read_image`.
        """
        try:
            read = read_image(image)
            return Prepared(resize_image(read, self), (read.height, read.width))
        except TooElongatedError as error:
            source = image.name if isinstance(image, Encoded) else image if isinstance(image, str | Path) else "image"
            raise DecodeError(f"{source}: {error}") from None

    def network_inputs(self, pixels: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """The graph's inputs for at least one resized image: "images" (N, H, W, 3) uint8, and for padded inputs "sizes"
        (N, 2) int64, height and width."""
        return self.layout.network_inputs(pixels)


class Layout(Protocol):
    """How an image is fitted into the network's input."""

    @property
    def padded(self) -> bool: ...
    @property
    def one_size(self) -> bool: ...
    @property
    def max_batch(self) -> int | None: ...

    def check(self, image_size: Size) -> None:
        """Raise InputError where an input cannot have this size."""
        ...

    def resize(self, image: Image.Image, spec: Preprocess) -> Pixels:
        """An RGB image as the network takes it: (height, width, 3)."""
        ...

    def network_inputs(self, pixels: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """Resized images as the inputs of the graph."""
        ...


class OneSize:
    """Common base of the layouts that resize every image to the size of the input."""

    padded, one_size, max_batch = False, True, None

    def check(self, image_size: Size) -> None:
        """Accept any size."""

    def network_inputs(self, pixels: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        return {INPUT_NAME: np.stack(pixels)}


class Crop(OneSize):
    """Keep the aspect ratio, fill the input, cut what is beyond it; bicubic with antialiasing."""

    def resize(self, image: Image.Image, spec: Preprocess) -> Pixels:
        height, width = spec.image_size
        scaled_height, scaled_width = size_before_crop(image.size, spec)
        if scaled_height * scaled_width > MAX_PIXELS:
            raise TooElongatedError(f"too elongated, {image.width}x{image.height}; crop it, or use data.resize stretch")
        resized = image.resize((scaled_width, scaled_height), Image.Resampling.BICUBIC)
        left, top = round((scaled_width - width) / 2), round((scaled_height - height) / 2)
        return np.array(resized.crop((left, top, left + width, top + height)))


class Stretch(OneSize):
    """Scale each side to the input's; bicubic with antialiasing."""

    def resize(self, image: Image.Image, spec: Preprocess) -> Pixels:
        height, width = spec.image_size
        return np.array(image.resize((width, height), Image.Resampling.BICUBIC))


class Pad:
    """Keep the aspect ratio and the whole image, and pad to a canvas. Bilinear: for enlarged images, as COCO's are,
    this gives the same pixels as the preprocessing of the published detectors."""

    padded, one_size, max_batch = True, False, None

    def check(self, image_size: Size) -> None:
        if image_size[0] > image_size[1]:
            raise InputError(
                f"with resize pad, image_size limits the shorter and then the longer side, got {image_size}"
            )

    def resize(self, image: Image.Image, spec: Preprocess) -> Pixels:
        height, width = size_within((image.height, image.width), spec.image_size)
        return np.array(image.resize((width, height), Image.Resampling.BILINEAR))

    def network_inputs(self, pixels: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        images_NHWC, sizes_N2 = pad_to_canvas(pixels)
        return {INPUT_NAME: images_NHWC, SIZES_NAME: sizes_N2}


class Original:
    """The image's own pixels, one image at a time."""

    padded, one_size, max_batch = False, False, 1

    def check(self, image_size: Size) -> None:
        """Accept any size: it does not apply to the image itself."""

    def resize(self, image: Image.Image, spec: Preprocess) -> Pixels:
        return np.asarray(image)

    def network_inputs(self, pixels: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        [image_HWC] = pixels
        return {INPUT_NAME: image_HWC[None]}


LAYOUTS: dict[ResizeName, Layout] = {"crop": Crop(), "stretch": Stretch(), "pad": Pad(), "original": Original()}


def resize_image(image: Image.Image, spec: Preprocess) -> Pixels:
    """Resize an RGB image for the network: (height, width, 3).

    Raises:
        TooElongatedError: the image would become larger than `MAX_PIXELS` before it is cropped.
    """
    return spec.layout.resize(image, spec)


def size_within(size: Size, limits: tuple[float, float]) -> Size:
    """The largest size of the same aspect ratio whose shorter and longer side are within the limits, at least one pixel
    each; height first or width first, like `size`."""
    scale = min(limits[0] / min(size), limits[1] / max(size))
    height, width = (max(1, int(side * scale + 0.5)) for side in size)
    return height, width


def size_before_crop(size_wh: tuple[int, int], spec: Preprocess) -> Size:
    """Height and width to scale to before cropping: the relatively shorter side becomes exactly input / crop_ratio."""
    height, width = spec.image_size
    target_height, target_width = math.floor(height / spec.crop_ratio), math.floor(width / spec.crop_ratio)
    image_width, image_height = size_wh
    if image_width * target_height <= image_height * target_width:
        return max(target_height, int(target_width * image_height / image_width)), target_width
    return target_height, max(target_width, int(target_height * image_width / image_height))
