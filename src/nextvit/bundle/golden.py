"""Golden examples of a bundle: a few inputs and PyTorch's outputs for them, in `golden.npz`."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.manifest import GOLDEN, Arrays
from nextvit.errors import InputError
from nextvit.files.arrays import read_arrays
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME, Prepared

MAX_GOLDEN_BYTES = 2**28
"""Limit of the unpacked size; `export` writes far less."""


@dataclass(frozen=True)
class Golden:
    """A few inputs (N, H, W, 3) of one size and the outputs that PyTorch gives for them, by name."""

    images: NDArray[np.uint8]
    outputs: Arrays
    sizes: NDArray[np.int64] | None = None
    """Height and width (N, 2) of each image on its canvas, for models that take them as an input."""

    @property
    def inputs(self) -> Arrays:
        """The inputs of the graph, by name."""
        return {INPUT_NAME: self.images, **({} if self.sizes is None else {SIZES_NAME: self.sizes})}

    @property
    def prepared(self) -> list[Prepared]:
        """The images without padding, as if the original images had this size."""
        whole: list[list[int]] = [list(self.images.shape[1:3])]
        sizes: list[list[int]] = whole if self.sizes is None else self.sizes.tolist()
        return [
            Prepared(canvas[:height, :width], (height, width))
            for canvas, (height, width) in zip(self.images, cycle(sizes), strict=False)
        ]


def write_golden(folder: Path, examples: Sequence[Golden]) -> None:
    """Write golden examples, those of the card's size first."""
    arrays: Arrays = {}
    for number, each in enumerate(examples):
        arrays |= {f"{number}.{name}": value for name, value in each.inputs.items()}
        arrays |= {f"{number}.output.{name}": value for name, value in each.outputs.items()}
    cast(Any, np.savez_compressed)(folder / GOLDEN, **arrays)  # its signature takes every keyword for an option


def read_golden(path: Path) -> list[Golden]:
    """The golden examples of a bundle, those of the card's size first.

    Raises:
        InputError: the file is damaged, holds something else, or would unpack to more than `MAX_GOLDEN_BYTES`.
    """
    file = path / GOLDEN
    arrays = read_arrays(file, max_bytes=MAX_GOLDEN_BYTES)
    count = len({name.partition(".")[0] for name in arrays})
    missing = [number for number in range(count) if f"{number}.{INPUT_NAME}" not in arrays]
    examples = [
        Golden(
            arrays[f"{number}.{INPUT_NAME}"],
            arrays_with_prefix(f"{number}.output.", arrays),
            arrays.get(f"{number}.{SIZES_NAME}"),
        )
        for number in range(0 if missing else count)
    ]
    if not examples or not all(map(is_golden, examples)):
        raise InputError(f"{file}: damaged (holds something else than images and their outputs)")
    return examples


def is_golden(example: Golden) -> bool:
    """Whether its arrays have the expected types and shapes."""
    images, sizes, outputs = example.images, example.sizes, example.outputs.values()
    is_images = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3 and 0 not in images.shape
    if not is_images:
        return False
    are_sizes = sizes is None or (
        sizes.dtype == np.int64
        and sizes.shape == (len(images), 2)
        and bool((sizes >= 1).all())
        and bool((sizes <= images.shape[1:3]).all())
    )
    return are_sizes and all(
        each.dtype.kind in "fiu" and each.ndim > 0 and each.shape[:1] == images.shape[:1] for each in outputs
    )


def arrays_with_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays whose names start with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
