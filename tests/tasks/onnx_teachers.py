"""A small classifier as an ONNX file in several forms, and the same computation in torch."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

CLASSES = 4
GENERATOR = np.random.default_rng(7)
FILTERS = GENERATOR.normal(0, 0.5, (8, 3, 3, 3)).astype(np.float32)
MATRIX = GENERATOR.normal(0, 1, (8, CLASSES)).astype(np.float32)


def plain_logits(images_NCHW: Tensor) -> Tensor:
    """The logits (N, CLASSES) of normalised images."""
    features_NCHW = conv2d(images_NCHW, torch.from_numpy(FILTERS), stride=2).relu()
    return features_NCHW.mean(dim=(2, 3)) @ torch.from_numpy(MATRIX)


def write_teacher(
    path: Path,
    *,
    shape: tuple[int | str, ...] = ("N", 3, 32, 32),
    layout: str = "NCHW",
    softmax: bool = False,
    type_name: str = "FLOAT",
    two_outputs: bool = False,
) -> Path:
    """Write the classifier with an input of this shape and type."""
    from onnx import TensorProto, helper, numpy_helper, save

    images, nodes = "pixels", []
    if type_name != "FLOAT":
        nodes.append(helper.make_node("Cast", [images], ["floats"], to=TensorProto.FLOAT))
        images = "floats"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [images], ["channels_first"], perm=[0, 3, 1, 2]))
        images = "channels_first"
    nodes += [
        helper.make_node("Conv", [images, "filters"], ["convolved"], strides=[2, 2]),
        helper.make_node("Relu", ["convolved"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "matrix"], ["values" if not softmax else "raw"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["raw"], ["values"], axis=1))
    names = ["values", "features"] if two_outputs else ["values"]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("pixels", getattr(TensorProto, type_name), shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [numpy_helper.from_array(FILTERS, "filters"), numpy_helper.from_array(MATRIX, "matrix")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
