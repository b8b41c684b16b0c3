"""ExportedProgram -> model.onnx."""

import json
import logging
import warnings
from pathlib import Path

import torch
from torch.export import ExportedProgram

from nextvit.bundle import INPUT_NAME
from nextvit.card import ModelCard
from nextvit.errors import MissingDependency
from nextvit.records import to_plain

OPSET = 18  # the exporter's own; newer ones bring nothing that this network uses
MODEL_FILE = "model.onnx"


def export(program: ExportedProgram, card: ModelCard, folder: Path) -> str:
    """Write the program for ONNX Runtime under `folder`; returns the file's name.

    The card goes into the file's own metadata, so that the file explains itself outside its bundle.
    """
    try:
        import onnxscript  # noqa: F401 (torch's exporter needs it, and would say so less clearly)
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "onnxscript", extra="onnx") from None
    with warnings.catch_warnings():
        # The exporter warns about its own internals; the proof on real images is what counts.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        exported = torch.onnx.export(
            program, input_names=[INPUT_NAME], output_names=["logits"], opset_version=OPSET, verbose=False
        )
    assert exported is not None
    exported.model.metadata_props["nextvit_card"] = json.dumps(to_plain(card), ensure_ascii=False)
    exported.save(folder / MODEL_FILE, external_data=False)
    return MODEL_FILE
