"""Source -> model.pt2, the archive of torch.export, in fp32 or bf16.

Read it with nextvit: `torch.export.load` is safe only for files from a trusted source (see `runtime.torch_program`).
"""

from pathlib import Path

import torch

from nextvit.backends.program import Source

MODEL_FILE = "model.pt2"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def export(source: Source, folder: Path) -> str:
    """Write the program as an archive under `folder`.

    A bf16 file states bf16 for every tensor between the normalised image and the logits.

    Returns:
        The name of the file.
    """
    program = source.capture_program(dtype=DTYPES[source.precision])
    program.example_inputs = None  # they would be stored as a pickle, and nothing reads them
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine that exported
    torch.export.save(program, folder / MODEL_FILE)
    return MODEL_FILE
