"""ExportedProgram -> model.onnx in int8: quantise and dequantise operators (QDQ) around every convolution and matrix."""

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
from nextvit.machine.quiet import quietly

BATCH = 10
# Convolutions and matrix products alone: with additions, ReLUs and poolings in int8, too, ONNX Runtime is slower and less
# exact on our networks, because each of them costs a requantisation (docs/log.md).
QUANTISED = ("Conv", "MatMul", "Gemm")


class Images:
    """The calibration images as ONNX Runtime's quantiser reads them: one batch at a time, then None."""

    def __init__(self, images_NHWC: NDArray[np.uint8]) -> None:
        starts = range(0, len(images_NHWC), BATCH)
        self.batches = iter([{INPUT_NAME: images_NHWC[start : start + BATCH]} for start in starts])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


def export(source: Source, folder: Path) -> str:
    """Write the program in int8 for ONNX Runtime under `folder`; returns the file's name.

    Activations are unsigned with ranges from the least to the largest value seen on `source.calibration`, weights are
    signed with one scale for each output channel: on x86 that is the form with instructions of its own, and twice as fast
    as signed activations. What belongs to `source.float_layers` stays fp32, and so do attention's products: between
    them and the softmax, requantising costs more than eight bits save.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ModuleNotFoundError as error:
        extra = "train" if error.name == "onnx" else "onnx"
        raise MissingDependency(error.name or "onnxruntime", extra=extra) from None
    from nextvit.backends.raw_pixels import take_raw_pixels

    assert source.calibration is not None
    with tempfile.TemporaryDirectory() as temporary:
        plain = Path(temporary) / to_onnx.export(source, Path(temporary))
        model = onnx.load(plain)
        if "stem" not in source.float_layers:
            take_raw_pixels(model)
            onnx.save(model, plain)
        groups = groups_of_nodes(model)
        in_float = [name for name, group in groups.items() if group in source.float_layers]
        with quietly():  # it advises preparations that change nothing here: the exporter has folded and merged already
            quantize_static(
                plain,
                folder / to_onnx.MODEL_FILE,
                cast(Any, Images(source.calibration)),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=[*in_float, *products(model)],
            )
    return to_onnx.MODEL_FILE


def products(model: Any) -> list[str]:
    """Names of the matrix products of two computed tensors."""
    weights = {weight.name for weight in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and not weights.intersection(node.input)]
