"""ExportedProgram -> model.xml and model.bin, in fp32, or with fp16 weights, to be computed in fp16 or bf16."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from nextvit.backends import onnx as to_onnx
from nextvit.backends.program import Source
from nextvit.errors import MissingDependency
from nextvit.export.meanings import description
from nextvit.runtime.telemetry import without_telemetry

MODEL_FILE = "model.xml"


def export(source: Source, folder: Path) -> str:
    """Write the program for OpenVINO under `folder`; returns the file's name, beside which its weights lie.

    For fp16 the weights are stored in fp16, and the graph stays fp32: what a device computes in is asked for when the
    file is loaded. So it is with bf16, whose file is the fp32 one, that weights are rounded only once.
    """
    with tempfile.TemporaryDirectory() as temporary, without_telemetry():
        model = convert(source, Path(temporary))
        save(model, source, folder, fp16_weights=source.precision == "fp16")
    return MODEL_FILE


def convert(source: Source, folder: Path) -> Any:
    """The fp32 program as an `openvino.Model`, by way of the ONNX file, which is left in `folder`.

    Converted directly, torch's program gives the same answers (both within 1e-6 of PyTorch) and nearly as many operators
    with a fixed size (164 after compiling, against 167 by way of ONNX). With a dynamic size it gives many more (339
    against 214: it takes the replicate pad apart), and it loses height and width, names, and modules.
    """
    try:
        import openvino  # pyright: ignore[reportMissingTypeStubs]
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "openvino", extra="openvino") from None
    return openvino.convert_model(folder / to_onnx.export(replace(source, precision="fp32"), folder))


def save(model: Any, source: Source, folder: Path, *, fp16_weights: bool) -> None:
    """Write the model with the card, and what inputs and outputs mean, in its own metadata, so that it explains itself outside
    its bundle."""
    import openvino  # pyright: ignore[reportMissingTypeStubs]

    del model.rt_info["framework"]  # the ONNX file's metadata, which is the card, too
    for name, values in description(source).items():
        model.set_rt_info(values, name)
    openvino.save_model(model, folder / MODEL_FILE, compress_to_fp16=fp16_weights)
