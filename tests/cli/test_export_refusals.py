"""What no export can give is refused at once: before torch and the model are loaded, and by what this task has."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import nextvit
from nextvit.bundle.card import CARD_KEY, ModelCard
from nextvit.bundle.facts import SegmentationFacts
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from tests.cli.commands import NUTS

CLASSIFIER = ModelCard(
    task="classification",
    classes=("ant", "bee"),
    input=Preprocess(image_size=(64, 64)),
    variant="nextvit_nano",
    architecture={},
)
SEGMENTER = replace(NUTS, task="segmentation", facts=SegmentationFacts(), head={})
WITHOUT_TORCH = """
import sys
from nextvit.cli.main import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""


def write_checkpoint(path: Path, card: ModelCard) -> Path:
    """A checkpoint file with a card and without the weights, which a refusal must not look at."""
    save_file({"head.bias": np.zeros(2, np.float32)}, path, metadata={CARD_KEY: json.dumps(to_plain(card))})
    return path


DETECTOR_HAS = "a network for detection is exported to onnx in fp32 and openvino in fp32"


@pytest.mark.serial
@pytest.mark.parametrize(
    ("card", "flags", "message"),
    [
        (NUTS, "--to tensorrt --precision int8", f"tensorrt int8 is not for detection; {DETECTOR_HAS}"),
        (NUTS, "--to onnx --precision bf16", f"onnx bf16 is not for detection; {DETECTOR_HAS}"),
        (NUTS, "--to torch --dynamic-size", f"torch fp32 is not for detection; {DETECTOR_HAS}"),
        (NUTS, "--to vulkan", "no backend 'vulkan'; accepted: onnx, openvino"),
        (NUTS, "--to onnx --dynamic-size", "takes any size without --dynamic-size"),
        (SEGMENTER, "--to coreml", "coreml takes models for segmentation of one size alone; pass --fixed-size"),
        (CLASSIFIER, "--to onnx --precision bf16", "onnx has no precision 'bf16'; accepted: fp32, fp16, int8"),
        (CLASSIFIER, "--to onnx --fixed-size 32x32", "--fixed-size is for segmentation models, and this is one for"),
        (CLASSIFIER, "--to onnx --out here", "here: a bundle is a folder whose name ends in .nextvit"),
    ],
)
def test_a_refusal_loads_no_torch_and_names_what_the_task_has(
    tmp_path: Path, card: ModelCard, flags: str, message: str
):
    model = write_checkpoint(tmp_path / "model.safetensors", card)
    command = [sys.executable, "-c", WITHOUT_TORCH, "export", str(model), *flags.split()]
    environment = {"PYTHONPATH": str(Path(nextvit.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
