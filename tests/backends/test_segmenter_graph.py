"""A segmentation model's ONNX file, in ONNX Runtime and OpenVINO, against PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from nextvit.backends.onnx import convert_to_onnx
from nextvit.backends.program import capture, capture_padded
from nextvit.image.resizing import Preprocess
from nextvit.models.deployed import DeployedSegmenter
from nextvit.models.fuse import adapt_to_any_size
from nextvit.runtime.telemetry import without_telemetry
from tests.models.segmenters import random_segmenter

pytestmark = pytest.mark.backend

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Path, Arrays], list[NDArray[Any]]]
SQUASH = Preprocess(image_size=(64, 96), resize="stretch")
FIT = Preprocess(image_size=(64, 96), resize="pad")


def in_onnx_runtime(path: Path, inputs: Arrays) -> list[NDArray[Any]]:
    ort: Any = pytest.importorskip("onnxruntime")
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)


def in_openvino(path: Path, inputs: Arrays) -> list[NDArray[Any]]:
    with without_telemetry():
        ov: Any = pytest.importorskip("openvino")
        model = ov.convert_model(path)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = compiled(inputs)
    return [answers[place] for place in range(len(compiled.outputs))]


RUNTIMES = {"onnx": in_onnx_runtime, "openvino": in_openvino}


def write(path: Path, head: Literal["fpn", "uper"], form: str) -> DeployedSegmenter:
    """Write the file of a model, and give what it was made from; with UperNet of one that standardises images."""
    model = random_segmenter(head, standardise=head == "uper").float()
    if form == "frames":
        deployed = DeployedSegmenter(model, FIT, scores=True)
        program = capture_padded(deployed)
    elif form == "any size":
        deployed = DeployedSegmenter(adapt_to_any_size(model), SQUASH, scores=True)
        program = capture(deployed, SQUASH.image_size, dynamic_size=True)
    else:
        deployed = DeployedSegmenter(model, SQUASH, scores=True)
        program = capture(deployed, SQUASH.image_size)
    inputs = ("images", "sizes") if form == "frames" else ("images",)
    onnx.save(convert_to_onnx(program, inputs=inputs, outputs=("classes", "scores")).model_proto, path)
    return deployed


def pictures(form: str) -> list[Arrays]:
    """Batches that the file has to take."""
    shapes = {
        "fixed": ((1, 64, 96), (3, 64, 96)),
        "any size": ((1, 64, 64), (2, 47, 131)),
        "frames": ((1, 32, 64), (2, 160, 96)),
    }[form]
    batches: list[Arrays] = []
    for count, height, width in shapes:
        images_NHWC = np.random.default_rng(height).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        batches.append({"images": images_NHWC})
        if form == "frames":
            batches[-1]["sizes"] = np.array([[height, width - 5]] * count)
    return batches


@pytest.mark.parametrize(
    ("head", "form"),
    [
        ("uper", "frames"),
        ("fpn", "any size"),
        ("fpn", "frames"),
        ("uper", "any size"),
        ("fpn", "fixed"),
        ("uper", "fixed"),
    ],
)
def test_the_file_gives_pytorchs_classes(head: Literal["fpn", "uper"], form: str, tmp_path: Path):
    path = tmp_path / "model.onnx"
    deployed = write(path, head, form)
    assert {node.domain for node in onnx.load(path).graph.node} == {""}
    for inputs in pictures(form):
        with torch.no_grad():
            classes_NHW, scores_NCHW = (
                each.numpy() for each in deployed(*(torch.from_numpy(each) for each in inputs.values()))
            )
        for name, run in RUNTIMES.items():
            found_NHW, found_NCHW = run(path, inputs)
            assert (found_NHW.dtype, found_NHW.shape) == (np.uint8, classes_NHW.shape), name
            assert np.abs(found_NCHW - scores_NCHW).max() < 1e-4 * scores_NCHW.std(), name
            assert (found_NHW == classes_NHW).mean() > 0.999, name
