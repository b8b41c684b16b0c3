"""The classes of an image's pixels, compressed, so that those of a whole split fit into memory."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextvit.image.reading import Size


@dataclass(frozen=True)
class PackedClassMap:
    """The classes of an image's pixels as the network saw it."""

    packed: bytes
    shape: Size
    original: Size
    """Of the image before it was resized."""

    @classmethod
    def pack(cls, classes_HW: NDArray[np.uint8], original: Size) -> "PackedClassMap":
        height, width = classes_HW.shape
        return cls(zlib.compress(classes_HW.tobytes(), level=1), (height, width), original)

    def classes(self) -> NDArray[np.uint8]:
        """The index of the class of each pixel, of `shape`."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.shape)
