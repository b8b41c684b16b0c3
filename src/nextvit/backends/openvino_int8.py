"""Source -> model.xml and model.bin for OpenVINO in static int8, by NNCF's post-training quantisation."""

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
from nextvit.machine.quiet import suppress_output
from nextvit.runtime.telemetry import without_telemetry

WEIGHTED_KINDS = ("Convolution", "GroupConvolution", "MatMul")
LAYOUT_KINDS = {"Transpose", "Reshape"}


def export(source: Source, folder: Path) -> str:
    """Write the program in int8 for OpenVINO under `folder`.

    Weights are signed and symmetric with one scale for each output channel; activations have the minimum and maximum
    seen on all of `source.calibration` as range. Layers of `source.float_layers` stay fp32, and so do the matrix
    products of attention, which OpenVINO fuses with the softmax between them.

    Returns:
        The name of the .xml file; the weights are in the .bin file beside it.

    Raises:
        MissingDependency: OpenVINO or NNCF is not installed.
    """
    assert source.calibration is not None
    with tempfile.TemporaryDirectory() as temporary, without_telemetry():
        model = convert(source, Path(temporary))
        model = quantise(model, source.calibration, operators_of_groups(model, Path(temporary), source.float_layers))
        quantise_joined_heads(model)
        save(model, source, folder, fp16_weights=False)
    return MODEL_FILE


def quantise(model: Any, images_NHWC: NDArray[np.uint8], float_operators: list[str]) -> Any:
    """Quantise a model to int8, except for the operators named in `float_operators`.

    Args:
        images_NHWC: calibration images, uint8 (N, H, W, 3).
    """
    with suppress_output():
        try:
            import nncf  # pyright: ignore[reportMissingTypeStubs]
            from nncf.quantization.range_estimator import RangeEstimatorParametersSet
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "nncf", extra="quantize") from None
        # By default NNCF averages the minimum and maximum over images, and corrects biases: on our networks that gave
        # two to four times the error of plain minimum and maximum ranges, and took longer.
        parameters = nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX, disable_bias_correction=True
        )
        images = [{INPUT_NAME: image_NHWC} for image_NHWC in np.split(images_NHWC, len(images_NHWC))]
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=float_operators),
            advanced_parameters=parameters,
        )


def quantise_joined_heads(model: Any) -> None:
    """Move the quantiser of attention's result behind the transpose that joins the heads, in place.

    The values are the same, because all of them share one scale. OpenVINO fuses a transpose of floats with attention,
    but transposes bytes in a separate, slow kernel: 1.5 % of nextvit_small's time.
    """
    for quantiser in model.get_ordered_ops():
        if quantiser.get_type_name() != "FakeQuantize":
            continue
        attention, first = quantiser.input_value(0), single_layout_user(quantiser)
        if attention.get_node().get_type_name() != "ScaledDotProductAttention" or first is None:
            continue
        last = first.get_node()
        while after := single_layout_user(last):
            last = after.get_node()
        consumers = last.output(0).get_target_inputs()
        first.replace_source_output(attention)
        quantiser.input(0).replace_source_output(last.output(0))
        for consumer in consumers:
            consumer.replace_source_output(quantiser.output(0))
    model.validate_nodes_and_infer_types()


def single_layout_user(operator: Any) -> Any | None:
    """The input that consumes an operator's result, if it is the only one and changes the layout; else None."""
    consumers = list(operator.output(0).get_target_inputs())
    return consumers[0] if len(consumers) == 1 and consumers[0].get_node().get_type_name() in LAYOUT_KINDS else None


def operators_of_groups(model: Any, folder: Path, groups: Iterable[str]) -> list[str]:
    """Names of the operators that belong to these groups of `layers.group_of`.

    OpenVINO names the operator made from a node of the ONNX file after that node, or after its output where that is an
    output of the graph. Where a node becomes two operators, the first is named "node/...".

    Args:
        folder: where the ONNX file is that the model was converted from.
    """
    import onnx

    selected, names = set(groups), dict[str, str]()
    if not selected:  # also for other networks (`benchmark.peers`), whose layers belong to no group
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
        assert group or kind not in WEIGHTED_KINDS, f"{kind} {name}: belongs to no known layer"
        if group in selected and kind != "Constant":
            found.append(name)
    return found
