"""ExportedProgram -> model.onnx, in fp32 or fp16."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from nextvit.backends.onnx_suppression import keep_best_as_onnx
from nextvit.backends.program import Source
from nextvit.export.meanings import description
from nextvit.machine.quiet import quietly

OPSET = 18  # the exporter's own; newer ones bring nothing that this network uses
MODEL_FILE = "model.onnx"
SCOPES = "pkg.torch.onnx.name_scopes"  # the exporter's note on each node: the modules it stands in, outermost first
DTYPES = {"fp32": torch.float32, "int8": torch.float32, "fp16": torch.float16}  # int8 is made from the fp32 file


def export(source: Source, folder: Path) -> str:
    """Write the program for ONNX Runtime under `folder`; returns the file's name.

    An fp16 file states fp16 for every tensor between the normalised image and the logits, so that a runtime has no say
    in it. The card, and what inputs and outputs mean, go into the file's own metadata, so that it explains itself outside
    its bundle. Values keep the names of the captured program's nodes; nodes are called "module:operator", which runtimes
    and quantisers hand on.
    """
    (folder / MODEL_FILE).write_bytes(source.once("onnx", lambda: serialised(source)))
    return MODEL_FILE


def serialised(source: Source) -> bytes:
    """The bytes of the ONNX file."""
    program = source.program(dtype=DTYPES[source.precision])
    exported = as_onnx(program, inputs=source.card.inputs, outputs=source.outputs)
    for name, values in description(source).items():
        exported.model.metadata_props[name] = values
    return exported.model_proto.SerializeToString()


def as_onnx(program: ExportedProgram, *, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The program as torch's exporter writes it, in standard operators, with these names and those of the modules."""
    translations = keep_best_as_onnx()
    with quietly():  # the exporter warns about its own internals; the proof on real images is what counts
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
    """Call the nodes of an exporter's graph "module:operator", and drop its notes on them."""
    for node in graph:
        # From the whole program, which has no name, to the node itself.
        modules: list[str] = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))[1:-1]
        if modules:
            module = modules[-1].removeprefix("deployed.")  # the prefix: a program with taps has a wrapper
            node.name = f"{module}:{node.name}"
        node.metadata_props.clear()  # the rest is where in the source it comes from, with the paths of this machine
