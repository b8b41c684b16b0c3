"""ExportedProgram -> model.xml and model.bin in int8, by NNCF's quantisation after training."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle import INPUT_NAME
from nextvit.errors import MissingDependency
from nextvit.export import to_onnx
from nextvit.export.onnx_layers import groups_of_nodes
from nextvit.export.program import Source
from nextvit.export.to_openvino import MODEL_FILE, convert, save
from nextvit.quiet import quietly
from nextvit.runtime.telemetry import without_telemetry

HEAVY = ("Convolution", "GroupConvolution", "MatMul")


def export(source: Source, folder: Path) -> str:
    """Write the program in int8 for OpenVINO under `folder`; returns the file's name, beside which its weights lie.

    Weights are signed and symmetric with one scale for each output channel, activations have the ranges seen on all of
    `source.calibration`. What belongs to `source.float_layers` stays fp32, and so do attention's products,
    which OpenVINO fuses with the softmax between them.
    """
    assert source.calibration is not None
    with tempfile.TemporaryDirectory() as temporary, without_telemetry():
        model = convert(source, Path(temporary))
        model = quantised(model, source.calibration, in_groups(model, Path(temporary), source.float_layers))
        save(model, source, folder, fp16_weights=False)
    return MODEL_FILE


def quantised(model: Any, images_NHWC: NDArray[np.uint8], in_float: list[str]) -> Any:
    """The model in int8, but for the operators of these names."""
    with quietly():
        try:
            import nncf  # pyright: ignore[reportMissingTypeStubs]
            from nncf.quantization.range_estimator import RangeEstimatorParametersSet
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "nncf", extra="quantize") from None
        # Left alone, NNCF takes the mean over images of their least and largest values, and corrects biases: on our
        # networks that gave two to four times the error of the plain ranges alone, and took longer.
        plain = nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX, disable_bias_correction=True
        )
        images = [{INPUT_NAME: image_NHWC} for image_NHWC in np.split(images_NHWC, len(images_NHWC))]
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=in_float),
            advanced_parameters=plain,
        )


def in_groups(model: Any, folder: Path, groups: Iterable[str]) -> list[str]:
    """Names of the operators that belong to these groups of `layers.group_of`.

    OpenVINO names what it makes of a node of the ONNX file in `folder` after that node, or after its output where that
    is one of the graph's; a node that becomes two operators names the first of them "node/...".
    """
    import onnx

    wanted, names = set(groups), dict[str, str]()
    if not wanted:  # nor are the layers of other networks (`benchmark.peers`) among those that are known
        return []
    onnx_model = onnx.load(folder / to_onnx.MODEL_FILE)
    group_of_node = groups_of_nodes(onnx_model)
    for node in onnx_model.graph.node:
        if node.name in group_of_node:
            names |= dict.fromkeys((node.name, *node.output), group_of_node[node.name])
    found: list[str] = []
    for operator in model.get_ops():
        name, kind = operator.get_friendly_name(), operator.get_type_name()
        group = names.get(name.partition("/")[0])
        assert group or kind not in HEAVY, f"{kind} {name}: of no layer that is known"
        if group in wanted and kind != "Constant":
            found.append(name)
    return found
