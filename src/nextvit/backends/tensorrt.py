"""ExportedProgram -> model.onnx -> model.engine, in fp16 or fp32. The ONNX file stays: an engine fits one kind of GPU and one
version, and is built anew from it elsewhere."""

from pathlib import Path

import onnx

from nextvit.backends import onnx as to_onnx
from nextvit.backends.program import Source
from nextvit.backends.tensorrt_engine import build_engine, build_plan
from nextvit.backends.tensorrt_graph import fit
from nextvit.backends.tensorrt_support import SOURCE, unsupported
from nextvit.errors import InputError
from nextvit.runtime.tensorrt_library import load_tensorrt

ENGINE_FILE = "model.engine"
SHOWN = 5


def export(source: Source, folder: Path) -> str:
    """Write the ONNX file and the engine for the current GPU under `folder`; returns the engine's name.

    Raises:
        MissingDependency: TensorRT is not installed.
        InputError: the network is outside what TensorRT supports, or it cannot build it.
    """
    load_tensorrt()  # before the long work
    write_onnx(source, folder)
    return write_engine(source, folder)


def write_onnx(source: Source, folder: Path) -> None:
    """Write the program as an ONNX file of the form that TensorRT takes."""
    file = folder / to_onnx.export(source, folder)
    model = onnx.load(file)
    fit(model)
    onnx.save(model, file)


def write_engine(source: Source, folder: Path) -> str:
    """Check the ONNX file under `folder` and build the engine beside it."""
    file = folder / to_onnx.MODEL_FILE
    check(onnx.load(file), source)
    plan = build_plan(source.card.input.image_size, source.precision, dynamic_size=source.dynamic_size)
    (folder / ENGINE_FILE).write_bytes(build_engine(file.read_bytes(), plan))
    return ENGINE_FILE


def check(model: onnx.ModelProto, source: Source) -> None:
    """Refuse a graph that the published table of operators does not cover.

    Raises:
        InputError: with what is outside.
    """
    if found := unsupported(model, source.precision):
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise InputError(f"TensorRT does not promise to take this network: {'; '.join(found[:SHOWN])}{more} ({SOURCE})")
