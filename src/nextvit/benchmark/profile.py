"""The latency of a bundle by operator, and how far each operator is from the machine's limits."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nextvit.benchmark.limit import Limits, PeakKey
from nextvit.benchmark.operators import ATTENTION, GROUPED, LINEAR, PRODUCT, Operator
from nextvit.benchmark.suite import LoadedConfiguration, Say
from nextvit.bundle.manifest import Manifest, is_bundle, read_manifest
from nextvit.errors import InputError, MissingDependency
from nextvit.tasks.task import get_task

PROFILED_BACKENDS = ("onnx", "openvino")
COLUMNS = ("operator", "kind", "precision", "ms", "share", "GFLOP/s", "least ms", "of limit")
SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The operators of one configuration."""

    name: str
    """As in the records of its times."""
    batch: int
    operators: list[Operator]


def profile_all(loaded: Sequence[LoadedConfiguration], limits: Limits, say: Say) -> list[Profile]:
    """Profile every bundle for ONNX Runtime and OpenVINO that computes on the CPU, at its first batch size.

    Of a detector only the backbone is profiled. Limits that `limits` lacks are measured here.
    """
    found: list[tuple[LoadedConfiguration, list[Operator]]] = []
    for each in loaded:
        chosen = each.configuration
        if chosen.card.input.padded:
            instead = "; its backbone has one" if get_task(chosen.card.task).times_backbone_separately else ""
            say(f"no profile of {each.name}: only networks with one input and fixed shapes have one{instead}")
        elif chosen.backend in PROFILED_BACKENDS and chosen.path and is_bundle(chosen.path) and each.on_cpu:
            say(f"profiling {each.name}, batch {each.batches[0]}")
            manifest = replace(read_manifest(chosen.path), card=chosen.card)  # at the measured size
            operators = profile_bundle(chosen.path, manifest, threads=chosen.threads, batch=each.batches[0])
            found.append((each, operators))
    known = limits.measure_missing({key for each, operators in found for key in required_peaks(operators, each)})
    return [
        Profile(name=each.name, batch=each.batches[0], operators=add_limits(operators, known, each.peak_key))
        for each, operators in found
    ]


def required_peaks(operators: Sequence[Operator], loaded: LoadedConfiguration) -> set[PeakKey]:
    """Keys of the peaks with which these operators are compared."""
    backend, _, threads = loaded.peak_key
    return {(backend, each.precision, threads) for each in operators}


def check_profile_possible(backends: Collection[str]) -> None:
    """Raise MissingDependency if profiling bundles of these backends would lack a package."""
    if "onnx" in backends and find_spec("onnx") is None:
        raise MissingDependency("onnx", extra="train")


def profile_bundle(
    bundle_folder: Path, manifest: Manifest, *, threads: int, batch: int, seconds: float = SECONDS
) -> list[Operator]:
    """Every operator that the runtime executes on the CPU, in order; `add_limits` adds fractions and limits.

    Args:
        bundle_folder: the bundle.
        manifest: its manifest; the input is random pixels of the size in its card.
        batch: number of images.
        seconds: the least time to run, for 100 runs at most.

    Raises:
        InputError: the backend has no profile, or cannot load the file.
        MissingDependency: the runtime is not installed, or for ONNX Runtime the package `onnx`.
    """
    if manifest.backend not in PROFILED_BACKENDS:
        raise InputError(
            f"{bundle_folder}: there are profiles of {' and '.join(PROFILED_BACKENDS)}, not of {manifest.backend}"
        )
    height, width = manifest.card.input.image_size
    pixels_NHWC = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    model_file = bundle_folder / manifest.model_file
    # Only one of the two runtimes may be installed.
    if manifest.backend == "onnx":
        from nextvit.benchmark.profile_onnx import profile_onnx

        return profile_onnx(model_file, pixels_NHWC, threads=threads, seconds=seconds)
    from nextvit.benchmark.profile_openvino import profile_openvino

    return profile_openvino(model_file, manifest.precision, pixels_NHWC, threads=threads, seconds=seconds)


def add_limits(operators: Sequence[Operator], limits: Limits, key: PeakKey) -> list[Operator]:
    """Copies of operators with their fraction of the total time, and the least time that the machine needs for each.

    Args:
        key: backend, precision and threads of the file; its operators may compute in other precisions.
    """
    backend, _, threads = key
    total = sum(each.ms for each in operators)
    return [
        replace(
            each,
            share=each.ms / total,
            least_ms=limits.least_ms((backend, each.precision, threads), macs=each.macs, moved_bytes=each.bytes),
        )
        for each in operators
    ]


@dataclass(frozen=True, kw_only=True)
class OperatorGroup:
    """Sums over all operators of one kind."""

    kind: str
    count: int
    ms: float
    share: float
    macs: int
    bytes: int
    least_ms: float
    of_limit: float
    gain_ms: float


def group_by_kind(operators: Sequence[Operator]) -> list[OperatorGroup]:
    """Sums over the operators of each kind, the most expensive kind first."""
    kinds = dict.fromkeys(each.kind for each in operators)
    return sorted(
        (sum_operators(kind, [each for each in operators if each.kind == kind]) for kind in kinds), key=time_order
    )


def time_order(each: Operator | OperatorGroup) -> float:
    """Sort key: the most expensive first."""
    return -each.ms


def sum_operators(kind: str, operators: Sequence[Operator]) -> OperatorGroup:
    """Sums over these operators, labelled as `kind`."""
    ms, least_ms = sum(each.ms for each in operators), sum(each.least_ms for each in operators)
    return OperatorGroup(
        kind=kind,
        count=len(operators),
        ms=ms,
        share=sum(each.share for each in operators),
        macs=sum(each.macs for each in operators),
        bytes=sum(each.bytes for each in operators),
        least_ms=least_ms,
        of_limit=least_ms / ms if ms else 0.0,
        gain_ms=sum(each.gain_ms for each in operators),
    )


def table_rows(operators: Sequence[Operator], *, max_rows: int = 10) -> list[tuple[str, ...]]:
    """The most expensive operators as a table's rows, under `COLUMNS`."""
    return [
        (
            each.module or each.name,
            each.kind,
            each.precision,
            f"{each.ms:.3f}",
            f"{each.share:.1%}",
            f"{2e-6 * each.macs / each.ms:.0f}" if each.macs and each.ms else "",
            f"{each.least_ms:.3f}",
            f"{each.of_limit:.2f}",
        )
        for each in sorted(operators, key=time_order)[:max_rows]
    ]


def summarize_bottlenecks(operators: Sequence[Operator]) -> str:
    """One line on what limits the latency: where the time goes, how near to the limit, and the largest gains."""
    convolutions = [each for each in operators if each.kind.startswith("convolution") or each.kind == GROUPED]
    products = [each for each in operators if each.kind in (LINEAR, PRODUCT, ATTENTION)]
    others = [each for each in operators if each.macs == 0]
    parts: list[str] = []
    for name, group in (("convolutions", convolutions), ("matrix products", products), ("all else", others)):
        total = sum_operators(name, group)
        at = f" at {total.of_limit:.2f} of the limit" if group and total.macs else ""
        parts += [f"{name} {total.share:.0%} of {sum(each.ms for each in operators):.2f} ms{at}"] if group else []
    left = sorted(group_by_kind(operators), key=lambda each: -each.gain_ms)[:2]
    gains = " and ".join(f"{each.gain_ms:.2f} ms in {each.kind}" for each in left)
    return f"{'; '.join(parts)}. At the limit it would save {gains}."


def profile_record(operators: Sequence[Operator]) -> dict[str, Any]:
    """The profile as plain JSON values."""
    return {
        "ms": round(sum(each.ms for each in operators), 4),
        "least_ms": round(sum(each.least_ms for each in operators), 4),
        "macs": sum(each.macs for each in operators),
        "verdict": summarize_bottlenecks(operators),
        "kinds": [round_floats(asdict(each)) for each in group_by_kind(operators)],
        "operators": [
            round_floats({**asdict(each), "of_limit": each.of_limit, "gain_ms": each.gain_ms}) for each in operators
        ],
    }


def round_floats(values: dict[str, Any]) -> dict[str, Any]:
    """Round the floats among these values to four decimals."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
