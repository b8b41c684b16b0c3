"""Source -> model.xml and model.bin for OpenVINO in fp32, with fp16 weights, or to be computed in bf16."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from nextvit.backends import onnx as to_onnx
from nextvit.backends.metadata import file_metadata
from nextvit.backends.program import Source
from nextvit.errors import MissingDependency
from nextvit.runtime.telemetry import without_telemetry

MODEL_FILE = "model.xml"


def export(source: Source, folder: Path) -> str:
    """Write the program for OpenVINO under `folder`.

    For fp16 the weights are stored in fp16 and the graph stays fp32; the session requests the precision of the
    computation when it loads the file. A bf16 file is the fp32 one, so that weights are rounded only once.

    Returns:
        The name of the .xml file; the weights are in the .bin file beside it.

    Raises:
        MissingDependency: OpenVINO is not installed.
    """
    with tempfile.TemporaryDirectory() as temporary, without_telemetry():
        model = convert(source, Path(temporary))
        save(model, source, folder, fp16_weights=source.precision == "fp16")
    return MODEL_FILE


def convert(source: Source, folder: Path) -> Any:
    """Convert the fp32 program to an `openvino.Model` through an ONNX file, which is left in `folder`.

    Direct conversion of torch's program gives the same outputs (both within 1e-6 of PyTorch) and, for a fixed size,
    nearly the same number of operators (164 after compiling, against 167 through ONNX). For a dynamic size it gives
    many more (339 against 214, because it decomposes the replicate padding), and it loses height and width, names, and
    modules.
    """
    try:
        import openvino  # pyright: ignore[reportMissingTypeStubs]
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "openvino", extra="openvino") from None
    return openvino.convert_model(folder / to_onnx.export(replace(source, precision="fp32"), folder))


def save(model: Any, source: Source, folder: Path, *, fp16_weights: bool) -> None:
    """Write the model under `folder`, with the card and the meaning of inputs and outputs in its metadata."""
    import openvino  # pyright: ignore[reportMissingTypeStubs]

    del model.rt_info["framework"]  # the ONNX file's metadata, which repeats the card
    for name, values in file_metadata(source.card, dynamic_size=source.dynamic_size).items():
        model.set_rt_info(values, name)
    openvino.save_model(model, folder / MODEL_FILE, compress_to_fp16=fp16_weights)
