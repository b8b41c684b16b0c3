"""The same network exported by timm and by nextvit, on the same runtime, precision and threads: before and after.

    python benchmarks/fastest.py [--variants nextvit_small,...] [--batches 1,8] [--threads 1] [--cells onnx-int8,...]

timm's way: `reparameterize_model`, `timm.utils.onnx_export` with its defaults, its float input (N, 3, 224, 224), and
the runtime's own loading of that file with given threads and precision. In int8: NNCF on `openvino.convert_model` with
the mixed preset, and ONNX Runtime's `quant_pre_process` and `quantize_static` (QDQ, u8s8, one scale a channel), once
with its default operators and once with convolutions and matrix products alone; both are calibrated on the same
photographs as ours. PyTorch: timm's module in bf16 as it is, ours compiled. Ours take uint8 pixels and normalise them,
so they do more. Weights are random and the same for both; batch norms have the statistics of the photographs.

One JSON line for each pair is appended to benchmarks/results/fastest.jsonl; the table of docs/performance.md is written
from it (`--page` does only that).
"""

import argparse
import copy
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from marked_tables import write_table
from numpy.typing import NDArray
from pages import command_and_environment, provenance

from nextvit.backends.program import Source
from nextvit.benchmark.noise import CpuTimes, Noise, run_fixed_work
from nextvit.benchmark.peers import load_photographs, make_numbered_card, set_batch_norm_statistics
from nextvit.benchmark.ratio import compare_latencies
from nextvit.benchmark.unproven import write_unproven
from nextvit.bundle.manifest import Precision
from nextvit.errors import InputError, did_you_mean
from nextvit.files.run_folder import append_json_line, read_json_lines
from nextvit.image.resizing import INPUT_NAME, Preprocess
from nextvit.machine.environment import describe_environment, strip_folder
from nextvit.machine.quiet import suppress_output
from nextvit.machine.timing import MIN_RUNS, Latency, Turns, measure_interleaved, time_run
from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS
from nextvit.models.create import create_model
from nextvit.models.deployed import normalise
from nextvit.models.weights import load_weights
from nextvit.runtime.openvino_session import ov, shared_core
from nextvit.runtime.predictor import load_bundle
from nextvit.runtime.torch_session import TorchSession, torch_threads

ROOT = Path(__file__).parent
RESULTS = ROOT / "results" / "fastest.jsonl"
SPEC = Preprocess(image_size=(224, 224))
Cell = tuple[str, Precision]
CELLS: tuple[Cell, ...] = (
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("torch", "bf16"),
)
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
MIN_RUNS_OF_BATCHES = 20
"""Fewer than for single images, because a batch takes up to a second."""
Run = Callable[[], object]


def make_networks(variant: str, folder: Path) -> tuple[torch.nn.Module, Classifier]:
    """timm's network, reparameterized, and ours with the same weights."""
    import timm
    from timm.utils.model import reparameterize_model

    torch.manual_seed(0)
    theirs = set_batch_norm_statistics(timm.create_model(variant).eval(), load_photographs(SPEC), SPEC)
    torch.save(theirs.state_dict(), folder / "weights.pt")
    ours = create_model(variant).eval()
    assert isinstance(ours, Classifier)
    load_weights(ours, folder / "weights.pt")
    images = normalise(torch.from_numpy(load_photographs(SPEC)).permute(0, 3, 1, 2), SPEC)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-3)
    return reparameterize_model(theirs), ours


class TheirFiles:
    """timm's network exported to files, and runs of them; the input is one batch of floats (N, 3, 224, 224)."""

    def __init__(self, network: torch.nn.Module, folder: Path) -> None:
        from timm.utils.onnx import onnx_export

        self.network, self.folder = network, folder
        self.images = normalise(torch.from_numpy(load_photographs(SPEC)).permute(0, 3, 1, 2), SPEC).numpy()
        onnx_export(network, str(folder / "timm.onnx"), input_size=(3, 224, 224), batch_size=1)

    def make_runs(self, backend: str, precision: str, threads: int, batch: int) -> dict[str, Run]:
        pixels_NCHW = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
        if backend == "torch":
            return {"timm": self.make_torch_run(torch.from_numpy(pixels_NCHW).bfloat16(), threads)}
        if backend == "openvino":
            return {"timm": self.make_openvino_run(precision, pixels_NCHW, threads)}
        files = {"timm": self.folder / "timm.onnx"}
        if precision == "int8":
            files = {
                "timm": self.write_int8_onnx(None),
                "timm, few operators": self.write_int8_onnx(["Conv", "MatMul", "Gemm"]),
            }
        return {name: make_onnx_run(file, pixels_NCHW, threads) for name, file in files.items()}

    def make_torch_run(self, pixels_NCHW: torch.Tensor, threads: int) -> Run:
        network = copy.deepcopy(self.network).to(torch.bfloat16)

        def run() -> object:
            with torch_threads(threads), torch.inference_mode():
                return network(pixels_NCHW)

        return run

    def make_openvino_run(self, precision: str, pixels_NCHW: NDArray[np.float32], threads: int) -> Run:
        model = ov.convert_model(self.folder / "timm.onnx")
        if precision == "int8":
            import nncf  # pyright: ignore[reportMissingTypeStubs]

            images = [image[None] for image in self.images]
            model = nncf.quantize(model, nncf.Dataset(images), preset=nncf.QuantizationPreset.MIXED)
        options = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads}
        request = shared_core().compile_model(model, "CPU", options).create_infer_request()
        return lambda: request.infer({0: pixels_NCHW})

    def write_int8_onnx(self, operators: list[str] | None) -> Path:
        from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static

        path, prepared = self.folder / f"timm-int8-{'few' if operators else 'all'}.onnx", self.folder / "prepared.onnx"
        if not path.exists():
            quant_pre_process(self.folder / "timm.onnx", prepared)
            quantize_static(
                prepared,
                path,
                Images(self.images),  # pyright: ignore[reportArgumentType]
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=operators,
            )
        return path


class Images:
    """Calibration images in the interface of ONNX Runtime's quantiser."""

    def __init__(self, images_NCHW: NDArray[np.float32]) -> None:
        self.batches = iter([{"input0": images_NCHW}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


def make_onnx_run(file: Path, pixels_NCHW: NDArray[np.float32], threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input0": pixels_NCHW})


def make_our_run(
    model: Classifier, variant: str, backend: str, precision: Precision, threads: int, batch: int, folder: Path
) -> Run:
    """A run of our network: the session of a bundle, or PyTorch."""
    pixels_NHWC = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8)
    card = make_numbered_card(variant, SPEC)
    source = Source(model=model, card=card, precision=precision, calibration=load_photographs(SPEC))
    if backend == "torch":
        deployed = replace(source, precision="bf16").build_deployed(dtype=torch.bfloat16)
        session: Any = TorchSession(deployed, precision="bf16", compiled=True, threads=threads)
    else:
        bundle = folder / f"{backend}-{precision}.nextvit"
        if not bundle.exists():
            write_unproven(source, backend, bundle)
        session = load_bundle(bundle, threads=threads).session
    return lambda: session.run({INPUT_NAME: pixels_NHWC})


def measure(runs: dict[str, Run], batch: int, *, seconds: float) -> tuple[dict[str, Turns], Noise]:
    """At least 50 runs of single images, and 20 of batches."""
    work: list[float] = []
    before = CpuTimes.now()
    turns = measure_interleaved(
        runs,
        runs=MIN_RUNS if batch == 1 else MIN_RUNS_OF_BATCHES,
        min_seconds=seconds,
        warmup=3,
        each_round=lambda: work.append(time_run(run_fixed_work)),
    )
    return turns, Noise.from_times(work, before, CpuTimes.now(), cores=os.cpu_count() or 1)


def measure_variant(
    variant: str, batches: list[int], cells: Sequence[Cell], threads: int, seconds: float, command: str
) -> None:
    """Measure these cells of one variant, and append a record of each."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with suppress_output():
            theirs, ours = make_networks(variant, folder)
            files = TheirFiles(theirs, folder)
        for batch in batches:
            for backend, precision in cells:
                with suppress_output():
                    runs = files.make_runs(backend, precision, threads, batch)
                    runs["ours"] = make_our_run(ours, variant, backend, precision, threads, batch, folder)
                turns, noise = measure(runs, batch, seconds=seconds)
                best = min((name for name in runs if name != "ours"), key=lambda name: Latency.of(turns[name]).p50_ms)
                ratio = compare_latencies(turns["ours"], turns[best])
                record = {
                    "variant": variant,
                    "backend": backend,
                    "precision": precision,
                    "batch": batch,
                    "threads": threads,
                    "before": best,
                    **{name: asdict(Latency.of(each)) for name, each in turns.items()},
                    "ratio": ratio.value,
                    "ratio_interval_95": [ratio.low, ratio.high],
                    "verdict": ratio.verdict,
                    "noise": noise.interdecile_range,
                    "warning": noise.warning,
                    "environment": {**describe_environment(), "command": command},
                }
                append_json_line(RESULTS, record)
                print(f"{variant} {backend} {precision} batch {batch}: {ratio}", noise.warning or "", flush=True)


def table(records: Sequence[dict[str, Any]]) -> str:
    """The newest line of each pair, the geometric mean of all, and what they were measured with."""
    newest = {
        (each["variant"], each["batch"], each["backend"], each["precision"], each["threads"]): each for each in records
    }
    lines = ["| network | batch | runtime | timm, ms | ours, ms | ratio (95 %) | least of runs |", "| --- " * 7 + "|"]
    for (variant, batch, backend, precision, _), each in newest.items():
        low, high = each["ratio_interval_95"]
        before, after = each[each["before"]], each["ours"]
        least = after["least_ms"] / before["least_ms"]
        interval = f"{low:.3f} to {high:.3f}" if low else "too few rounds"
        lines.append(
            f"| {variant} | {batch} | {backend} {precision} | {before['p50_ms']:.1f} | {after['p50_ms']:.1f} | "
            f"{each['ratio']:.3f} ({interval}) | {least:.3f} |"
        )
    exported = [each["ratio"] for each in newest.values() if each["backend"] != "torch"]
    slower = [key for key, each in newest.items() if each["verdict"] == "slower"]
    threads = sorted({each["threads"] for each in newest.values()})
    busy = sum(each["warning"] is not None for each in newest.values())
    lines.append(
        f"\nGeometric mean of the exported files {geometric_mean(exported):.3f}, with PyTorch "
        f"{geometric_mean([each['ratio'] for each in newest.values()]):.3f}; "
        f"slower: {len(slower)} of {len(newest)}. Threads: "
        f"{', '.join(map(str, threads))}. Ratios are of runs that took turns, at least {MIN_RUNS} of single images and "
        f"{MIN_RUNS_OF_BATCHES} of batches; the last column is the ratio of the fastest runs. "
        "In ONNX int8 timm's file is "
        "quantised in two ways, of which the faster counts. PyTorch: timm's module as it is against ours compiled."
        f"{f' **The machine was too busy to trust small differences in {busy} lines.**' if busy else ''}\n"
    )
    return "\n".join([*lines, *provenance(*map(command_and_environment, newest.values()))])


def parse_cells(cells: str) -> list[Cell]:
    """ "onnx-int8,openvino-int8" -> the cells.

    Raises:
        InputError: an unknown one.
    """
    known = {"-".join(cell): cell for cell in CELLS}
    for name in cells.split(","):
        if name not in known:
            raise InputError(f"--cells knows no {name!r}; {did_you_mean(name, known)}")
    return [known[name] for name in cells.split(",")]


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(float(np.mean(np.log(ratios))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", default="nextvit_small,nextvit_base,nextvit_large")
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--cells", default=",".join("-".join(each) for each in CELLS), help="measure only these")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--page", action="store_true", help="only write the table of docs/performance.md")
    arguments = parser.parse_args()
    unknown = set(arguments.variants.split(",")) - VARIANTS.keys()
    assert not unknown, f"no variant {unknown}"
    try:
        cells = parse_cells(arguments.cells)
    except InputError as error:
        parser.error(str(error))
    batches = [int(each) for each in arguments.batches.split(",")]
    command = shlex.join(["python", "benchmarks/fastest.py", *map(strip_folder, sys.argv[1:])])
    if not arguments.page:
        for variant in arguments.variants.split(","):
            measure_variant(variant, batches, cells, arguments.threads, arguments.seconds, command)
    write_table("performance.md", "fastest.py", table(read_json_lines(RESULTS)))


if __name__ == "__main__":
    main()
