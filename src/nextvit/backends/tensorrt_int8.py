"""ExportedProgram -> model.onnx with int8 layers -> model.engine.

TensorRT quantises symmetrically: signed int8 around zero, activations for each tensor and weights for each channel, stated in
the graph by pairs of QuantizeLinear and DequantizeLinear. ONNX Runtime on x86 is faster with unsigned activations, so its
file is another one (`quantize.to_onnx`). This one runs there as well, with the same answers but for rounding.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnx

from nextvit.backends import onnx as to_onnx
from nextvit.backends.onnx_int8 import Images
from nextvit.backends.onnx_layers import groups_of_nodes
from nextvit.backends.program import Source
from nextvit.backends.tensorrt import write_engine
from nextvit.backends.tensorrt import write_onnx as write_float_onnx
from nextvit.errors import InputError, MissingDependency
from nextvit.machine.quiet import quietly
from nextvit.runtime.tensorrt_library import load_tensorrt

WEIGHTED = ("Conv", "Gemm", "MatMul")
OPTIONS: dict[str, Any] = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "OpTypesToExcludeOutputQuantization": list(WEIGHTED),  # so that what follows a layer can be fused with it
    "QuantizeBias": False,  # TensorRT dequantises int8 alone, and a quantised bias is int32
}


def export(source: Source, folder: Path) -> str:
    """Write the quantised ONNX file and the engine for the current GPU; returns the engine's name.

    Raises:
        MissingDependency: TensorRT or ONNX Runtime is not installed.
        InputError: no images to calibrate on, or TensorRT cannot build the network.
    """
    load_tensorrt()  # before the long work
    write_onnx(source, folder)
    return write_engine(source, folder)


def write_onnx(source: Source, folder: Path) -> None:
    """Write the quantised ONNX file under `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        write_float_onnx(replace(source, precision="fp32"), Path(temporary))
        quantise(Path(temporary) / to_onnx.MODEL_FILE, source, folder / to_onnx.MODEL_FILE)


def quantise(file: Path, source: Source, out: Path) -> None:
    """Quantise an fp32 ONNX file, with ranges from the calibration images (smallest and largest value).

    Quantised are the inputs and weights of convolutions and of linear layers. A residual addition reads its shortcut
    from behind the same pair that quantises it for the next convolution, which lets TensorRT add in int8. Products of
    activations (attention), softmax and pooling stay in float.
    """
    if source.calibration is None:
        raise InputError("int8 is calibrated on real images, and there are none")
    try:
        from onnxruntime import quantization  # pyright: ignore[reportMissingTypeStubs]
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "onnxruntime", extra="onnx") from None
    with quietly():  # it advises what was left out on purpose
        quantization.quantize_static(
            file,
            out,
            cast(Any, Images(source.calibration)),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            nodes_to_quantize=quantised(onnx.load(file), source.float_layers),
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options=OPTIONS,
        )


def quantised(model: onnx.ModelProto, float_layers: tuple[str, ...]) -> list[str]:
    """Names of the nodes to quantise: those with weights that are in no group that stays in float."""
    weights = {tensor.name for tensor in model.graph.initializer}
    groups = groups_of_nodes(model)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHTED and node.input[1] in weights and groups[node.name] not in float_layers
    ]
