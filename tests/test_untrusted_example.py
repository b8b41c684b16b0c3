"""examples/untrusted holds models that are large or slow on purpose; each of them runs only behind its limits."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runtime.conftest import write_colour_bundle

EXAMPLE = Path(__file__).parents[1] / "examples" / "untrusted" / "predict.py"


def model_with(nodes: list[Any], constants: dict[str, np.ndarray]) -> bytes:
    """The colour model, to whose outputs "extra" is added, a number that these nodes compute."""
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    known = {"axes": np.array([1, 2], np.int64), "tenth": np.array(0.1, np.float32), **constants}
    network = [
        helper.make_node("Cast", ["images"], ["floats"], to=types.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "tenth"], ["scaled"]),
        *nodes,
        helper.make_node("Add", ["scaled", "extra"], ["logits"]),
    ]
    graph = helper.make_graph(
        network,
        "untrusted",
        [helper.make_tensor_value_info("images", types.UINT8, ["N", 32, 48, 3])],
        [helper.make_tensor_value_info("logits", types.FLOAT, ["N", 3])],
        [onnx.numpy_helper.from_array(value, name) for name, value in known.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def harmless() -> bytes:
    return model_with([], {"extra": np.array(0, np.float32)})


def eight_gigabytes() -> bytes:
    """A tensor of 2 ** 31 floats, which depends on the image, so that no runtime computes it beforehand."""
    from onnx import helper

    return model_with(
        [
            helper.make_node("ReduceMax", ["means"], ["largest"], keepdims=0),
            helper.make_node("Expand", ["largest", "shape"], ["large"]),
            helper.make_node("ReduceMean", ["large"], ["extra"], keepdims=0),
        ],
        {"shape": np.array([2**31], np.int64)},
    )


def endless() -> bytes:
    """A loop of 2 ** 63 turns."""
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Add", ["sum", "sum"], ["sums"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sums", TensorProto.FLOAT, []),
        ],
    )
    return model_with(
        [
            helper.make_node("ReduceMax", ["means"], ["largest"], keepdims=0),
            helper.make_node("Loop", ["turns", "true", "largest"], ["extra"], body=body),
        ],
        {"turns": np.array(2**63 - 1, np.int64), "true": np.array(True)},
    )


def run(tmp_path: Path, model: bytes) -> subprocess.CompletedProcess[str]:
    """The example with a model in a bundle whose checksums are right, and with less time than it gives itself."""
    bundle = write_colour_bundle(tmp_path / "untrusted.nextvit", model=model)
    Image.fromarray(np.full((32, 48, 3), (200, 10, 10), np.uint8)).save(tmp_path / "red.png")
    script = tmp_path / "predict.py"
    script.write_text(EXAMPLE.read_text().replace("SECONDS = 30", "SECONDS = 20"))
    command = [sys.executable, script, bundle, tmp_path / "red.png"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.mark.backend
@pytest.mark.skipif(sys.platform != "linux", reason="limits are tried on Linux")
class TestLimits:
    def test_a_harmless_bundle_predicts(self, tmp_path: Path):
        done = run(tmp_path, harmless())
        assert done.returncode == 0, done.stderr
        [record] = json.loads(done.stdout)
        assert record["label"] == "1 red"

    def test_a_graph_that_allocates_8_gb_is_refused(self, tmp_path: Path):
        done = run(tmp_path, eight_gigabytes())
        assert done.returncode == 1 and done.stdout == ""
        [line] = done.stderr.splitlines()
        assert line.startswith("refused: ") and "alloc" in line.lower()

    def test_a_graph_that_never_ends_is_refused(self, tmp_path: Path):
        started = time.perf_counter()
        done = run(tmp_path, endless())
        assert done.returncode == 1 and "took more than 20 s" in done.stderr
        assert time.perf_counter() - started < 40

    def test_a_damaged_bundle_is_refused_in_one_line(self, tmp_path: Path):
        done = run(tmp_path, harmless()[:-7])
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
