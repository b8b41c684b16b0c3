"""The operators of ML programs, in PyTorch, each written from its published definition (Core ML's MIL reference).

Floating-point values are computed in fp32 from operands that have their declared precision already; whoever calls
rounds the result to the type that the program declares for it. Integers and texts are operands, such as strides.
"""

from collections.abc import Callable, Sequence
from math import ceil, floor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nextvit.errors import InputError

Operator = Callable[..., Tensor]


def conv(
    *,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """2D convolution (N, in, H, W), with padding given before and after each axis."""
    if x.ndim != 4:
        raise InputError(f"conv of {x.ndim - 2} axes is not known here")
    padded = functional.pad(x, padding(pad_type, pad))
    return functional.conv2d(
        padded,
        weight,
        bias,
        stride=integers(strides, (1, 1)),
        dilation=integers(dilations, (1, 1)),
        groups=1 if groups is None else int(groups),
    )


def padding(pad_type: str, pad: Tensor | None) -> tuple[int, ...]:
    """What goes before and after each spatial axis, in PyTorch's order: the last axis first."""
    if pad_type == "valid":
        return (0,) * 4
    if pad_type != "custom":
        raise InputError(f"padding of the kind {pad_type!r} is not known here")
    given = integers(pad, ())
    pairs = [given[start : start + 2] for start in range(0, len(given), 2)]
    return tuple(side for pair in reversed(pairs) for side in pair)


def avg_pool(
    *,
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str,
    pad: Tensor | None = None,
    exclude_padding_from_average: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    """Average pooling over 1 or 2 axes.

    With `ceil_mode` the last window may hang over the edge; what hangs over counts as padding, so whether it is in the
    divisor is `exclude_padding_from_average`'s to say.
    """
    kernel = integers(kernel_sizes, ())
    steps = integers(strides, (1,) * len(kernel))
    around = (0,) * 2 * len(kernel) if pad_type == "valid" else integers(pad, (0,) * 2 * len(kernel))
    if pad_type not in ("valid", "custom"):
        raise InputError(f"padding of the kind {pad_type!r} is not known here")
    counted = torch.ones_like(x)
    for axis, (size, step) in enumerate(zip(kernel, steps, strict=True)):
        before, after = around[2 * axis : 2 * axis + 2]
        length = x.shape[2 + axis]
        positions = windows(length, before, after, size, step, rounding_up=truth(ceil_mode))
        reach = max(0, (positions - 1) * step + size - before - length)
        x, counted = (summed(each, 2 + axis, before, reach, size, step, positions) for each in (x, counted))
    divisor = counted if truth(exclude_padding_from_average) else torch.full_like(counted, float(np.prod(kernel)))
    return x / divisor


def windows(length: int, before: int, after: int, size: int, step: int, *, rounding_up: bool) -> int:
    """How many windows fit along an axis."""
    if not rounding_up:
        return (length + before + after - size) // step + 1
    positions = ceil((length + before + after - size) / step) + 1
    starts_behind = (positions - 1) * step >= length + before and before + after > 0
    return positions - starts_behind


def summed(x: Tensor, axis: int, before: int, after: int, size: int, step: int, positions: int) -> Tensor:
    """Sums of windows along one axis, over zeros around it."""

    def zeros(count: int) -> Tensor:
        return x.new_zeros([count if each == axis else side for each, side in enumerate(x.shape)])

    padded = torch.cat([zeros(before), x, zeros(after)], dim=axis)
    return padded.unfold(axis, size, step).narrow(axis, 0, positions).sum(dim=-1)


def linear(*, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = x @ weight.T
    return product if bias is None else product + bias


def matmul(*, x: Tensor, y: Tensor, transpose_x: Tensor | None = None, transpose_y: Tensor | None = None) -> Tensor:
    return (x.mT if truth(transpose_x) else x) @ (y.mT if truth(transpose_y) else y)


def softmax(*, x: Tensor, axis: Tensor) -> Tensor:
    shifted = torch.exp(x - x.amax(dim=int(axis), keepdim=True))
    return shifted / shifted.sum(dim=int(axis), keepdim=True)


def reduce_mean(*, x: Tensor, axes: Tensor, keep_dims: Tensor) -> Tensor:
    return x.mean(dim=integers(axes, ()), keepdim=truth(keep_dims))


def transpose(*, x: Tensor, perm: Tensor) -> Tensor:
    return x.permute(integers(perm, ()))


def reshape(*, x: Tensor, shape: Tensor) -> Tensor:
    """Row-major; 0 keeps an axis of `x`, -1 is what is left."""
    wanted = integers(shape, ())
    return x.reshape([x.shape[axis] if side == 0 else side for axis, side in enumerate(wanted)])


def concat(*, values: Sequence[Tensor], axis: Tensor, interleave: Tensor | None = None) -> Tensor:
    if truth(interleave):
        raise InputError("concat with interleaved values is not known here")
    return torch.cat([torch.atleast_1d(each) for each in values], dim=int(axis))  # numbers make a list


def pad(*, x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor | None = None) -> Tensor:
    """Padding of the last axes: as many as there are pairs."""
    if mode != "replicate":
        raise InputError(f"pad of the kind {mode!r} is not known here")
    given = integers(pad, ())
    first = x.ndim - len(given) // 2
    for axis in range(first, x.ndim):
        before, after = given[2 * (axis - first) : 2 * (axis - first) + 2]
        last = x.shape[axis] - 1
        taken = torch.arange(-before, last + 1 + after).clamp(0, last)
        x = x.index_select(axis, taken)
    return x


def upsample_nearest_neighbor(*, x: Tensor, scale_factor_height: Tensor, scale_factor_width: Tensor) -> Tensor:
    """Each value of the last two axes so many times; which one a fraction of a place takes is not published."""
    for axis, factor in ((-2, float(scale_factor_height)), (-1, float(scale_factor_width))):
        if factor != int(factor):
            raise InputError(f"upsample_nearest_neighbor by {factor:g} is not known here")
        x = x.repeat_interleave(int(factor), dim=axis)
    return x


def upsample_bilinear(
    *, x: Tensor, scale_factor_height: Tensor, scale_factor_width: Tensor, align_corners: Tensor | None = None
) -> Tensor:
    """Linear interpolation along the last two axes. The factors say how long the axes become, rounded down; the spacing
    follows from the two lengths."""
    if align_corners is None or truth(align_corners):
        raise InputError("upsample_bilinear with aligned corners is not known here")
    for axis, factor in ((-2, float(scale_factor_height)), (-1, float(scale_factor_width))):
        x = interpolated(x, axis, floor(x.shape[axis] * factor))
    return x


def interpolated(x: Tensor, axis: int, size: int) -> Tensor:
    """One axis at `size` evenly spaced places, the middles of as many parts."""
    length = x.shape[axis]
    places = ((torch.arange(size, dtype=torch.float64) + 0.5) * (length / size) - 0.5).clamp(0, length - 1)
    below = places.long()
    above = (below + 1).clamp(max=length - 1)
    share = (places - below).to(x.dtype).reshape(-1, *[1] * (-1 - axis))
    return x.index_select(axis, below) * (1 - share) + x.index_select(axis, above) * share


def reduce_argmax(*, x: Tensor, axis: Tensor, keep_dims: Tensor) -> Tensor:
    return x.argmax(dim=int(axis), keepdim=truth(keep_dims))


def slice_by_index(
    *,
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    **options: Tensor,
) -> Tensor:
    """A part of each axis; masked, from its start, or to its end."""
    plain = {"stride": 1, "squeeze_mask": 0}
    if any(name not in plain or bool((value != plain[name]).any()) for name, value in options.items()):
        raise InputError("slice_by_index with steps or fewer axes is not known here")
    starts, ends = integers(begin, ()), integers(end, ())
    for axis in range(x.ndim):
        start = 0 if masked(begin_mask, axis) else starts[axis]
        stop = x.shape[axis] if masked(end_mask, axis) else ends[axis]
        x = x.narrow(axis, start, stop - start)
    return x


def masked(mask: Tensor | None, axis: int) -> bool:
    return mask is not None and bool(mask[axis])


def gather(*, x: Tensor, indices: Tensor, axis: Tensor, **options: Tensor) -> Tensor:
    """One value of a list, such as one side of a shape."""
    plain = all(name in ("batch_dims", "validate_indices") and not truth(value) for name, value in options.items())
    if x.ndim != 1 or not plain:
        raise InputError("gather from more than a list is not known here")
    return x[indices.long()]


def shape(*, x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def cast(*, x: Tensor, dtype: str) -> Tensor:
    """What it becomes is the declared type of the result, which whoever calls applies."""
    if dtype not in ("fp16", "fp32", "int32"):
        raise InputError(f"cast to {dtype!r} is not known here")
    return x.trunc() if dtype == "int32" and x.is_floating_point() else x


def floor_div(*, x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="floor")


def constexpr_affine_dequantize(*, quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor) -> Tensor:
    """Linear 8-bit weights: scale * (data - zero point), with one scale in all or one for each slice along an axis."""
    along = [-1 if each == int(axis) % quantized_data.ndim else 1 for each in range(quantized_data.ndim)]
    offset, factor = (each.float().reshape(along) if each.ndim else each.float() for each in (zero_point, scale))
    return factor * (quantized_data.float() - offset)


def constexpr_lut_to_dense(*, indices: Tensor, lut: Tensor, shape: Tensor) -> Tensor:
    """Weights from a palette: indices of log2(palette) bits, packed from the lowest bit of the first byte on."""
    bits_each = len(lut).bit_length() - 1
    sides = integers(shape, ())
    bits = np.unpackbits(indices.numpy(), bitorder="little")[: int(np.prod(sides)) * bits_each]
    places = (bits.reshape(-1, bits_each) << np.arange(bits_each)).sum(axis=1)
    return lut[torch.from_numpy(places)].reshape(sides)


OPERATORS: dict[str, Operator] = {
    "add": lambda *, x, y: x + y,
    "avg_pool": avg_pool,
    "cast": cast,
    "concat": concat,
    "constexpr_affine_dequantize": constexpr_affine_dequantize,
    "constexpr_lut_to_dense": constexpr_lut_to_dense,
    "conv": conv,
    "floor_div": floor_div,
    "gather": gather,
    "linear": linear,
    "matmul": matmul,
    "mul": lambda *, x, y: x * y,
    "pad": pad,
    "real_div": lambda *, x, y: x / y,
    "reduce_argmax": reduce_argmax,
    "reduce_mean": reduce_mean,
    "relu": lambda *, x: x.clamp(min=0),
    "reshape": reshape,
    "shape": shape,
    "slice_by_index": slice_by_index,
    "softmax": softmax,
    "sqrt": lambda *, x: x.sqrt(),
    "sub": lambda *, x, y: x - y,
    "transpose": transpose,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}


def integers(given: Tensor | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """A list of integers."""
    return default if given is None else tuple(int(each) for each in given)


def truth(given: Any) -> bool:
    return given is not None and bool(given)
