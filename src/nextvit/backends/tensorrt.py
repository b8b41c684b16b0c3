"""Source -> model.onnx and model.engine for TensorRT, in fp32 or fp16.

The ONNX file stays in the bundle: an engine fits one type of GPU and one TensorRT version, and is rebuilt from the ONNX
file for others.
"""

from pathlib import Path

import onnx

from nextvit.backends import onnx as to_onnx
from nextvit.backends.program import Source
from nextvit.backends.tensorrt_engine import build_engine, build_plan
from nextvit.backends.tensorrt_graph import adapt_graph
from nextvit.backends.tensorrt_support import SOURCE, find_unsupported
from nextvit.errors import InputError
from nextvit.runtime.tensorrt_library import load_tensorrt

ENGINE_FILE = "model.engine"
MAX_REPORTED = 5


def export(source: Source, folder: Path) -> str:
    """Write the ONNX file and the engine for the current GPU under `folder`.

    Returns:
        The name of the engine file.

    Raises:
        MissingDependency: TensorRT is not installed.
        InputError: the network has operators outside TensorRT's support table, or TensorRT cannot build it.
    """
    load_tensorrt()  # fails early where it is not installed
    write_onnx(source, folder)
    return write_engine(source, folder)


def write_onnx(source: Source, folder: Path) -> None:
    """Write the program as an ONNX file in the form that TensorRT's parser takes."""
    file = folder / to_onnx.export(source, folder)
    model = onnx.load(file)
    adapt_graph(model)
    onnx.save(model, file)


def write_engine(source: Source, folder: Path) -> str:
    """Check the ONNX file under `folder`, build the engine beside it, and return the engine's name."""
    file = folder / to_onnx.MODEL_FILE
    check_supported(onnx.load(file), source)
    plan = build_plan(source.card.input.image_size, source.precision, dynamic_size=source.dynamic_size)
    (folder / ENGINE_FILE).write_bytes(build_engine(file.read_bytes(), plan))
    return ENGINE_FILE


def check_supported(model: onnx.ModelProto, source: Source) -> None:
    """Refuse a graph that the published table of operators does not cover.

    Raises:
        InputError: the message lists the first unsupported operators.
    """
    if found := find_unsupported(model, source.precision):
        more = f" and {len(found) - MAX_REPORTED} more" if len(found) > MAX_REPORTED else ""
        raise InputError(
            f"TensorRT does not promise to take this network: {'; '.join(found[:MAX_REPORTED])}{more} ({SOURCE})"
        )
