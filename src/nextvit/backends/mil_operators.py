"""Operands of an ML program's operator -> its result, in PyTorch, as Core ML's MIL reference defines it.

Floating-point results are computed in fp32 from operands that are already rounded to their declared precision; the
caller rounds each result to its declared type. Integers and strings are operands, too, such as strides and padding
modes.
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
    """2D convolution of (N, in, H, W), with explicit padding before and after each axis."""
    if x.ndim != 4:
        raise InputError(f"conv of {x.ndim - 2} axes is not supported")
    padded = functional.pad(x, to_torch_padding(pad_type, pad))
    return functional.conv2d(
        padded,
        weight,
        bias,
        stride=to_ints(strides, (1, 1)),
        dilation=to_ints(dilations, (1, 1)),
        groups=1 if groups is None else int(groups),
    )


def to_torch_padding(pad_type: str, pad: Tensor | None) -> tuple[int, ...]:
    """The padding before and after each spatial axis, in PyTorch's order: the last axis first."""
    if pad_type == "valid":
        return (0,) * 4
    if pad_type != "custom":
        raise InputError(f"padding of the kind {pad_type!r} is not supported")
    flat = to_ints(pad, ())
    pairs = [flat[start : start + 2] for start in range(0, len(flat), 2)]
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

    With `ceil_mode` the last window may extend beyond the edge. The part beyond it counts as padding, so
    `exclude_padding_from_average` decides whether it is part of the divisor.
    """
    kernel = to_ints(kernel_sizes, ())
    steps = to_ints(strides, (1,) * len(kernel))
    pads = (0,) * 2 * len(kernel) if pad_type == "valid" else to_ints(pad, (0,) * 2 * len(kernel))
    if pad_type not in ("valid", "custom"):
        raise InputError(f"padding of the kind {pad_type!r} is not supported")
    counts = torch.ones_like(x)
    for axis, (size, step) in enumerate(zip(kernel, steps, strict=True)):
        before, after = pads[2 * axis : 2 * axis + 2]
        length = x.shape[2 + axis]
        positions = count_windows(length, before, after, size, step, ceil_mode=to_bool(ceil_mode))
        overhang = max(0, (positions - 1) * step + size - before - length)
        x, counts = (sum_windows(each, 2 + axis, before, overhang, size, step, positions) for each in (x, counts))
    divisor = counts if to_bool(exclude_padding_from_average) else torch.full_like(counts, float(np.prod(kernel)))
    return x / divisor


def count_windows(length: int, before: int, after: int, size: int, step: int, *, ceil_mode: bool) -> int:
    """How many windows fit along an axis."""
    if not ceil_mode:
        return (length + before + after - size) // step + 1
    positions = ceil((length + before + after - size) / step) + 1
    starts_beyond = (positions - 1) * step >= length + before and before + after > 0
    return positions - starts_beyond


def sum_windows(x: Tensor, axis: int, before: int, after: int, size: int, step: int, positions: int) -> Tensor:
    """Sums of windows along one axis, which is padded with zeros."""

    def zeros(count: int) -> Tensor:
        return x.new_zeros([count if each == axis else side for each, side in enumerate(x.shape)])

    padded = torch.cat([zeros(before), x, zeros(after)], dim=axis)
    return padded.unfold(axis, size, step).narrow(axis, 0, positions).sum(dim=-1)


def linear(*, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = x @ weight.T
    return product if bias is None else product + bias


def matmul(*, x: Tensor, y: Tensor, transpose_x: Tensor | None = None, transpose_y: Tensor | None = None) -> Tensor:
    return (x.mT if to_bool(transpose_x) else x) @ (y.mT if to_bool(transpose_y) else y)


def softmax(*, x: Tensor, axis: Tensor) -> Tensor:
    shifted = torch.exp(x - x.amax(dim=int(axis), keepdim=True))
    return shifted / shifted.sum(dim=int(axis), keepdim=True)


def reduce_mean(*, x: Tensor, axes: Tensor, keep_dims: Tensor) -> Tensor:
    return x.mean(dim=to_ints(axes, ()), keepdim=to_bool(keep_dims))


def transpose(*, x: Tensor, perm: Tensor) -> Tensor:
    return x.permute(to_ints(perm, ()))


def reshape(*, x: Tensor, shape: Tensor) -> Tensor:
    """Reshape in row-major order; 0 keeps the size of that axis of `x`, -1 is inferred."""
    sizes = to_ints(shape, ())
    return x.reshape([x.shape[axis] if side == 0 else side for axis, side in enumerate(sizes)])


def concat(*, values: Sequence[Tensor], axis: Tensor, interleave: Tensor | None = None) -> Tensor:
    if to_bool(interleave):
        raise InputError("concat with interleaved values is not supported")
    return torch.cat([torch.atleast_1d(each) for each in values], dim=int(axis))  # scalars become a list


def pad(*, x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor | None = None) -> Tensor:
    """Replicate padding of the last axes, as many as there are pairs in `pad`."""
    if mode != "replicate":
        raise InputError(f"pad of the kind {mode!r} is not supported")
    pads = to_ints(pad, ())
    first = x.ndim - len(pads) // 2
    for axis in range(first, x.ndim):
        before, after = pads[2 * (axis - first) : 2 * (axis - first) + 2]
        last = x.shape[axis] - 1
        indices = torch.arange(-before, last + 1 + after).clamp(0, last)
        x = x.index_select(axis, indices)
    return x


def upsample_nearest_neighbor(*, x: Tensor, scale_factor_height: Tensor, scale_factor_width: Tensor) -> Tensor:
    """Repeat each value of the last two axes. Fractional factors are refused: their source pixel is not documented."""
    for axis, factor in ((-2, float(scale_factor_height)), (-1, float(scale_factor_width))):
        if factor != int(factor):
            raise InputError(f"upsample_nearest_neighbor by {factor:g} is not supported")
        x = x.repeat_interleave(int(factor), dim=axis)
    return x


def upsample_bilinear(
    *, x: Tensor, scale_factor_height: Tensor, scale_factor_width: Tensor, align_corners: Tensor | None = None
) -> Tensor:
    """Bilinear interpolation of the last two axes.

    A factor gives the new size of its axis, rounded down; the sampling step is the ratio of the two sizes.
    """
    if align_corners is None or to_bool(align_corners):
        raise InputError("upsample_bilinear with aligned corners is not supported")
    for axis, factor in ((-2, float(scale_factor_height)), (-1, float(scale_factor_width))):
        x = interpolate(x, axis, floor(x.shape[axis] * factor))
    return x


def interpolate(x: Tensor, axis: int, size: int) -> Tensor:
    """Interpolate one axis at the centres of `size` equal parts (corners not aligned)."""
    length = x.shape[axis]
    positions = ((torch.arange(size, dtype=torch.float64) + 0.5) * (length / size) - 0.5).clamp(0, length - 1)
    below = positions.long()
    above = (below + 1).clamp(max=length - 1)
    fraction = (positions - below).to(x.dtype).reshape(-1, *[1] * (-1 - axis))
    return x.index_select(axis, below) * (1 - fraction) + x.index_select(axis, above) * fraction


def reduce_argmax(*, x: Tensor, axis: Tensor, keep_dims: Tensor) -> Tensor:
    return x.argmax(dim=int(axis), keepdim=to_bool(keep_dims))


def slice_by_index(
    *,
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    **options: Tensor,
) -> Tensor:
    """A slice of each axis; the masks extend it to the start or the end of the axis."""
    defaults = {"stride": 1, "squeeze_mask": 0}
    if any(name not in defaults or bool((value != defaults[name]).any()) for name, value in options.items()):
        raise InputError("slice_by_index with steps or fewer axes is not supported")
    starts, ends = to_ints(begin, ()), to_ints(end, ())
    for axis in range(x.ndim):
        start = 0 if is_masked(begin_mask, axis) else starts[axis]
        stop = x.shape[axis] if is_masked(end_mask, axis) else ends[axis]
        x = x.narrow(axis, start, stop - start)
    return x


def is_masked(mask: Tensor | None, axis: int) -> bool:
    return mask is not None and bool(mask[axis])


def gather(*, x: Tensor, indices: Tensor, axis: Tensor, **options: Tensor) -> Tensor:
    """Values of a list, such as one side of a shape."""
    has_defaults = all(
        name in ("batch_dims", "validate_indices") and not to_bool(value) for name, value in options.items()
    )
    if x.ndim != 1 or not has_defaults:
        raise InputError("gather from more than a list is not supported")
    return x[indices.long()]


def shape(*, x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def cast(*, x: Tensor, dtype: str) -> Tensor:
    """Truncate floats that become integers; the caller converts the result to its declared type."""
    if dtype not in ("fp16", "fp32", "int32"):
        raise InputError(f"cast to {dtype!r} is not supported")
    return x.trunc() if dtype == "int32" and x.is_floating_point() else x


def floor_div(*, x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="floor")


def constexpr_affine_dequantize(*, quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor) -> Tensor:
    """Linearly quantised 8-bit weights: scale * (data - zero point), one scale per tensor or per slice of an axis."""
    sides = [-1 if each == int(axis) % quantized_data.ndim else 1 for each in range(quantized_data.ndim)]
    offset, factor = (each.float().reshape(sides) if each.ndim else each.float() for each in (zero_point, scale))
    return factor * (quantized_data.float() - offset)


def constexpr_lut_to_dense(*, indices: Tensor, lut: Tensor, shape: Tensor) -> Tensor:
    """Palettised weights: indices of log2(palette) bits, packed from the lowest bit of the first byte."""
    bits_each = len(lut).bit_length() - 1
    sides = to_ints(shape, ())
    bits = np.unpackbits(indices.numpy(), bitorder="little")[: int(np.prod(sides)) * bits_each]
    positions = (bits.reshape(-1, bits_each) << np.arange(bits_each)).sum(axis=1)
    return lut[torch.from_numpy(positions)].reshape(sides)


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


def to_ints(values: Tensor | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """A tensor of integers as a tuple; None: the default."""
    return default if values is None else tuple(int(each) for each in values)


def to_bool(value: Any) -> bool:
    return value is not None and bool(value)
