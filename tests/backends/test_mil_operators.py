"""The operators of ML programs, against PyTorch's own where those mean the same, else worked out by hand."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nextvit.backends.coreml_stand_in import cast_to_declared
from nextvit.backends.mil_operators import OPERATORS
from nextvit.backends.mil_program import Operation, TensorType
from nextvit.errors import InputError

X = torch.randn(1, 4, 7, 10, generator=torch.Generator().manual_seed(0))


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def compute(kind: str, **operands: object) -> Tensor:
    return OPERATORS[kind](**operands)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 3, 0)])
def test_avg_pool_without_the_padding_is_pytorchs(kernel: int, stride: int, pad: int, ceil_mode: bool):
    got = compute(
        "avg_pool",
        x=X,
        kernel_sizes=ints(kernel, kernel),
        strides=ints(stride, stride),
        pad_type="custom",
        pad=ints(pad, pad, pad, pad),
        exclude_padding_from_average=torch.tensor(True),
        ceil_mode=torch.tensor(ceil_mode),
    )
    expected = functional.avg_pool2d(X, kernel, stride, pad, ceil_mode=ceil_mode, count_include_pad=False)
    torch.testing.assert_close(got, expected)


def test_avg_pool_counts_what_hangs_over_the_edge_as_padding():
    """Where padding counts, PyTorch and Core ML differ in that."""
    x = torch.tensor([[[2.0, 4.0, 6.0]]])
    common = {"x": x, "kernel_sizes": ints(2), "strides": ints(2), "pad_type": "valid"}
    for excluded, last in ((True, 6.0), (False, 3.0)):
        flags = {"ceil_mode": torch.tensor(True), "exclude_padding_from_average": torch.tensor(excluded)}
        assert compute("avg_pool", **common, **flags).tolist() == [[[3.0, last]]]
    assert compute("avg_pool", **common).tolist() == [[[3.0]]]


def test_avg_pool_of_one_axis_drops_an_incomplete_run():
    x = X.flatten(2)
    got = compute("avg_pool", x=x, kernel_sizes=ints(16), strides=ints(16), pad_type="custom", pad=ints(0, 0))
    torch.testing.assert_close(got, functional.avg_pool1d(x, 16))


def test_conv_pads_each_side_by_itself():
    weight, bias = torch.randn(6, 2, 3, 3), torch.randn(6)
    got = compute(
        "conv",
        x=X,
        weight=weight,
        bias=bias,
        strides=ints(2, 1),
        pad_type="custom",
        pad=ints(1, 0, 2, 1),
        dilations=ints(1, 1),
        groups=torch.tensor(2),
    )
    padded = functional.pad(X, (2, 1, 1, 0))  # left, right, top, bottom
    torch.testing.assert_close(got, functional.conv2d(padded, weight, bias, stride=(2, 1), groups=2))


def test_pad_repeats_the_edge():
    got = compute("pad", x=X, pad=ints(0, 0, 0, 0, 0, 1, 2, 1), mode="replicate", constant_val=torch.tensor(0.0))
    torch.testing.assert_close(got, functional.pad(X, (2, 1, 0, 1), mode="replicate"))


def test_matrices_and_softmax():
    a, b = torch.randn(1, 3, 5, 8), torch.randn(1, 3, 4, 8)
    got = compute("matmul", x=a, y=b, transpose_x=torch.tensor(False), transpose_y=torch.tensor(True))
    torch.testing.assert_close(got, torch.einsum("nhqd,nhkd->nhqk", a, b))
    large = got * 100  # exp alone would overflow
    torch.testing.assert_close(compute("softmax", x=large, axis=torch.tensor(-1)), large.softmax(-1))
    weight, bias = torch.randn(2, 8), torch.randn(2)
    torch.testing.assert_close(
        compute("linear", x=a[0], weight=weight, bias=bias), functional.linear(a[0], weight, bias)
    )


def test_shapes():
    assert compute("reshape", x=X, shape=ints(0, 2, -1, 5)).shape == (1, 2, 28, 5)
    assert compute("transpose", x=X, perm=ints(0, 2, 3, 1)).shape == (1, 7, 10, 4)
    assert compute("shape", x=X).tolist() == [1, 4, 7, 10]
    assert compute("gather", x=compute("shape", x=X), indices=torch.tensor(2), axis=torch.tensor(0)).item() == 7
    assert compute("concat", values=[torch.tensor(3), torch.tensor(4)], axis=torch.tensor(0)).tolist() == [3, 4]
    assert compute("floor_div", x=torch.tensor(-7), y=torch.tensor(2)).item() == -4
    assert compute("reduce_mean", x=X, axes=ints(2, 3), keep_dims=torch.tensor(False)).shape == (1, 4)


def test_weights_on_a_line_have_a_scale_for_each_slice():
    got = compute(
        "constexpr_affine_dequantize",
        quantized_data=torch.tensor([[1, -2], [3, 127]], dtype=torch.int8),
        zero_point=torch.tensor(1, dtype=torch.int8),
        scale=torch.tensor([0.5, 2.0]),
        axis=torch.tensor(0),
    )
    assert got.tolist() == [[0.0, -1.5], [4.0, 252.0]]


def test_palette_indices_are_packed_from_the_lowest_bit():
    """2 bits: the example of the reference, i0..i4 = 0, 3, 2, 1, 3; 6 bits: 1, 2, 3, 4 in three bytes."""
    two = torch.tensor([0b01101100, 0b00000011], dtype=torch.uint8)
    got = compute("constexpr_lut_to_dense", indices=two, lut=torch.tensor([0.0, 10.0, 20.0, 30.0]), shape=ints(5))
    assert got.tolist() == [0.0, 30.0, 20.0, 10.0, 30.0]
    number = 1 | 2 << 6 | 3 << 12 | 4 << 18
    six = torch.tensor(list(number.to_bytes(3, "little")), dtype=torch.uint8)
    got = compute("constexpr_lut_to_dense", indices=six, lut=torch.arange(64.0), shape=ints(2, 2))
    assert got.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_results_take_the_declared_type_and_must_have_the_declared_shape():
    op = Operation(kind="relu", name="r", inputs={}, outputs=[])
    rounded = cast_to_declared(torch.tensor([1 / 3, 2049.0, 1e6]), TensorType("FLOAT16", (3,)), op)
    assert rounded.tolist() == [0.333251953125, 2048.0, float("inf")]
    assert cast_to_declared(torch.zeros(1, 5), TensorType("FLOAT32", (1, None)), op).shape == (1, 5)
    with pytest.raises(InputError, match=r"relu 'r' gives \(3,\), declared \(4,\)"):
        cast_to_declared(torch.zeros(3), TensorType("FLOAT32", (4,)), op)


@pytest.mark.parametrize("size", [(14, 20), (13, 17), (7, 10), (5, 3), (28, 1)])
def test_bilinear_interpolation_is_pytorchs_without_aligned_corners(size: tuple[int, int]):
    height, width = (torch.tensor((new + 1e-4) / old) for new, old in zip(size, X.shape[2:], strict=True))
    got = compute(
        "upsample_bilinear",
        x=X,
        scale_factor_height=height,
        scale_factor_width=width,
        align_corners=torch.tensor(False),
    )
    torch.testing.assert_close(got, functional.interpolate(X, size, mode="bilinear", align_corners=False))


def test_the_nearest_value_is_repeated():
    got = compute("upsample_nearest_neighbor", x=X, scale_factor_height=torch.tensor(2.0), scale_factor_width=ints(3))
    assert torch.equal(got, functional.interpolate(X, (14, 30), mode="nearest"))


def test_argmax_and_parts_of_axes():
    for keep in (False, True):
        got = compute("reduce_argmax", x=X, axis=torch.tensor(1), keep_dims=torch.tensor(keep))
        assert torch.equal(got, X.argmax(1, keepdim=keep))
    got = compute(
        "slice_by_index",
        x=X,
        begin=ints(0, 1, 5, 2),
        end=ints(0, 3, 6, 0),
        begin_mask=torch.tensor([True, False, True, False]),
        end_mask=torch.tensor([True, False, False, True]),
        stride=ints(1, 1, 1, 1),
    )
    assert torch.equal(got, X[:, 1:3, :6, 2:])


def test_what_is_not_known_is_refused():
    weight = torch.zeros(1, 4, 1, 1)
    for kind, operands, message in (
        ("conv", {"x": X, "weight": weight, "pad_type": "same"}, "padding of the kind 'same'"),
        ("pad", {"x": X, "pad": ints(1, 1), "mode": "reflect"}, "pad of the kind 'reflect'"),
        ("concat", {"values": [X], "axis": ints(0), "interleave": torch.tensor(True)}, "interleaved"),
        ("gather", {"x": X, "indices": torch.tensor(0), "axis": torch.tensor(0)}, "gather from more than a list"),
        ("cast", {"x": X, "dtype": "bool"}, "cast to 'bool'"),
        (
            "upsample_nearest_neighbor",
            {"x": X, "scale_factor_height": torch.tensor(1.5), "scale_factor_width": torch.tensor(2)},
            "by 1.5 is not supported",
        ),
        (
            "upsample_bilinear",
            {"x": X, "scale_factor_height": torch.tensor(2), "scale_factor_width": torch.tensor(2)},
            "aligned corners",
        ),
        (
            "slice_by_index",
            {"x": X, "begin": ints(0, 0, 0, 0), "end": ints(1, 4, 7, 10), "stride": ints(1, 1, 2, 1)},
            "with steps",
        ),
    ):
        with pytest.raises(InputError, match=message):
            compute(kind, **operands)
