"""Source -> model.onnx with int8 layers and model.engine for TensorRT.

TensorRT quantises symmetrically: signed int8 around zero, with one scale per activation tensor and one per output
channel of the weights, stated in the graph by pairs of QuantizeLinear and DequantizeLinear. ONNX Runtime on x86 is
faster with unsigned activations, so its file is a different one (`backends.onnx_int8`). This file runs there as well,
with the same outputs except for rounding.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnx

from nextvit.backends import onnx as to_onnx
from nextvit.backends.onnx_int8 import CalibrationImages
from nextvit.backends.onnx_layers import groups_of_nodes
from nextvit.backends.program import Source
from nextvit.backends.tensorrt import write_engine
from nextvit.backends.tensorrt import write_onnx as write_float_onnx
from nextvit.errors import InputError, MissingDependency
from nextvit.machine.quiet import suppress_output
from nextvit.runtime.tensorrt_library import load_tensorrt

WEIGHTED_OPERATORS = ("Conv", "Gemm", "MatMul")
OPTIONS: dict[str, Any] = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "OpTypesToExcludeOutputQuantization": list(
        WEIGHTED_OPERATORS
    ),  # so that the operators behind a layer can be fused with it
    "QuantizeBias": False,  # TensorRT dequantises int8 only, and a quantised bias is int32
}


def export(source: Source, folder: Path) -> str:
    """Write the quantised ONNX file and the engine for the current GPU under `folder`.

    Returns:
        The name of the engine file.

    Raises:
        MissingDependency: TensorRT or ONNX Runtime is not installed.
        InputError: there are no calibration images, or TensorRT cannot build the network.
    """
    load_tensorrt()  # fails early where it is not installed
    write_onnx(source, folder)
    return write_engine(source, folder)


def write_onnx(source: Source, folder: Path) -> None:
    """Write the quantised ONNX file under `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        write_float_onnx(replace(source, precision="fp32"), Path(temporary))
        quantise(Path(temporary) / to_onnx.MODEL_FILE, source, folder / to_onnx.MODEL_FILE)


def quantise(file: Path, source: Source, out: Path) -> None:
    """Quantise an fp32 ONNX file, with the minimum and maximum on the calibration images as ranges.

    The inputs and weights of convolutions and linear layers are quantised. A residual addition reads its shortcut
    behind the same QuantizeLinear and DequantizeLinear pair as the next convolution, which lets TensorRT add in int8.
    Matrix products of activations (attention), softmax and pooling stay in float.

    Raises:
        InputError: there are no calibration images.
        MissingDependency: ONNX Runtime is not installed.
    """
    if source.calibration is None:
        raise InputError("int8 is calibrated on real images, and there are none")
    try:
        from onnxruntime import quantization  # pyright: ignore[reportMissingTypeStubs]
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "onnxruntime", extra="onnx") from None
    with suppress_output():  # it recommends steps that are left out on purpose
        quantization.quantize_static(
            file,
            out,
            cast(Any, CalibrationImages(source.calibration)),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            nodes_to_quantize=nodes_to_quantise(onnx.load(file), source.float_layers),
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options=OPTIONS,
        )


def nodes_to_quantise(model: onnx.ModelProto, float_layers: tuple[str, ...]) -> list[str]:
    """Names of the nodes to quantise: those that have weights and are in no group kept in float."""
    weights = {tensor.name for tensor in model.graph.initializer}
    groups = groups_of_nodes(model)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHTED_OPERATORS and node.input[1] in weights and groups[node.name] not in float_layers
    ]
