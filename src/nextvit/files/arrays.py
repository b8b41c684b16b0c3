"""npz files that anybody may have written -> named arrays, without pickle and with a limit on what they unpack to."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.errors import InputError, first_line, shorten
from nextvit.files.regular import require_regular

Arrays = dict[str, NDArray[Any]]
NUMBERS_AND_TEXTS = "biufU"
"""Kinds of NumPy types: booleans, integers, floats and texts."""


def read_arrays(path: Path, *, max_bytes: int) -> Arrays:
    """The arrays of an npz file, by name.

    Args:
        max_bytes: the limit of the file and of all its arrays together.

    Raises:
        InputError: there is no such file, it is damaged, would unpack to more, or holds something else than numbers
            and texts.
    """
    try:
        require_regular(path, max_bytes=max_bytes)
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > max_bytes:
            raise ValueError(f"unpacks to {size:,} bytes, more than {max_bytes:,}")
        with np.load(path, allow_pickle=False) as stored:
            arrays: Arrays = {name: np.asarray(array) for name, array in stored.items()}
        if other := [name for name, array in arrays.items() if array.dtype.kind not in NUMBERS_AND_TEXTS]:
            raise ValueError(f"{shorten(repr(other[0]))} has values of another kind than numbers and texts")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except Exception as error:  # noqa: BLE001 (what damaged archives and headers raise is listed nowhere)
        raise InputError(f"{path}: damaged ({shorten(first_line(error))})") from None
    return arrays


def require_arrays(arrays: Arrays, expected: dict[str, tuple[str, tuple[int | None, ...]]], *, what: Path) -> None:
    """Check the kinds and shapes of arrays that are used.

    Args:
        expected: of each array the kinds of its values, such as "iu" for integers, and its shape; None: any size.
        what: the file, for messages.

    Raises:
        InputError: an array is missing, or has another kind or shape.
    """
    for name, (kinds, shape) in expected.items():
        if name not in arrays:
            raise InputError(f"{what}: damaged (it lacks {name})")
        array = arrays[name]
        fits = array.ndim == len(shape) and all(
            size in (None, got) for size, got in zip(shape, array.shape, strict=True)
        )
        if array.dtype.kind not in kinds or not fits:
            raise InputError(f"{what}: damaged ({name} is {array.dtype} of shape {array.shape})")
