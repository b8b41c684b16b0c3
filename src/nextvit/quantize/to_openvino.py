"""ExportedProgram -> model.xml and model.bin in int8, by NNCF's quantisation after training."""

import logging
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager, redirect_stdout
from io import StringIO
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
from nextvit.runtime.telemetry import without_telemetry


def export(source: Source, folder: Path) -> str:
    """Write the program in int8 for OpenVINO under `folder`; returns the file's name, beside which its weights lie.

    Weights are signed and symmetric with one scale for each output channel, activations have the ranges seen on all of
    `source.calibration`, and biases make up for the mean error of their layer. What belongs to `source.float_layers`
    stays fp32.
    """
    assert source.calibration is not None
    with tempfile.TemporaryDirectory() as temporary, without_telemetry():
        model = convert(source, Path(temporary))
        model = quantised(model, source.calibration, in_groups(model, Path(temporary), source.float_layers))
        save(model, source, folder, fp16_weights=False)
    return MODEL_FILE


def quantised(model: Any, images_NHWC: NDArray[np.uint8], in_float: list[str]) -> Any:
    """The model in int8, but for the operators of these names."""
    with quiet():
        try:
            import nncf  # pyright: ignore[reportMissingTypeStubs]
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "nncf", extra="quantize") from None
        images = [{INPUT_NAME: image_NHWC} for image_NHWC in np.split(images_NHWC, len(images_NHWC))]
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=in_float),
        )


def in_groups(model: Any, folder: Path, groups: Iterable[str]) -> list[str]:
    """Names of the operators that belong to these groups of `layers.group_of`.

    OpenVINO names what it makes of a node of the ONNX file in `folder` after that node, or after its output where that
    is one of the graph's; a node that becomes two operators names the first of them "node/...".
    """
    import onnx

    wanted, names = set(groups), dict[str, str]()
    onnx_model = onnx.load(folder / to_onnx.MODEL_FILE)
    group_of_node = groups_of_nodes(onnx_model)
    for node in onnx_model.graph.node:
        if node.name in group_of_node:
            names |= dict.fromkeys((node.name, *node.output), group_of_node[node.name])
    operators = [each.get_friendly_name() for each in model.get_ops() if each.get_type_name() != "Constant"]
    return [name for name in operators if names.get(name.partition("/")[0]) in wanted]


@contextmanager
def quiet() -> Generator[None]:
    """Without NNCF's messages and progress bars, which go to the standard output."""
    logger = logging.getLogger("nncf")
    with redirect_stdout(StringIO()):
        level, logger.disabled = logger.level, True
        try:
            yield
        finally:
            logger.disabled = False
