"""Source -> model.onnx in fp32 or fp16, with the card in its metadata."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from nextvit.backends.metadata import file_metadata
from nextvit.backends.onnx_suppression import keep_best_translations
from nextvit.backends.program import Source
from nextvit.machine.quiet import suppress_output

OPSET = 18  # the exporter's default; newer ones add nothing that this network uses
MODEL_FILE = "model.onnx"
NAME_SCOPES_KEY = "pkg.torch.onnx.name_scopes"  # the exporter's metadata of each node: its modules, outermost first
DTYPES = {"fp32": torch.float32, "int8": torch.float32, "fp16": torch.float16}  # int8 is quantised from the fp32 file


def export(source: Source, folder: Path) -> str:
    """Write the program for ONNX Runtime under `folder`.

    An fp16 file states fp16 for every tensor between the normalised image and the logits, so the precision does not
    depend on the runtime. The file's metadata holds the card and the meaning of inputs and outputs, so that the file
    needs no bundle to be understood. Values keep the names of the captured program's nodes. Nodes are named
    "module:operator", and runtimes and quantisers pass that name on.

    Returns:
        The name of the file.
    """
    (folder / MODEL_FILE).write_bytes(source.cached("onnx", lambda: serialise(source)))
    return MODEL_FILE


def serialise(source: Source) -> bytes:
    """Convert the program and return the bytes of the ONNX file."""
    program = source.capture_program(dtype=DTYPES[source.precision])
    exported = convert_to_onnx(program, inputs=source.card.input.names, outputs=source.outputs)
    for name, values in file_metadata(source.card, dynamic_size=source.dynamic_size).items():
        exported.model.metadata_props[name] = values
    return exported.model_proto.SerializeToString()


def convert_to_onnx(program: ExportedProgram, *, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Convert a program to standard operators with torch's exporter.

    Args:
        inputs: names of the graph's inputs, in order.
        outputs: names of the graph's outputs, in order.

    Returns:
        The `torch.onnx.ONNXProgram`, whose nodes are named after their modules.
    """
    translations = keep_best_translations()
    with suppress_output():  # the exporter warns about its own internals; the proof on real images is what counts
        exported = torch.onnx.export(
            program,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            custom_translation_table=translations,
            verbose=False,
        )
    assert exported is not None
    name_after_modules(exported.model.graph)
    return exported


def name_after_modules(graph: Any) -> None:
    """Rename the nodes of an exported graph to "module:operator", in place, and drop their metadata."""
    for node in graph:
        # The first scope is the whole program, which has no name; the last is the node itself.
        modules: list[str] = ast.literal_eval(node.metadata_props.get(NAME_SCOPES_KEY, "[]"))[1:-1]
        if modules:
            module = modules[-1].removeprefix("deployed.")  # the wrapper of a program with taps
            node.name = f"{module}:{node.name}"
        node.metadata_props.clear()  # the rest are source positions, with paths of this machine
