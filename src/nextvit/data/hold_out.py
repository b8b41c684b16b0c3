"""Hold out a tenth of the training images if a dataset has no split val."""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextvit.data.samples import Samples

HELD_OUT_FRACTION = 0.1


def hold_out(samples: Samples) -> dict[str, Samples]:
    """Split training samples into train and val."""
    return {split: samples.select(chosen) for split, chosen in hold_out_masks(samples).items()}


def hold_out_masks(samples: Samples) -> dict[str, NDArray[np.bool_]]:
    """Which samples are kept for train and which are held out for val: (N,) each."""
    for_val = np.fromiter(map(is_held_out, samples.names()), np.bool_, len(samples))
    return {"train": ~for_val, "val": for_val}


def is_held_out(path: str | Path) -> bool:
    """Whether a file belongs to the tenth that is held out when there is no `val`."""
    name = os.path.basename(path)  # noqa: PTH119 (10 times faster)
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_FRACTION * 2**32
