"""The tables of docs/performance.md on made-up records, and what their scripts refuse before they measure."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nextvit.bundle.manifest import read_bundle, write_manifest
from nextvit.errors import InputError
from tests.conftest import needs
from tests.runtime.conftest import write_colour_bundle

needs_all = ("onnxruntime", "openvino", "torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

VERSIONS = {"torch": "2.15.0", "timm": "1.0.26", "onnxruntime": "1.32.0", "openvino": "2026.4.1"}
MACHINE = {"time": "2026-01-02", "cpu": "made up", "cores": 2, "system": "none", "python": "3.11", "versions": VERSIONS}
PROVEN = {"images": 40, "drop": 0.2, "drop_interval_95": [0.0, 0.4], "after": {"score": 95.0}}


@pytest.fixture
def fastest() -> Any:
    needs(*needs_all)
    import fastest

    return fastest


@pytest.fixture
def default_way() -> Any:
    needs(*needs_all)
    import default_way

    return default_way


def pair(backend: str, precision: str, ratio: float, **changes: Any) -> dict[str, Any]:
    """A made-up line of fastest.jsonl."""
    latencies = {name: {"p50_ms": time, "least_ms": time} for name, time in (("timm", 10.0), ("ours", 10 * ratio))}
    return {
        "variant": "nextvit_small",
        "backend": backend,
        "precision": precision,
        "batch": 1,
        "threads": 1,
        "before": "timm",
        **latencies,
        "ratio": ratio,
        "ratio_interval_95": [ratio - 0.01, ratio + 0.01],
        "verdict": "faster",
        "warning": None,
        "environment": {**MACHINE, "command": None},
        **changes,
    }


def test_the_table_says_by_which_command_and_with_which_versions(fastest: Any):
    new = {**MACHINE, "command": "python benchmarks/fastest.py --cells onnx-int8"}
    text = fastest.table(
        [pair("onnx", "fp32", 0.8), pair("onnx", "int8", 0.95), pair("onnx", "int8", 0.5, environment=new)]
    )
    assert "| nextvit_small | 1 | onnx int8 | 10.0 | 5.0 | 0.500" in text and "0.950" not in text
    assert "`python benchmarks/fastest.py --cells onnx-int8`, 2026-01-02: made up, 2 cores" in text
    assert "timm 1.0.26, onnxruntime 1.32.0, openvino 2026.4.1" in text
    assert (
        "at least 50 of single images and 20 of batches" in text
        and "quantised in two ways, of which the faster" in text
    )
    assert "too busy" not in text and "too busy to trust small differences in 1 lines" in fastest.table(
        [pair("onnx", "fp32", 0.8, warning="busy")]
    )


def test_cells_are_chosen_by_name(fastest: Any):
    assert fastest.parse_cells("onnx-int8,openvino-int8") == [("onnx", "int8"), ("openvino", "int8")]
    with pytest.raises(InputError, match="--cells knows no 'onnx-int'; did you mean 'onnx-int8'"):
        fastest.parse_cells("onnx-int")


def test_timms_network_stays_in_float32_when_it_is_run_in_bf16(fastest: Any):
    import torch

    files = object.__new__(fastest.TheirFiles)  # without the export
    files.network = torch.nn.Conv2d(3, 4, 1)
    answer = files.make_torch_run(torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16), 1)()
    assert answer.dtype == torch.bfloat16 and files.network.weight.dtype == torch.float32


def test_a_bundle_without_a_score_is_refused_before_anything_is_measured(default_way: Any, tmp_path: Path):
    scored, plain = (write_colour_bundle(tmp_path / name) for name in ("scored.nextvit", "plain.nextvit"))
    write_manifest(scored, replace(read_bundle(scored), verification=PROVEN))
    assert list(default_way.read_proven_manifests([scored])) == ["scored.nextvit"]
    with pytest.raises(InputError, match=r"^plain\.nextvit was proven without labels, .*; export it with --data$"):
        default_way.read_proven_manifests([scored, plain])
    other = read_bundle(scored)
    write_manifest(plain, replace(other, card=replace(other.card, variant="another")))
    with pytest.raises(InputError, match="bundles of several networks or sizes"):
        default_way.read_proven_manifests([scored, plain])


def test_a_busy_machine_is_said_below_the_table(default_way: Any):
    line = {"name": "a", "variant": "nextvit_small", "threads": 1, "p50_ms": 3.0, "ratio": 0.3, **PROVEN}
    line |= {"ratio_interval_95": [0.2, 0.4], "warning": None, "environment": {**MACHINE, "command": "python a.py"}}
    assert "Warning" not in default_way.table([line])
    assert default_way.table([line, {**line, "warning": "it was too busy"}]).endswith("**Warning: it was too busy.**\n")
