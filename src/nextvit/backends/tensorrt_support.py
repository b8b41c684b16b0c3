"""ONNX model -> the list of what the published support table of ONNX-TensorRT does not cover.

The table is docs/operators.md of github.com/onnx/onnx-tensorrt for TensorRT 10.15 (opsets 9 to 24; the guide of
TensorRT 11 names 9 to 25). TensorRT may still parse a graph that the table does not cover; a graph that is refused here
is outside of the documented support.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from nextvit.backends.tensorrt_graph import get_attribute
from nextvit.bundle.manifest import Precision

SOURCE = "docs/operators.md of onnx-tensorrt for TensorRT 10.15"
OPSETS = range(9, 25)

FLOATS = frozenset({"FP32", "FP16", "BF16"})
NUMBERS = FLOATS | {"INT32", "INT64"}
ANY = NUMBERS | {"BOOL"}
SUPPORTED: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        [
            "AveragePool",
            "BatchNormalization",
            "Clip",
            "Conv",
            "ConvTranspose",
            "Elu",
            "Erf",
            "Exp",
            "Floor",
            "Gemm",
            "GlobalAveragePool",
            "HardSigmoid",
            "HardSwish",
            "LayerNormalization",
            "LeakyRelu",
            "Log",
            "LogSoftmax",
            "MatMul",
            "MaxPool",
            "QuantizeLinear",
            "Resize",
            "Round",
            "Sigmoid",
            "Softmax",
            "Sqrt",
            "Tanh",
        ],
        FLOATS,
    ),
    **dict.fromkeys(
        [
            "Abs",
            "Add",
            "ArgMax",
            "ArgMin",
            "Div",
            "Equal",
            "Greater",
            "Less",
            "Max",
            "Mean",
            "Min",
            "Mod",
            "Mul",
            "Neg",
            "Pad",
            "Pow",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceSum",
            "Relu",
            "ScatterND",
            "Sub",
            "Sum",
            "TopK",
        ],
        NUMBERS,
    ),
    **dict.fromkeys(
        [
            "Concat",
            "Constant",
            "ConstantOfShape",
            "Expand",
            "Flatten",
            "Gather",
            "GatherElements",
            "Identity",
            "Reshape",
            "Shape",
            "Size",
            "Slice",
            "Split",
            "Squeeze",
            "Tile",
            "Transpose",
            "Unsqueeze",
            "Where",
        ],
        ANY,
    ),
    "Mean": NUMBERS | {"FP8"},
    "Gelu": FLOATS | {"INT8", "INT32", "INT64"},
    "Cast": ANY | {"UINT8"},  # uint8 only as an input or output of the network
    "DequantizeLinear": frozenset({"INT8", "FP8", "FP4", "INT4"}),
    "And": frozenset({"BOOL"}),
    "Or": frozenset({"BOOL"}),
    "Not": frozenset({"BOOL"}),
}
"""Types that each operator takes, for the operators of networks like ours."""

TYPE_NAMES: dict[int, str] = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.DOUBLE: "FP64",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
}
EXPECTED_TYPES: dict[Precision, str] = {"fp32": "FP32", "fp16": "FP16", "int8": "FP32"}
"""Input type of layers with weights; int8 layers read a float that DequantizeLinear has made from int8."""

Constants = dict[str, onnx.TensorProto]
Rule = Callable[[onnx.NodeProto, Constants], str | None]
"""Returns how a node breaks the restrictions in the table's third column, or None."""


def find_unsupported(model: onnx.ModelProto, precision: Precision) -> list[str]:
    """Describe, a line each, what the table does not cover in a graph and which layers compute in another precision."""
    opsets = {each.domain: each.version for each in model.opset_import}
    found = [f"operators of {domain!r} are unknown to TensorRT" for domain in opsets if domain not in ("", "ai.onnx")]
    version = opsets.get("", opsets.get("ai.onnx", 0))
    if version not in OPSETS:
        return [*found, f"opset {version} is outside {OPSETS.start} to {OPSETS.stop - 1}"]
    graph = shape_inference.infer_shapes(model).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    types = tensor_types(graph)
    graph_ends = {each.name for each in (*graph.input, *graph.output)}
    for node in graph.node:
        found += [
            f"{node.name} ({node.op_type}): {what}"
            for what in find_node_faults(node, types, constants, graph_ends, version)
        ]
    found += find_wrong_precision(graph, types, precision)
    return found


def tensor_types(graph: onnx.GraphProto) -> dict[str, str]:
    """Element type of each tensor, by name."""
    values = {
        value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)
    }
    values |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: TYPE_NAMES.get(number, TensorProto.DataType.Name(number)) for name, number in values.items()}


def find_node_faults(
    node: onnx.NodeProto, types: dict[str, str], constants: Constants, graph_ends: set[str], version: int
) -> list[str]:
    """Describe, a line each, what the table does not cover in one node."""
    if node.domain not in ("", "ai.onnx"):
        return []  # its domain is reported already
    if node.op_type not in SUPPORTED:
        return [f"the operator is not among those of {SOURCE} that are known here"]
    names = main_inputs(node, version)
    found = [
        f"takes {types.get(name, 'an unknown type')}, allowed: {', '.join(sorted(SUPPORTED[node.op_type]))}"
        for name in dict.fromkeys(names)
        if types.get(name) not in SUPPORTED[node.op_type]
    ]
    for name in (*names, *node.output):
        if types.get(name) == "UINT8" and name not in graph_ends:
            found.append(f"{name} is uint8 inside the network, which is allowed only for its inputs and outputs")
    if (rule := RULES.get(node.op_type)) and (fault := rule(node, constants)):
        found.append(fault)
    return found


def main_inputs(node: onnx.NodeProto, version: int) -> list[str]:
    """The inputs that the table's types are about: the first, and those that must have the same type."""
    formal = onnx.defs.get_schema(node.op_type, version).inputs
    if not formal:
        return []
    if node.op_type == "Where":
        return list(node.input[1:])  # its first input is the condition
    return [
        name
        for position, name in enumerate(node.input)
        if name and formal[min(position, len(formal) - 1)].type_str == formal[0].type_str
    ]


def find_wrong_precision(graph: onnx.GraphProto, types: dict[str, str], precision: Precision) -> list[str]:
    """List the layers that do not compute in `precision`, which in a strongly typed network the graph alone decides."""
    expected = EXPECTED_TYPES[precision]
    found = [
        f"{node.name} ({node.op_type}) computes in "
        f"{types.get(node.input[0])}, not in {expected} as {precision} requires"
        for node in graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul") and types.get(node.input[0]) != expected
    ]
    if precision == "int8" and not any(node.op_type == "QuantizeLinear" for node in graph.node):
        found.append("the precision is int8, and nothing in the graph is quantised")
    return found


def check_pooling(node: onnx.NodeProto, constants: Constants) -> str | None:
    if len(get_attribute(node, "kernel_shape")) not in (2, 3):
        return "pools over other than 2 or 3 axes"
    if set(get_attribute(node, "dilations", [1])) != {1}:
        return "has dilations"
    if node.op_type == "MaxPool" and len(node.output) > 1:
        return "gives indices"
    if node.op_type == "AveragePool" and get_attribute(node, "ceil_mode", 0):
        # Not from the table: the divisor for windows that extend beyond the edge is not documented.
        return "rounds the size up"
    return None


def check_zero_point(node: onnx.NodeProto, constants: Constants) -> str | None:
    if len(node.input) < 3 or not node.input[2]:
        return "has no zero point, which makes it uint8"
    tensor = constants.get(node.input[2])
    if tensor is None or np.any(numpy_helper.to_array(tensor)):
        return "its zero point is not constant zero"
    return None if tensor.data_type == TensorProto.INT8 else "its quantised type is not int8"


def check_constant_axes(node: onnx.NodeProto, constants: Constants) -> str | None:
    return None if len(node.input) < 2 or node.input[1] in constants else "its axes are not constant"


def check_resize(node: onnx.NodeProto, constants: Constants) -> str | None:
    allowed = {
        "coordinate_transformation_mode": (
            {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"},
            "half_pixel",
        ),
        "mode": ({"nearest", "linear"}, "nearest"),
        "nearest_mode": ({"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}, "round_prefer_floor"),
        "keep_aspect_ratio_policy": ({"stretch"}, "stretch"),
    }
    for name, (values, default) in allowed.items():
        if (value := get_attribute(node, name, default.encode()).decode()) not in values:
            return f"{name} is {value!r}"
    return "smooths before it shrinks" if get_attribute(node, "antialias", 0) else None


def check_single_output(node: onnx.NodeProto, constants: Constants) -> str | None:
    return "gives more than its first output" if len([name for name in node.output if name]) > 1 else None


def check_scatter(node: onnx.NodeProto, constants: Constants) -> str | None:
    return None if get_attribute(node, "reduction", b"none") == b"none" else "reduces"


def check_top_k(node: onnx.NodeProto, constants: Constants) -> str | None:
    return None if get_attribute(node, "sorted", 1) else "is not sorted"


RULES: dict[str, Rule] = {
    **dict.fromkeys(("AveragePool", "MaxPool"), check_pooling),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), check_zero_point),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Squeeze", "Unsqueeze"), check_constant_axes),
    "Resize": check_resize,
    "LayerNormalization": check_single_output,
    "ScatterND": check_scatter,
    "TopK": check_top_k,
}
