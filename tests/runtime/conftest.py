"""A bundle made by hand, with onnx alone: these tests also run where no torch is installed."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nextvit.bundle import Golden, Manifest, write_golden, write_manifest
from nextvit.card import ModelCard
from nextvit.durable import sha256_of
from nextvit.preprocess import Preprocess

CLASSES = ("1 red", "2 green", "3 blue")  # sorted, as datasets are


def write_colour_bundle(folder: Path) -> Path:
    """A model that answers which channel is brightest: logits are the channel means times 0.1."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
            helper.make_node("Mul", ["means", "tenth"], ["logits"]),
        ],
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 32, 48, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(np.array(0.1, np.float32), "tenth"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    write_golden(folder, [Golden(pixels, {"logits": pixels.mean(axis=(1, 2)).astype(np.float32) * 0.1})])
    manifest = Manifest(
        card=ModelCard(
            task="classification",
            classes=CLASSES,
            input=Preprocess(image_size=(32, 48)),
            variant="by hand",
            architecture={},
        ),
        backend="onnx",
        precision="fp32",
        model_file="model.onnx",
        outputs={"logits": "ten times darker means"},
        made_with={"onnx": onnx.__version__},
        sha256={name: sha256_of(folder / name) for name in ("model.onnx", "golden.npz")},
    )
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_colour_bundle(tmp_path / "colours.nextvit")
