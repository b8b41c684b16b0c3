"""Source -> model.onnx in static int8: QuantizeLinear and DequantizeLinear (QDQ) around convolutions and matrices."""

import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nextvit.backends import onnx as to_onnx
from nextvit.backends.onnx_layers import groups_of_nodes
from nextvit.backends.program import Source
from nextvit.errors import MissingDependency
from nextvit.image.resizing import INPUT_NAME
from nextvit.machine.quiet import suppress_output

BATCH_SIZE = 10
# Only convolutions and matrix products: with additions, ReLUs and pooling in int8, too, ONNX Runtime is slower and less
# accurate on our networks, because each of them costs a requantisation (docs/log.md).
QUANTISED_OPERATORS = ("Conv", "MatMul", "Gemm")


class CalibrationImages:
    """Calibration images in the form that ONNX Runtime's quantiser reads: one batch at a time, then None."""

    def __init__(self, images_NHWC: NDArray[np.uint8]) -> None:
        starts = range(0, len(images_NHWC), BATCH_SIZE)
        self.batches = iter([{INPUT_NAME: images_NHWC[start : start + BATCH_SIZE]} for start in starts])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


def export(source: Source, folder: Path) -> str:
    """Write the program in int8 for ONNX Runtime under `folder`.

    Activations are unsigned, with the minimum and maximum seen on `source.calibration` as range. Weights are signed,
    with one scale for each output channel. x86 has instructions for this combination, which is twice as fast as signed
    activations. Layers of `source.float_layers` stay fp32, and so do the matrix products of attention: requantising
    between them and the softmax costs more time than int8 saves.

    Returns:
        The name of the file.

    Raises:
        MissingDependency: onnx or ONNX Runtime is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ModuleNotFoundError as error:
        extra = "train" if error.name == "onnx" else "onnx"
        raise MissingDependency(error.name or "onnxruntime", extra=extra) from None
    from nextvit.backends.raw_pixels import fold_normalisation

    assert source.calibration is not None
    with tempfile.TemporaryDirectory() as temporary:
        # 1. Write the fp32 file, whose first convolution takes raw pixels if it is quantised
        float_file = Path(temporary) / to_onnx.export(source, Path(temporary))
        model = onnx.load(float_file)
        if "stem" not in source.float_layers:
            fold_normalisation(model)
            onnx.save(model, float_file)

        # 2. Quantise it, except the nodes that stay in float
        groups = groups_of_nodes(model)
        float_nodes = [name for name, group in groups.items() if group in source.float_layers]
        with suppress_output():  # it recommends preprocessing, which the exporter has done already
            quantize_static(
                float_file,
                folder / to_onnx.MODEL_FILE,
                cast(Any, CalibrationImages(source.calibration)),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=list(QUANTISED_OPERATORS),
                nodes_to_exclude=[*float_nodes, *activation_products(model)],
            )
    return to_onnx.MODEL_FILE


def activation_products(model: Any) -> list[str]:
    """Names of the matrix products of two activations."""
    weights = {weight.name for weight in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and not weights.intersection(node.input)]
