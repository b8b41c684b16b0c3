"""Next-ViT on a CUDA device against networks of timm, as they are served there.

    python benchmarks/gpu.py [--minutes 9] [--only nextvit_small,timm:resnet101] [--results FILE]

Ours are the deployment form; timm's are reparameterized where timm can, with batch norms folded into convolutions where
torch.fx can, and keep PyTorch's fused attention. Weights are random, batch norms have the statistics of the bundled
photographs. All take uint8 images (N, 224, 224, 3) that are on the device already, and compute in fp16 or bf16.
Networks of one group (precision, layout, how it is run, batch) take turns, and CUDA events time every run; a network
whose outputs differ from those of eager PyTorch is not measured. The most important groups come first; configurations
that fail or for which there is no time left are recorded with the reason. One JSON line each is appended to
benchmarks/results/gpu.jsonl. Without a CUDA device it prints so and exits.
"""

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nextvit.benchmark.configurations import TIMM_PREFIX
from nextvit.benchmark.peers import NUM_CLASSES, Peer, load_photographs, set_batch_norm_statistics
from nextvit.files.run_folder import append_json_line
from nextvit.image.resizing import Preprocess
from nextvit.machine.environment import describe_environment
from nextvit.models.config import VARIANTS
from nextvit.models.cost import Cost, module_cost
from nextvit.models.create import create_model
from nextvit.models.deployed import Deployed

RESULTS = Path(__file__).parent / "results" / "gpu.jsonl"
SIZE_PX = 224
OURS = ("nextvit_small", "nextvit_base", "nextvit_large")
PEERS = (
    *("timm:nextvit_small", "timm:resnet101", "timm:convnext_tiny", "timm:swin_tiny_patch4_window7_224"),
    *("timm:efficientformer_l7", "timm:caformer_s18"),
)
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
EAGER, GRAPH, COMPILED = "torch", "torch-cuda-graph", "torch-compiled"
SECONDS = {EAGER: 2.0, GRAPH: 2.0, COMPILED: 45.0}
"""Expected seconds of one configuration, including preparation; most of the last is compilation."""
TURNS, TURN_SECONDS, MAX_RUNS = 8, 0.06, 200
MIN_COSINE = 0.999
Run = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Configurations that are compared with each other."""

    precision: str
    channels_last: bool
    backend: str
    batch: int
    networks: tuple[str, ...]

    @property
    def expected_seconds(self) -> float:
        return len(self.networks) * SECONDS[self.backend]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network in float32 on the CPU; every group uses a copy."""

    module: Any
    """`Deployed` or `Peer`: uint8 (N, H, W, C) -> logits, float32."""
    cost: Cost
    batch_norms: int
    """Number of batch norms that could not be folded."""


def plan_groups(names: tuple[str, ...]) -> list[Group]:
    """All groups, the most important first: by `SECONDS` all but the last compiled ones fit into nine minutes."""

    def group(precision: str, backend: str, batch: int, *, few: bool = False, channels_last: bool = True) -> Group:
        chosen = tuple(name for name in names if not few or name in ("nextvit_small", *PEERS[:2]))
        return Group(precision=precision, channels_last=channels_last, backend=backend, batch=batch, networks=chosen)

    return [
        *(group("fp16", GRAPH, batch) for batch in (1, 64, 8, 256)),
        *(group("fp16", EAGER, batch) for batch in (1, 64)),
        group("fp16", COMPILED, 64, few=True),
        *(group("bf16", GRAPH, batch) for batch in (1, 64)),
        *(group("fp16", GRAPH, batch, channels_last=False, few=True) for batch in (1, 64)),
        *(group("fp16", EAGER, batch, few=True) for batch in (8, 256)),
        *(group("bf16", GRAPH, batch, few=True) for batch in (8, 256)),
        group("fp16", COMPILED, 1, few=True),
        *(group("fp16", COMPILED, batch, few=True) for batch in (8, 256)),
        group("bf16", COMPILED, 64, few=True),
    ]


@cache
def build_network(name: str) -> Network:
    """A network by name, with random weights."""
    torch.manual_seed(0)
    spec = Preprocess(image_size=(SIZE_PX, SIZE_PX))
    images_NHWC = load_photographs(spec)
    if name in VARIANTS:
        module: nn.Module = Deployed(set_batch_norm_statistics(create_model(name).eval(), images_NHWC, spec), spec)
    else:
        module = Peer(
            fold_batch_norms(set_batch_norm_statistics(timm_model(name.removeprefix(TIMM_PREFIX)), images_NHWC, spec)),
            spec,
        )
    counted = module_cost(module, torch.empty(1, SIZE_PX, SIZE_PX, 3, dtype=torch.uint8))
    norms = sum(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in module.modules())
    return Network(module=module.eval(), cost=counted, batch_norms=norms)


def place_network(network: Network, group: Group, device: str) -> nn.Module:
    """A copy of the network in the precision and memory format of the group, on the device."""
    module = copy.deepcopy(network.module)
    module.model.to(DTYPES[group.precision])
    module.dtype = DTYPES[group.precision]
    memory = torch.channels_last if group.channels_last else torch.contiguous_format
    for each in module.modules():
        if isinstance(each, nn.Conv2d):
            each.weight.data = each.weight.data.contiguous(memory_format=memory)
    return module.to(device)


def images_for(group: Group, device: str) -> Tensor:
    """Random uint8 images (N, H, W, C) in the memory format of the group, which the network's first layer keeps."""
    shape = (group.batch, SIZE_PX, SIZE_PX, 3) if group.channels_last else (group.batch, 3, SIZE_PX, SIZE_PX)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    return images if group.channels_last else images.permute(0, 2, 3, 1)


def timm_model(name: str) -> nn.Module:
    """A timm network for PyTorch; the form for exporters, `peers.timm_model`, has no fused attention."""
    import timm

    return timm.create_model(name, num_classes=NUM_CLASSES).eval()


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Reparameterize a timm network, and fold its batch norms where torch.fx can trace it."""
    from timm.utils.model import reparameterize_model
    from torch.fx.experimental.optimization import fuse

    model: nn.Module = reparameterize_model(network)
    try:
        return fuse(model)
    except Exception:  # noqa: BLE001 (torch.fx may raise anything where it cannot trace; the network stays as it is)
        return model


def prepare(model: nn.Module, images_NHWC: Tensor, group: Group, pool: Any) -> Run:
    """A run of the network in the group's backend.

    Raises:
        RuntimeError: its outputs differ from those of the eager network.
    """

    def eager() -> Tensor:
        return model(images_NHWC)

    expected, run = eager(), eager
    if group.backend == COMPILED:
        torch.compiler.reset()
        compiled = torch.compile(model, dynamic=False)

        def run() -> Tensor:
            return compiled(images_NHWC)
    elif group.backend == GRAPH:
        run = capture_graph(eager, pool)
    for _ in range(3):
        outputs = run()
    cosine = float(nn.functional.cosine_similarity(outputs.double(), expected.double()).min())
    if not cosine >= MIN_COSINE:
        raise RuntimeError(f"its outputs differ from eager ones (cosine {cosine:.4f})")
    return run


def capture_graph(run: Run, pool: Any) -> Run:
    """Capture a run as a CUDA graph. All graphs of a group share one memory pool, because one runs at a time."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        outputs = run()

    def replay() -> Tensor:
        graph.replay()
        return outputs

    return replay


def times_ms(run: Run, runs: int) -> list[float]:
    """Milliseconds of each of `runs` consecutive runs, after a warm-up run."""
    run()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(runs)]
    for start, end in events:
        start.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in events]


def time_interleaved(runs: dict[str, Run]) -> dict[str, list[float]]:
    """Milliseconds of every run of each network; they take turns of about equal length."""
    counts: dict[str, int] = {}
    for name, run in runs.items():
        counts[name] = max(3, min(MAX_RUNS, int(1000 * TURN_SECONDS / np.median(times_ms(run, 5)))))
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS):
        for name in runs if turn % 2 else reversed(runs):
            found[name] += times_ms(runs[name], counts[name])
    return found


def peak_gflops(dtype: torch.dtype, *, size: int = 8192) -> float:
    """GFLOP/s of torch's product of two large matrices: the fastest of many."""
    left, right = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    return 2e-6 * size**3 / min(min(times_ms(lambda: left @ right, 10)) for _ in range(3))


@torch.inference_mode()
def measure(group: Group, peak: float, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure a group; returns a record for each network."""
    # 1. Prepare
    images = images_for(group, "cuda")
    pool = torch.cuda.graph_pool_handle()
    runs: dict[str, Run] = {}
    failed: dict[str, str] = {}
    for name in group.networks:
        try:
            runs[name] = prepare(place_network(build_network(name), group, "cuda"), images, group, pool)
        except Exception as error:  # noqa: BLE001 (out of memory, a compiler error: it is recorded, whatever it is)
            failed[name] = reason(error)
            torch.cuda.empty_cache()

    # 2. Time
    try:
        times = time_interleaved(runs)
    except Exception as error:  # noqa: BLE001 (as above)
        failed |= dict.fromkeys(runs, reason(error))
        times = {}

    # 3. Write the records
    medians = {name: float(np.median(each)) for name, each in times.items()}
    first = next(iter(medians.values()), None)
    records = [unavailable(name, group, why, facts) for name, why in failed.items()]
    for name, each in times.items():
        network, p50 = build_network(name), medians[name]
        rate = 2e-6 * network.cost.macs * group.batch / p50
        p90, p99 = np.percentile(each, [90, 99]).tolist()
        records.append(
            {
                **identity(name, group),
                "runs": len(each),
                "least_ms": min(each),
                "p50_ms": p50,
                "p90_ms": p90,
                "p99_ms": p99,
                "images_per_second": 1000 * group.batch / p50,
                "ratio": p50 / first if first else None,
                "parameters": network.cost.parameters,
                "macs": network.cost.macs,
                "batch_norms": network.batch_norms,
                "gflops_per_second": rate,
                "peak_gflops_per_second": peak,
                "peak_share": rate / peak,
                "environment": facts,
            }
        )
    return [
        {key: round(value, 4) if isinstance(value, float) else value for key, value in each.items()} for each in records
    ]


def identity(name: str, group: Group) -> dict[str, Any]:
    """The fields of a record that identify the configuration."""
    layout = "channels-last" if group.channels_last else "contiguous"
    return {
        "name": f"{name} {group.backend} {group.precision} {layout}",
        "variant": name,
        "kind": "variant" if name in VARIANTS else "timm",
        "backend": group.backend,
        "runtime": f"torch {torch.__version__}",
        "device": "cuda",
        "precision": group.precision,
        "layout": layout,
        "batch": group.batch,
        "image_size": [SIZE_PX, SIZE_PX],
    }


def unavailable(name: str, group: Group, why: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {**identity(name, group), "unavailable": why, "environment": facts}


def reason(error: Exception) -> str:
    """An error as one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def gpu_facts(minutes: float) -> dict[str, Any]:
    """The environment with the device and its driver."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = None
    command = f"python benchmarks/gpu.py --minutes {minutes:g}"
    gpu = {"gpu": torch.cuda.get_device_name(), "driver": driver, "cuda": torch.version.cuda}
    return {**describe_environment(), **gpu, "command": command}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", default=",".join((*OURS, *PEERS)))
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing to measure")
        sys.exit(0)
    started = time.monotonic()
    torch.backends.cudnn.benchmark = True
    facts = gpu_facts(arguments.minutes)
    peaks = {name: peak_gflops(dtype) for name, dtype in DTYPES.items()}
    for group in plan_groups(tuple(arguments.only.split(","))):
        left = 60 * arguments.minutes - (time.monotonic() - started)
        if left < group.expected_seconds:
            why = f"the {arguments.minutes:g} minutes were not enough for it"
            records = [unavailable(name, group, why, facts) for name in group.networks]
        else:
            records = measure(group, peaks[group.precision], facts)
        torch.cuda.empty_cache()
        for each in records:
            append_json_line(arguments.results, each)
            result = each.get("unavailable") or f"{each['p50_ms']:.3f} ms, {each['peak_share']:.0%} of the peak"
            print(f"{each['name']} batch {each['batch']}: {result}", flush=True)


if __name__ == "__main__":
    main()
