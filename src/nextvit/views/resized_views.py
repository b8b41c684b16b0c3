"""Views on the device at another size, as a second network or a smaller step needs them."""

from torch import Tensor
from torch.nn.functional import interpolate


def resize_views(pixels_NCHW: Tensor, image_size: tuple[int, int]) -> Tensor:
    """The same views (N, 3, H, W), float, at another height and width; smoothed where they become smaller."""
    if tuple(pixels_NCHW.shape[2:]) == image_size:
        return pixels_NCHW
    return interpolate(pixels_NCHW, size=image_size, mode="bilinear", antialias=True)
