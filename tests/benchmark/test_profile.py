"""Profiles of real files in both runtimes: every operator's arithmetic is found again, whatever was fused."""

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextvit.backends.program import Source
from nextvit.benchmark import limit
from nextvit.benchmark.configurations import Selection, bundle_configurations
from nextvit.benchmark.limit import Limits
from nextvit.benchmark.operators import (
    ATTENTION,
    GROUPED,
    LINEAR,
    OTHER,
    Operator,
    attention_macs,
    convolution_macs,
    product_macs,
)
from nextvit.benchmark.profile import (
    COLUMNS,
    add_limits,
    group_by_kind,
    profile_all,
    profile_bundle,
    profile_record,
    summarize_bottlenecks,
    table_rows,
)
from nextvit.benchmark.suite import load_all
from nextvit.bundle.manifest import Manifest
from nextvit.errors import InputError
from nextvit.export.targets import TARGETS
from nextvit.tasks.network import deployed_cost
from tests.conftest import needs
from tests.export.nano import build_card, calibrated_model
from tests.runtime.conftest import write_colour_bundle

GFLOPS = {"fp32": 200.0, "bf16": 400.0, "int8": 800.0}
LIMITS = Limits(
    peaks={
        (backend, precision, 1): GFLOPS.get(precision)
        for backend in ("onnx", "openvino")
        for precision in (*GFLOPS, "fp16")
    },
    bandwidths={1: 20.0},
)
BATCH = 2
FILES = [("onnx", "fp32"), ("onnx", "int8"), ("onnx", "fp16"), ("openvino", "fp32"), ("openvino", "int8")]
Bundles = dict[tuple[str, str], tuple[Path, Manifest]]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Files as `export` writes them, without the proof, which no profile needs."""
    found: Bundles = {}
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    model, card, cache = calibrated_model().eval(), build_card(64, 64), {}
    for backend, precision in FILES:
        needs(*{"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino", "nncf")}[backend])
        folder = tmp_path_factory.mktemp(f"{backend}-{precision}")
        source = Source(model=model, card=card, precision=precision, calibration=pixels, cache=cache)
        name = TARGETS[backend].writer(precision)(source, folder)
        facts: dict[str, Any] = {"outputs": {"logits": "scores"}, "made_with": {}}
        found[backend, precision] = (
            folder,
            Manifest(card=card, backend=backend, precision=precision, model_file=name, **facts),
        )
    return found


@pytest.fixture(scope="module")
def profiles(bundles: Bundles) -> dict[tuple[str, str], list[Operator]]:
    return {
        (backend, precision): add_limits(
            profile_bundle(folder, manifest, threads=1, batch=BATCH, seconds=0.1), LIMITS, (backend, precision, 1)
        )
        for (backend, precision), (folder, manifest) in bundles.items()
    }


@pytest.fixture(params=FILES, ids="-".join)
def operators(request: pytest.FixtureRequest, profiles: dict[tuple[str, str], list[Operator]]) -> list[Operator]:
    return profiles[request.param]


@pytest.mark.backend
def test_all_multiply_accumulates_are_found_again(operators: list[Operator]):
    expected = BATCH * deployed_cost(build_card(64, 64)).macs
    assert sum(each.macs for each in operators) == pytest.approx(expected, rel=0.01)


@pytest.mark.backend
def test_shares_are_of_the_whole(operators: list[Operator]):
    assert math.isclose(sum(each.share for each in operators), 1.0)
    assert all(each.ms >= 0 and each.least_ms > 0 for each in operators)
    kinds = group_by_kind(operators)
    assert math.isclose(sum(each.ms for each in kinds), sum(each.ms for each in operators))
    assert {each.kind for each in kinds} >= {"convolution 1x1", "convolution 3x3", GROUPED, LINEAR}
    assert OTHER not in {each.kind for each in kinds}


@pytest.mark.backend
def test_traffic_of_heavy_operators_is_about_the_least(profiles: dict[tuple[str, str], list[Operator]]):
    """A little more, because residual sums that were fused are read, too, and scores of attention may be."""
    least = deployed_cost(build_card(64, 64))
    for pair in (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32")):
        moved = sum(each.bytes for each in profiles[pair] if each.macs)
        assert 1.0 <= moved / least.bytes(pair[1], batch=BATCH) < 1.15, pair


@pytest.mark.backend
def test_files_tell_the_modules(profiles: dict[tuple[str, str], list[Operator]]):
    for pair in (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8")):
        heavy = [each for each in profiles[pair] if each.macs]
        # OpenVINO calls what gives an output after that output.
        [head] = [each for each in heavy if each.module == "model.head" or each.name == "logits"]
        assert all(each.module.startswith("model.") for each in heavy if each is not head), pair
        assert head.macs == BATCH * 3 * 320
        [stem] = [each for each in heavy if each.module == "model.backbone.stem.0.conv"]
        channels = 4 if pair == ("onnx", "int8") else 3  # raw pixels, and ones for the normalisation's shift
        assert stem.macs == BATCH * 32 * 32 * 32 * channels * 9


@pytest.mark.backend
def test_the_precision_is_what_computed_it(profiles: dict[tuple[str, str], list[Operator]]):
    assert {each.precision for each in profiles["onnx", "fp32"] if each.macs} == {"fp32"}
    for backend in ("onnx", "openvino"):
        convolutions = [each for each in profiles[backend, "int8"] if each.kind.startswith("convolution")]
        assert {each.precision for each in convolutions} == {"int8"}
    assert {each.precision for each in profiles["onnx", "fp16"] if each.kind.startswith("convolution")} <= {
        "fp32",
        "fp16",
    }
    assert ATTENTION in {each.kind for each in profiles["openvino", "fp32"]}


@pytest.mark.backend
def test_what_multiplies_is_there_even_where_the_counters_say_nothing(
    bundles: Bundles, monkeypatch: pytest.MonkeyPatch
):
    """They count whole microseconds: of a fast machine's small operators they tell none."""
    needs("openvino")
    from nextvit.benchmark import profile_openvino

    monkeypatch.setattr(profile_openvino, "counters_ms", lambda _: {})
    folder, manifest = bundles["openvino", "fp32"]
    found = profile_bundle(folder, manifest, threads=1, batch=BATCH, seconds=0.1)
    assert sum(each.macs for each in found) == pytest.approx(BATCH * deployed_cost(build_card(64, 64)).macs, rel=0.01)
    assert all(each.ms == 0 for each in found)


@pytest.mark.parametrize("whole", [True, False], ids=["one operator", "its parts"])
def test_attention_of_an_openvino_file_is_found_in_both_forms(whole: bool):
    needs("openvino")
    from nextvit.benchmark.profile_openvino import attention_macs_by_name
    from nextvit.runtime.openvino_session import ov

    ops = ov.opset13
    query = ops.parameter([-1, 3, 10, 32], np.float32, name="images")
    query.output(0).set_names({"images"})
    key, value = (np.ones((2, 3, 4, width), np.float32) for width in (32, 16))
    if whole:
        result = ops.scaled_dot_product_attention(query, key, value)
    else:
        scores = ops.multiply(ops.matmul(query, key, False, True), np.float32(0.1))
        result = ops.matmul(ops.softmax(scores, -1), value, False, False)
    model = ov.Model([result], [query])
    assert attention_macs_by_name(model, (2, 3, 10, 32)) == {result.get_friendly_name(): 2 * 3 * 10 * 4 * (32 + 16)}


@pytest.mark.backend
def test_no_file_stays(bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder, manifest = bundles["onnx", "fp32"]
    before = set(folder.iterdir())
    profile_bundle(folder, manifest, threads=1, batch=1, seconds=0.0)
    assert list(tmp_path.iterdir()) == []
    assert set(folder.iterdir()) == before


@pytest.mark.backend
def test_a_backend_without_a_profile_says_so(bundles: Bundles):
    folder, manifest = bundles["onnx", "fp32"]
    with pytest.raises(InputError, match="there are profiles of onnx and openvino, not of torch"):
        profile_bundle(folder, replace(manifest, backend="torch"), threads=1, batch=1)


def operator(name: str, kind: str, *, ms: float, macs: int, moved: int = 0) -> Operator:
    facts = {"module": "", "kernel": "", "precision": "fp32"}
    return Operator(name=name, kind=kind, ms=ms, macs=macs, bytes=moved, **facts)


def test_one_line_says_what_bounds_it():
    operators = add_limits(
        [
            operator("a", "convolution 1x1", ms=6.0, macs=400_000_000),  # 4 ms at 200 GFLOP/s
            operator("b", LINEAR, ms=2.0, macs=100_000_000),  # 1 ms
            operator("c", "layout", ms=2.0, macs=0, moved=10_000_000),  # 0.5 ms at 20 GB/s
        ],
        LIMITS,
        ("onnx", "fp32", 1),
    )
    assert summarize_bottlenecks(operators) == (
        "convolutions 60% of 10.00 ms at 0.67 of the limit; matrix products 20% of 10.00 ms at 0.50 of the limit; "
        "all else 20% of 10.00 ms. At the limit it would save 2.00 ms in convolution 1x1 and 1.50 ms in layout."
    )
    assert table_rows(operators, max_rows=1) == [
        ("a", "convolution 1x1", "fp32", "6.000", "60.0%", "133", "4.000", "0.67")
    ]
    assert len(table_rows(operators)[0]) == len(COLUMNS)
    written = json.loads(json.dumps(profile_record(operators), allow_nan=False))
    assert [each["kind"] for each in written["kinds"]] == ["convolution 1x1", LINEAR, "layout"]
    assert written["operators"][2]["gain_ms"] == 1.5


def test_arithmetic_of_shapes():
    assert convolution_macs((2, 8, 8, 64), (64, 32, 3, 3), 64) == 2 * 64 * 64 * 32 * 9  # whatever the layout
    assert product_macs((2, 3, 64, 32), (2, 3, 32, 4), (2, 3, 64, 4)) == 2 * 3 * 64 * 32 * 4
    assert product_macs((2, 96, 64), (96, 48), (2, 64, 48)) == 2 * 64 * 96 * 48  # the first transposed
    assert product_macs((2, 320), (3, 320), (2, 3)) == 2 * 320 * 3
    assert attention_macs((2, 3, 64, 32), (2, 3, 4, 32), (2, 64, 3, 32), tokens=64) == 2 * (2 * 3 * 64 * 32 * 4)


def test_profiles_are_of_the_size_that_is_measured_and_each_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two sizes of one file, whose limits are measured once."""
    needs("onnx", "onnxruntime")
    file = write_colour_bundle(tmp_path / "colours.nextvit", dynamic_size=True)
    found = bundle_configurations(file, str(file), "bundle", Selection(image_sizes=((32, 48), (64, 96))))
    loaded, _ = load_all(found, [2])
    measured: list[object] = []
    monkeypatch.setattr(
        limit, "measure_peaks", lambda wanted, threads: measured.append(wanted) or dict.fromkeys(wanted)
    )
    monkeypatch.setattr(limit, "measure_bandwidth", lambda threads: measured.append(threads) or 20.0)
    small, large = profile_all(loaded, Limits(), lambda message: None)
    assert (small.name, large.name) == ("colours 48x32 px", "colours 96x64 px")
    assert small.batch == large.batch == 2
    assert sum(each.bytes for each in large.operators) > 3 * sum(each.bytes for each in small.operators)
    assert len(measured) == 2
    assert math.isclose(sum(each.share for each in small.operators), 1.0)
