"""Masks from what annotations say of them."""

from typing import Any

import numpy as np
from faster_coco_eval import mask as coco_mask
from numpy.typing import NDArray

from nextvit.data.objects import Segmentation
from nextvit.errors import InputError


def mask_of(segmentation: Segmentation, height: int, width: int) -> NDArray[np.bool_]:
    """The mask (height, width) of polygons or run lengths, as COCO's own tools draw it; empty where there is none.

    Raises:
        InputError: run lengths are of another size.
    """
    if not segmentation:
        return np.zeros((height, width), dtype=bool)
    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise InputError(f"its run lengths are of size {segmentation['size']}, the picture is {[height, width]}")
        runs: Any = segmentation
        if isinstance(segmentation["counts"], list):
            runs = coco_mask.frPyObjects(segmentation, height, width)
    else:
        runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))  # pyright: ignore[reportArgumentType]
    return coco_mask.decode(runs).astype(bool)
