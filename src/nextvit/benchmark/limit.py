"""This machine's limits: peak arithmetic, by each runtime's own large matrix product, and memory bandwidth.

Both are the best single run of several rounds: other work on the machine makes a run slower, and nothing makes it
faster. They are limits for short work; a processor that throttles cannot sustain them.
"""

import re
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.errors import InputError
from nextvit.machine.timing import time_run

SIZES = (512, 1024, 2048)
"""Rows and columns of the matrices; the fastest size counts.

On one core of a Zen 5 the plateau begins at 512 in fp32 and at 1024 in int8. Small products of a few milliseconds also
run undisturbed on a busy machine, where those of 2048 and 4096 lost half of their speed; several threads may need the
larger ones.
"""
ROUNDS = 5
SECONDS = 0.5
Run = Callable[[], object]
PeakKey = tuple[str, str, int]
"""Backend, precision and threads: each combination has its own peak."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits that were measured so far."""

    peaks: dict[PeakKey, float | None] = field(default_factory=dict[PeakKey, float | None])
    """GFLOP/s, two operations for each multiply-accumulate; None: this machine has no such product."""
    bandwidths: dict[int, float] = field(default_factory=dict[int, float])
    """GB/s of main memory, by number of threads."""

    def measure_missing(self, keys: Collection[PeakKey]) -> "Limits":
        """Measure what these keys need and is not known yet: about 3 s for each, and 3 s for each number of threads.

        Returns:
            New limits, which include the known ones.
        """
        peaks, bandwidths = dict(self.peaks), dict(self.bandwidths)
        for threads in sorted({threads for _, _, threads in keys}):
            missing = sorted({key[:2] for key in keys if key[2] == threads and key not in peaks})
            peaks |= {(*pair, threads): value for pair, value in measure_peaks(missing, threads).items()}
            if threads not in bandwidths:
                bandwidths[threads] = measure_bandwidth(threads)
        return Limits(peaks=peaks, bandwidths=bandwidths)

    def least_ms(self, key: PeakKey, *, macs: int, moved_bytes: float) -> float:
        """The least time in milliseconds that this much arithmetic and memory traffic takes (the roofline).

        If the peak is not known, only the traffic counts. What is small enough to stay in a cache can be faster than
        this, because the bandwidth is that of main memory.
        """
        peak = self.peaks.get(key)
        return max(macs * 2e-6 / peak if peak else 0.0, moved_bytes * 1e-6 / self.bandwidths[key[2]])


def measure_peaks(
    pairs: Collection[tuple[str, str]],
    threads: int,
    *,
    sizes: Sequence[int] = SIZES,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> dict[tuple[str, str], float | None]:
    """GFLOP/s (two for each multiply-accumulate) of a runtime's own product of two large matrices on the CPU.

    The second matrix is constant, as weights are. On CPUs for which ONNX Runtime has no fp16 kernel, it computes the
    fp16 product in fp32.

    Args:
        pairs: backend and precision; they take turns.
        sizes: rows and columns of the matrices.
        seconds: length of a turn, divided among the sizes.

    Returns:
        GFLOP/s by pair; None if the runtime is not installed, or has no product of that precision on this CPU.

    Raises:
        InputError: a runtime computes with another number of threads.
    """
    runs = {(pair, size): matrix_product(*pair, size=size, threads=threads) for pair in pairs for size in sizes}
    best: dict[tuple[str, str], float | None] = dict.fromkeys(pairs)
    for _ in range(rounds):
        for (pair, size), run in runs.items():
            if run is not None:
                gflops = 2e-9 * size**3 / fastest_seconds(run, seconds=seconds / len(sizes))
                best[pair] = max(best[pair] or 0.0, gflops)
    return best


def fastest_seconds(run: Run, *, seconds: float) -> float:
    """Seconds of the fastest of the runs that fit into that time, after a warm-up run."""
    time_run(run)
    started, least = time.perf_counter(), time_run(run)
    while time.perf_counter() - started < seconds:
        least = min(least, time_run(run))
    return least


def matrix_product(backend: str, precision: str, *, size: int, threads: int) -> Run | None:
    """A product of two random matrices (size, size) in that runtime; None if it is not available."""
    if (backend, precision) not in PRODUCTS:
        return None
    try:
        # The packages are optional: only the runtime of one bundle may be installed.
        run = PRODUCTS[backend, precision](size, threads)
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime", "openvino", "torch"):
            raise
        return None
    return run


def check_same_threads(backend: str, requested: int, got: int) -> None:
    if requested != got:
        raise InputError(f"{backend} computes with {got} threads instead of {requested}; pass --threads {got}")


def random_matrix(size: int) -> NDArray[np.float32]:
    """A matrix (size, size) of standard normal values."""
    return np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)


def onnx_float(size: int, threads: int, *, dtype: Any) -> Run:
    """ONNX Runtime's MatMul."""
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(random_matrix(size).astype(dtype), "b")
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    return make_onnx_run([node], [weight], random_matrix(size).astype(dtype), threads=threads)


def onnx_int8(size: int, threads: int) -> Run:
    """ONNX Runtime's product of unsigned and signed bytes, with one scale for each column, as in an int8 bundle."""
    from onnx import helper, numpy_helper

    generator = np.random.default_rng(0)
    weights: list[tuple[str, Any]] = [
        ("a_scale", np.float32(1)),
        ("a_zero", np.uint8(128)),
        ("b", generator.integers(-127, 128, (size, size)).astype(np.int8)),
        ("b_scale", np.ones(size, np.float32)),
        ("b_zero", np.zeros(size, np.int8)),
        ("c_scale", np.float32(1000)),
        ("c_zero", np.uint8(128)),
    ]
    node = helper.make_node("QLinearMatMul", ["a", *(name for name, _ in weights)], ["c"])
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights]
    values = generator.integers(0, 256, (size, size)).astype(np.uint8)
    return make_onnx_run([node], tensors, values, threads=threads)


def make_onnx_run(nodes: list[Any], weights: list[Any], values: NDArray[Any], *, threads: int) -> Run:
    """A run of a graph from input "a" to output "c", of the type and shape of `values`, in preallocated memory."""
    import onnxruntime as ort  # pyright: ignore[reportMissingTypeStubs]
    from onnx import helper

    element_type = helper.np_dtype_to_tensor_dtype(values.dtype)
    ends = [helper.make_tensor_value_info(name, element_type, values.shape) for name in ("a", "c")]
    graph = helper.make_graph(nodes, "product", ends[:1], ends[1:], initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options: Any = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session: Any = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    check_same_threads("ONNX Runtime", threads, session.get_session_options().intra_op_num_threads)
    binding: Any = session.io_binding()
    binding.bind_ortvalue_input("a", ort.OrtValue.ortvalue_from_numpy(values))
    binding.bind_ortvalue_output("c", ort.OrtValue.ortvalue_from_numpy(np.empty_like(values)))
    return lambda: session.run_with_iobinding(binding)


def openvino_float(size: int, threads: int, *, element_type: str) -> Run | None:
    """OpenVINO's MatMul of floats of that type; None if this CPU computes it in another type."""
    from nextvit.runtime.openvino_session import ov

    ops, dtype = ov.opset13, {"f32": ov.Type.f32, "bf16": ov.Type.bf16}[element_type]
    values = ops.parameter([size, size], dtype, name="a")
    constant = ov.Tensor(random_matrix(size)) if element_type == "f32" else random_matrix(size)
    weight = ops.constant(constant) if element_type == "f32" else ops.convert(ops.constant(constant), "bf16")
    return make_openvino_run(
        ops.matmul(values, weight, False, True), values, element_type=element_type, threads=threads
    )


def openvino_int8(size: int, threads: int) -> Run | None:
    """OpenVINO's product of unsigned and signed bytes, with one scale for each column, as in an int8 bundle.

    OpenVINO computes in integers only if the graph has a FakeQuantize; here it follows the product, as in a network.
    """
    from nextvit.runtime.openvino_session import ov

    ops = ov.opset13
    values = ops.parameter([size, size], ov.Type.u8, name="a")
    integers = np.random.default_rng(0).integers(-127, 128, (size, size)).astype(np.int8)
    weight = ops.multiply(ops.convert(ops.constant(integers), "f32"), np.full((size, 1), 0.01, np.float32))
    scaled = ops.multiply(ops.convert(values, "f32"), np.float32(0.01))
    result = ops.relu(ops.matmul(scaled, weight, False, True))
    ends = [np.float32(end) for end in (0, 255, 0, 255)]
    quantised = ops.convert(ops.fake_quantize(result, *ends, 256), "u8")
    return make_openvino_run(quantised, values, element_type="i8", threads=threads)


def make_openvino_run(result: Any, values: Any, *, element_type: str, threads: int) -> Run | None:
    """A run of a graph of one product; None if OpenVINO chose a kernel of another element type."""
    from nextvit.runtime.openvino_session import ov, shared_core

    hint = element_type if element_type != "i8" else "f32"
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled: Any = shared_core().compile_model(ov.Model([result], [values]), "CPU", options)
    check_same_threads("OpenVINO", threads, compiled.get_property("INFERENCE_NUM_THREADS"))
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    # Of what OpenVINO reports, only the kernel is reliable: compressed weights computed in f32 have precision "u8".
    kernels = [info_text(info["primitiveType"]) for info in nodes if info_text(info["layerType"]) in PRODUCT_LAYERS]
    if len(kernels) != 1 or not kernels[0].lower().endswith(f"_{element_type}"):
        return None
    request: Any = compiled.create_infer_request()
    return request.infer


PRODUCT_LAYERS = ("FullyConnected", "MatMul")


def info_text(value: Any) -> str:
    """A value of OpenVINO's runtime information as a string."""
    return str(getattr(value, "value", value))


def torch_float(size: int, threads: int, *, dtype: str) -> Run:
    """PyTorch's product."""
    torch = import_module("torch")
    from nextvit.runtime.torch_session import torch_threads

    left, right = (torch.from_numpy(random_matrix(size)).to(getattr(torch, dtype)) for _ in range(2))

    def run() -> None:
        with torch_threads(threads), torch.inference_mode():
            check_same_threads("PyTorch", threads, torch.get_num_threads())
            torch.mm(left, right)

    return run


# PyTorch's product packs its weights again in each call, so it is no peak for compiled PyTorch.
PRODUCTS: dict[tuple[str, str], Callable[[int, int], Run | None]] = {
    ("onnx", "fp32"): lambda size, threads: onnx_float(size, threads, dtype=np.float32),
    ("onnx", "fp16"): lambda size, threads: onnx_float(size, threads, dtype=np.float16),
    ("onnx", "int8"): onnx_int8,
    ("openvino", "fp32"): lambda size, threads: openvino_float(size, threads, element_type="f32"),
    ("openvino", "bf16"): lambda size, threads: openvino_float(size, threads, element_type="bf16"),
    ("openvino", "int8"): openvino_int8,
    ("torch", "fp32"): lambda size, threads: torch_float(size, threads, dtype="float32"),
    ("torch", "bf16"): lambda size, threads: torch_float(size, threads, dtype="bfloat16"),
}


def measure_bandwidth(
    threads: int, *, array_bytes: int | None = None, rounds: int = ROUNDS, seconds: float = SECONDS
) -> float:
    """GB/s of main memory, by copying an array, or by adding two into a third: the better of the two.

    Bytes that are read and written count, but not those that a cache reads before it writes. Each thread has its own
    part of the arrays.

    Args:
        array_bytes: length of each array; None: four times the last-level cache, but at least 128 MiB.
    """
    size = (array_bytes or max(4 * last_cache_bytes(), 2**27)) // (8 * threads)
    with ThreadPoolExecutor(threads) as pool:
        # The pool writes each part first, so that its pages are mapped.
        parts = list(
            pool.map(lambda _: [np.full(size, value, np.float64) for value in (1.0, 2.0, 3.0)], range(threads))
        )

        def copy(arrays: list[NDArray[np.float64]]) -> None:
            np.copyto(arrays[0], arrays[1])

        def add(arrays: list[NDArray[np.float64]]) -> None:
            np.add(arrays[1], arrays[2], out=arrays[0])

        best = 0.0
        for _ in range(rounds):
            for work, num_arrays in ((copy, 2), (add, 3)):
                fastest = fastest_seconds(lambda work=work: list(pool.map(work, parts)), seconds=seconds / 2)
                best = max(best, num_arrays / fastest)
    return best * 8 * size * threads / 1e9


def last_cache_bytes() -> int:
    """Bytes of the last-level cache of the first core; 32 MiB if the system does not say."""
    sizes = [file.read_text() for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    found = [re.fullmatch(r"(\d+)([KM])\s*", each) for each in sizes]
    return max((int(each[1]) * {"K": 2**10, "M": 2**20}[each[2]] for each in found if each), default=2**25)
