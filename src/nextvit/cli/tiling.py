"""How a segmentation model tiles and scales images, as it is asked for on the command line."""

from typing import TYPE_CHECKING

from nextvit.errors import InputError

if TYPE_CHECKING:
    from nextvit.runtime.tiled_session import Tiling


def views_of(windows: int | None, scales: str | None, flip: bool) -> "Tiling | None":
    """What --windows, --scales and --flip ask for; None: the whole image, once."""
    if windows is None and scales is None and not flip:
        return None
    from nextvit.runtime.tiled_session import Tiling

    return Tiling(window_px=windows, scales=numbers(scales) if scales is not None else (1.0,), flip=flip)


def numbers(text: str) -> tuple[float, ...]:
    """ "0.5,1" -> (0.5, 1.0)"""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--scales takes numbers with commas, such as 0.5,1,1.5; got {text!r}") from None
