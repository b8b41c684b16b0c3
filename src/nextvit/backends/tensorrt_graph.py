"""ONNX model -> an equivalent one in the form that TensorRT's parser is documented to take."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nextvit.image.resizing import INPUT_NAME


def adapt_graph(model: onnx.ModelProto) -> None:
    """Rewrite the graph in place: uint8 only at the input, pooling over two axes and without ceil_mode."""
    cast_input_first(model.graph)
    pool_over_two_axes(model.graph)
    pool_without_ceiling(model.graph)


def cast_input_first(graph: onnx.GraphProto) -> None:
    """Cast the uint8 input to float before any other node reads it, for its values or its shape."""
    name = f"{INPUT_NAME}_float"
    for node in graph.node:
        replace_input(node, INPUT_NAME, name)
    graph.node.insert(0, helper.make_node("Cast", [INPUT_NAME], [name], f"cast_{INPUT_NAME}", to=TensorProto.FLOAT))
    transposed = {node.output[0] for node in graph.node if node.op_type == "Transpose" and node.input[0] == name}
    for cast in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in transposed]:
        assert get_attribute(cast, "to", 0) == TensorProto.FLOAT
        for node in graph.node:
            replace_input(node, cast.output[0], cast.input[0])
        graph.node.remove(cast)
    for value in [value for value in graph.value_info if value.name in transposed]:
        graph.value_info.remove(value)  # its recorded type is uint8


def pool_over_two_axes(graph: onnx.GraphProto) -> None:
    """Rewrite average pooling of (N, C, L) as pooling of (N, C, 1, L)."""
    for node in [
        each for each in graph.node if each.op_type == "AveragePool" and len(get_attribute(each, "kernel_shape")) == 1
    ]:
        [kernel], [stride] = get_attribute(node, "kernel_shape"), get_attribute(node, "strides", [1])
        before, after = get_attribute(node, "pads", [0, 0])
        axis, (wide, pooled) = (
            add_constant(graph, f"{node.name}_axis", [2]),
            (f"{node.name}_{end}" for end in ("wide", "pooled")),
        )
        pool = helper.make_node(
            "AveragePool",
            [wide],
            [pooled],
            node.name,
            kernel_shape=[1, kernel],
            strides=[1, stride],
            pads=[0, before, 0, after],
            ceil_mode=get_attribute(node, "ceil_mode", 0),
            count_include_pad=get_attribute(node, "count_include_pad", 0),
        )
        widen = helper.make_node("Unsqueeze", [node.input[0], axis], [wide], f"{node.name}_unsqueeze")
        narrow = helper.make_node("Squeeze", [pooled, axis], [node.output[0]], f"{node.name}_squeeze")
        replace_node(graph, node, [widen, pool, narrow])


def pool_without_ceiling(graph: onnx.GraphProto) -> None:
    """Rewrite 2x2 pooling with ceil_mode as replicate padding of odd sides and pooling without ceil_mode.

    Runtimes differ in the divisor for windows that extend beyond the edge; here no window does.
    """
    shapes = {value.name: value.type.tensor_type.shape for value in graph.value_info}
    for node in [each for each in graph.node if each.op_type == "AveragePool" and get_attribute(each, "ceil_mode", 0)]:
        form = (
            get_attribute(node, "kernel_shape"),
            get_attribute(node, "strides"),
            get_attribute(node, "pads", [0] * 4),
        )
        assert form == ([2, 2], [2, 2], [0, 0, 0, 0]), (
            f"{node.name}: only 2x2 pooling with stride 2 and without padding is supported"
        )
        height, width = (dim.dim_value for dim in shapes[node.input[0]].dim[2:])
        assert height and width, f"{node.name}: ceil_mode needs a fixed image size"
        next(each for each in node.attribute if each.name == "ceil_mode").i = 0
        if height % 2 or width % 2:
            pads = add_constant(graph, f"{node.name}_pads", [0, 0, 0, 0, 0, 0, height % 2, width % 2])
            padded = f"{node.name}_padded"
            pad = helper.make_node("Pad", [node.input[0], pads], [padded], f"{node.name}_pad", mode="edge")
            pool = onnx.NodeProto()
            pool.CopyFrom(node)
            pool.input[0] = padded
            replace_node(graph, node, [pad, pool])


def replace_node(graph: onnx.GraphProto, node: onnx.NodeProto, others: list[onnx.NodeProto]) -> None:
    """Replace a node by others, at its position."""
    position = list(graph.node).index(node)
    graph.node.remove(node)
    for offset, other in enumerate(others):
        graph.node.insert(position + offset, other)


def add_constant(graph: onnx.GraphProto, name: str, values: list[int]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    return name


def replace_input(node: onnx.NodeProto, old: str, new: str) -> None:
    for position, name in enumerate(node.input):
        if name == old:
            node.input[position] = new


def get_attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute of a node."""
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)
