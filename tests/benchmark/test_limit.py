"""The machine's limits, on matrices small enough for a test: that they are measured, not how high they are."""

import numpy as np
import pytest

from nextvit.benchmark import limit
from nextvit.benchmark.limit import Limits, measure_bandwidth, measure_peaks
from nextvit.errors import InputError
from nextvit.machine import timing
from tests.conftest import needs

pytestmark = pytest.mark.serial


def peak_of(backend: str, precision: str) -> float | None:
    """One peak, measured too briefly to be accurate."""
    return measure_peaks([(backend, precision)], 1, sizes=[256], rounds=1, seconds=0.01)[backend, precision]


@pytest.mark.parametrize(("backend", "precision"), limit.PRODUCTS)
def test_every_product_runs(backend: str, precision: str):
    needs(*("onnx", "onnxruntime") if backend == "onnx" else (backend,))
    measured = peak_of(backend, precision)
    if measured is None:  # a CPU that lacks the instructions
        assert (backend, precision) in {("openvino", "bf16"), ("openvino", "int8")}
    else:
        assert 0.01 < measured < 1e6


def test_what_is_absent_has_no_peak(monkeypatch: pytest.MonkeyPatch):
    assert peak_of("executorch", "fp32") is None
    assert peak_of("torch", "int8") is None

    def missing(size: int, threads: int) -> limit.Run:
        raise ModuleNotFoundError(name="onnx")

    monkeypatch.setitem(limit.PRODUCTS, ("onnx", "fp32"), missing)
    assert peak_of("onnx", "fp32") is None


def test_operations_are_counted_and_turns_are_taken(monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    monkeypatch.setattr(limit, "matrix_product", lambda backend, precision, size, threads: lambda: f"{backend}{size}")
    lengths = iter([0.02, 0.08, 0.2, 0.8, 0.04, 0.04, 0.1, 1.6])

    def fastest(run: limit.Run, *, seconds: float) -> float:
        assert seconds == 0.25
        order.append(str(run()))
        return next(lengths)

    monkeypatch.setattr(limit, "fastest_seconds", fastest)
    measured = measure_peaks([("a", "fp32"), ("b", "fp32")], 1, sizes=[1000, 2000], rounds=2, seconds=0.5)
    assert order == ["a1000", "a2000", "b1000", "b2000"] * 2
    # 2 * 2000**3 operations in 0.04 s; 2 * 2000**3 in 0.8 s against 2 * 1000**3 in 0.1 s
    assert measured == {("a", "fp32"): pytest.approx(400.0), ("b", "fp32"): pytest.approx(20.0)}


def test_the_fastest_run_counts_and_the_first_does_not(monkeypatch: pytest.MonkeyPatch):
    lengths = iter([0.01, 0.5, 0.2, 0.4])
    now = [0.0]

    def run() -> None:
        now[0] += next(lengths)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    assert limit.fastest_seconds(run, seconds=1.0) == pytest.approx(0.2)
    assert next(lengths, None) is None


def test_a_product_that_is_computed_otherwise_has_no_peak():
    """Bytes that OpenVINO computes in floats: without a FakeQuantize in the graph it does."""
    needs("openvino")
    from nextvit.runtime.openvino_session import ov

    ops = ov.opset13
    values = ops.parameter([64, 64], ov.Type.u8)
    weight = ops.multiply(
        ops.convert(ops.constant(np.ones((64, 64), np.int8)), "f32"), np.full((64, 1), 0.1, np.float32)
    )
    result = ops.matmul(ops.multiply(ops.convert(values, "f32"), np.float32(0.1)), weight, False, True)
    assert limit.make_openvino_run(result, values, element_type="i8", threads=1) is None


def test_another_number_of_threads_is_refused():
    with pytest.raises(InputError, match="computes with 2 threads instead of 5"):
        limit.check_same_threads("a runtime", 5, 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_bandwidth(threads: int):
    assert 0.1 < measure_bandwidth(threads, array_bytes=2**22, rounds=1, seconds=0.01) < 10_000


def test_the_least_time_is_that_of_arithmetic_or_of_traffic():
    fp32, int8 = ("onnx", "fp32", 1), ("onnx", "int8", 1)
    limits = Limits(peaks={fp32: 100.0, int8: None}, bandwidths={1: 10.0})
    assert limits.least_ms(fp32, macs=10**9, moved_bytes=10**6) == pytest.approx(20.0)
    assert limits.least_ms(fp32, macs=10**6, moved_bytes=10**7) == pytest.approx(1.0)
    assert limits.least_ms(int8, macs=10**9, moved_bytes=10**6) == pytest.approx(0.1)


def test_what_is_known_is_not_measured_again(monkeypatch: pytest.MonkeyPatch):
    requests: list[object] = []

    def measured(wanted: list[tuple[str, str]], threads: int) -> dict[tuple[str, str], float | None]:
        requests.append((wanted, threads))
        return dict.fromkeys(wanted, 7.0)

    monkeypatch.setattr(limit, "measure_peaks", measured)
    monkeypatch.setattr(limit, "measure_bandwidth", lambda threads: requests.append(threads) or 3.0)
    known = Limits(peaks={("onnx", "fp32", 1): 100.0}, bandwidths={1: 10.0})
    more = known.measure_missing([("onnx", "fp32", 1), ("onnx", "int8", 1), ("onnx", "int8", 2)])
    assert requests == [([("onnx", "int8")], 1), ([("onnx", "int8")], 2), 2]
    assert more.peaks == {("onnx", "fp32", 1): 100.0, ("onnx", "int8", 1): 7.0, ("onnx", "int8", 2): 7.0}
    assert more.bandwidths == {1: 10.0, 2: 3.0}
