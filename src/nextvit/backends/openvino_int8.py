"""ExportedProgram -> model.xml and model.bin in int8, by NNCF's quantisation after training."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.backends import onnx as to_onnx
from nextvit.backends.onnx_layers import groups_of_nodes
from nextvit.backends.openvino import MODEL_FILE, convert, save
from nextvit.backends.program import Source
from nextvit.errors import MissingDependency
from nextvit.image.resizing import INPUT_NAME
from nextvit.machine.quiet import quietly
from nextvit.runtime.telemetry import without_telemetry

HEAVY = ("Convolution", "GroupConvolution", "MatMul")
LAYOUT = {"Transpose", "Reshape"}


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
        quantise_joined_heads(model)
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


def quantise_joined_heads(model: Any) -> None:
    """Quantise attention's results, in place, behind the transpose that joins their heads and not before it.

    The numbers are the same, all having one scale. In floats OpenVINO does that transpose as a part of attention itself;
    bytes it transposes by itself, in a slow kernel: 1.5 % of nextvit_small's time.
    """
    for quantiser in model.get_ordered_ops():
        if quantiser.get_type_name() != "FakeQuantize":
            continue
        attention, first = quantiser.input_value(0), only_layout_behind(quantiser)
        if attention.get_node().get_type_name() != "ScaledDotProductAttention" or first is None:
            continue
        last = first.get_node()
        while after := only_layout_behind(last):
            last = after.get_node()
        users = last.output(0).get_target_inputs()
        first.replace_source_output(attention)
        quantiser.input(0).replace_source_output(last.output(0))
        for user in users:
            user.replace_source_output(quantiser.output(0))
    model.validate_nodes_and_infer_types()


def only_layout_behind(operator: Any) -> Any | None:
    """The input that an operator's result goes to, if that is the only one and of a change of layout."""
    users = list(operator.output(0).get_target_inputs())
    return users[0] if len(users) == 1 and users[0].get_node().get_type_name() in LAYOUT else None


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
