"""The heads of segmentation models in plain NumPy, written from their definitions; MMSegmentation's weight names.

`weights` are those of a head, `prefix` that of a layer inside it. Maps are (N, C, H, W).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]


def conv(x_NCHW: Array, kernel_OCKK: Array) -> Array:
    """A convolution that keeps the size, as a sum of shifted products."""
    side = kernel_OCKK.shape[2]
    height, width = x_NCHW.shape[2:]
    margin = side // 2
    padded = np.pad(x_NCHW, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    return sum(
        (
            np.einsum("oc,nchw->nohw", kernel_OCKK[:, :, y, x], padded[:, :, y : y + height, x : x + width])
            for y in range(side)
            for x in range(side)
        ),
        start=np.zeros(()),
    )


def channels(values_C: Array) -> Array:
    return values_C[:, None, None]


def biased_conv(x_NCHW: Array, weights: Weights, prefix: str) -> Array:
    return conv(x_NCHW, weights[f"{prefix}.weight"]) + channels(weights[f"{prefix}.bias"])


def norm(x_NCHW: Array, weights: Weights, prefix: str) -> Array:
    mean, variance, weight, bias = (
        channels(weights[f"{prefix}.{name}"]) for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x_NCHW - mean) / np.sqrt(variance + 1e-5) * weight + bias


def conv_norm_relu(x_NCHW: Array, weights: Weights, prefix: str) -> Array:
    return np.maximum(norm(conv(x_NCHW, weights[f"{prefix}.conv.weight"]), weights, f"{prefix}.bn"), 0)


def bilinear_weights(length: int, to: int) -> Array:
    """(to, length): half-pixel centres, borders repeated."""
    weights = np.zeros((to, length))
    for index in range(to):
        position = max(0.0, (index + 0.5) * length / to - 0.5)
        before = min(int(position), length - 1)
        after = min(before + 1, length - 1)
        weights[index, before] += 1 - (position - before)
        weights[index, after] += position - before
    return weights


def resize_bilinear(x_NCHW: Array, size: tuple[int, ...]) -> Array:
    rows, columns = (bilinear_weights(length, to) for length, to in zip(x_NCHW.shape[2:], size, strict=True))
    return np.einsum("yh,nchw,xw->ncyx", rows, x_NCHW, columns)


def adaptive_average_pool(x_NCHW: Array, side: int) -> Array:
    """Output i is the mean from floor(i * length / side) up to, not including, ceil((i + 1) * length / side)."""

    def part(index: int, length: int) -> slice:
        return slice(index * length // side, -(-(index + 1) * length // side))

    height, width = x_NCHW.shape[2:]
    rows = [[x_NCHW[:, :, part(y, height), part(x, width)].mean(axis=(2, 3)) for x in range(side)] for y in range(side)]
    return np.array(rows).transpose(2, 3, 0, 1)


def semantic_fpn(maps: list[Array], weights: Weights) -> Array:
    """Logits from the pyramid's maps."""
    total = conv_norm_relu(maps[0], weights, "scale_heads.0.0")
    for level in (1, 2, 3):
        x_NCHW = maps[level]
        for step in range(level):
            x_NCHW = conv_norm_relu(x_NCHW, weights, f"scale_heads.{level}.{2 * step}")
            x_NCHW = resize_bilinear(x_NCHW, (2 * x_NCHW.shape[2], 2 * x_NCHW.shape[3]))
        total = total + resize_bilinear(x_NCHW, total.shape[2:])
    return biased_conv(total, weights, "conv_seg")


def upernet(maps: list[Array], weights: Weights, *, pool_sides: tuple[int, ...]) -> Array:
    """Logits from the backbone's maps."""
    last = maps[-1]
    pooled_maps = [last]
    for index, side in enumerate(pool_sides):
        pooled = conv_norm_relu(adaptive_average_pool(last, side), weights, f"psp_modules.{index}.1")
        pooled_maps.append(resize_bilinear(pooled, last.shape[2:]))
    levels = [conv_norm_relu(np.concatenate(pooled_maps, axis=1), weights, "bottleneck")]
    for level in (2, 1, 0):
        lateral = conv_norm_relu(maps[level], weights, f"lateral_convs.{level}")
        levels.insert(0, lateral + resize_bilinear(levels[0], lateral.shape[2:]))
    outputs = [conv_norm_relu(levels[level], weights, f"fpn_convs.{level}") for level in range(3)] + [levels[3]]
    joined = np.concatenate([resize_bilinear(each, outputs[0].shape[2:]) for each in outputs], axis=1)
    return biased_conv(conv_norm_relu(joined, weights, "fpn_bottleneck"), weights, "conv_seg")


def fcn(x_NCHW: Array, weights: Weights) -> Array:
    return biased_conv(conv_norm_relu(x_NCHW, weights, "convs.0"), weights, "conv_seg")
