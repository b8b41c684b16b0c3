"""Where a bundle's time goes, operator by operator, and how far each of them is from what the machine could do."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nextvit.benchmark.limit import Limits, measure_limits
from nextvit.benchmark.operators import ATTENTION, GROUPED, LINEAR, PRODUCT, Operator
from nextvit.bundle import Manifest
from nextvit.errors import InputError

PROFILED = ("onnx", "openvino")
COLUMNS = ("operator", "kind", "precision", "ms", "share", "GFLOP/s", "least ms", "of limit")
SECONDS = 5.0


def profile(
    bundle_folder: Path,
    manifest: Manifest,
    *,
    threads: int,
    batch: int,
    limits: Limits | None = None,
    seconds: float = SECONDS,
) -> list[Operator]:
    """Every operator that the runtime executes on the CPU for so many random images, in order.

    Args:
        limits: the machine's, for this runtime and these threads; None: they are measured here, which takes seconds.
        seconds: how long to run at least, but for 100 runs at most.

    Raises:
        InputError: the backend has no such profile, or cannot load the file.
        MissingDependency: the runtime is not installed, or for ONNX Runtime the package that reads the file.
    """
    if manifest.backend not in PROFILED:
        raise InputError(f"{bundle_folder}: there are profiles of {' and '.join(PROFILED)}, not of {manifest.backend}")
    height, width = manifest.card.input.image_size
    pixels_NHWC = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    model_file = bundle_folder / manifest.model_file
    # One of the two runtimes is enough to have.
    if manifest.backend == "onnx":
        from nextvit.benchmark.profile_onnx import profile_onnx

        operators = profile_onnx(model_file, pixels_NHWC, threads=threads, seconds=seconds)
    else:
        from nextvit.benchmark.profile_openvino import profile_openvino

        operators = profile_openvino(model_file, manifest.precision, pixels_NHWC, threads=threads, seconds=seconds)
    if limits is None:
        limits = measure_limits(manifest.backend, sorted({each.precision for each in operators}), threads)
    return with_limits(operators, limits)


def with_limits(operators: Sequence[Operator], limits: Limits) -> list[Operator]:
    """The same with each one's share of the time and the least that it could take."""
    total = sum(each.ms for each in operators)
    return [
        replace(
            each,
            share=each.ms / total,
            least_ms=limits.least_ms(macs=each.macs, moved_bytes=each.bytes, precision=each.precision),
        )
        for each in operators
    ]


@dataclass(frozen=True, kw_only=True)
class KindOfOperator:
    """All operators of one kind together."""

    kind: str
    count: int
    ms: float
    share: float
    macs: int
    bytes: int
    least_ms: float
    of_limit: float
    gain_ms: float


def by_kind(operators: Sequence[Operator]) -> list[KindOfOperator]:
    """Sums over the operators of each kind, the most expensive kind first."""
    kinds = dict.fromkeys(each.kind for each in operators)
    return sorted((summed(kind, [each for each in operators if each.kind == kind]) for kind in kinds), key=by_time)


def by_time(each: Operator | KindOfOperator) -> float:
    return -each.ms


def summed(kind: str, operators: Sequence[Operator]) -> KindOfOperator:
    """The sums over some operators."""
    ms, least_ms = sum(each.ms for each in operators), sum(each.least_ms for each in operators)
    return KindOfOperator(
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


def rows(operators: Sequence[Operator], *, most: int = 10) -> list[tuple[str, ...]]:
    """The most expensive operators as a table's rows, under `COLUMNS`."""
    return [
        (
            each.module or each.name,
            each.kind,
            each.precision,
            f"{each.ms:.3f}",
            f"{each.share:.1%}",
            f"{2e-6 * each.macs / each.ms:.0f}" if each.macs else "",
            f"{each.least_ms:.3f}",
            f"{each.of_limit:.2f}",
        )
        for each in sorted(operators, key=by_time)[:most]
    ]


def verdict(operators: Sequence[Operator]) -> str:
    """One line that says what bounds the file: where the time is, how near to the limit, and where the most is left."""
    convolutions = [each for each in operators if each.kind.startswith("convolution") or each.kind == GROUPED]
    products = [each for each in operators if each.kind in (LINEAR, PRODUCT, ATTENTION)]
    others = [each for each in operators if each.macs == 0]
    parts: list[str] = []
    for name, group in (("convolutions", convolutions), ("matrix products", products), ("all else", others)):
        total = summed(name, group)
        at = f" at {total.of_limit:.2f} of the limit" if group and total.macs else ""
        parts += [f"{name} {total.share:.0%} of {sum(each.ms for each in operators):.2f} ms{at}"] if group else []
    left = sorted(by_kind(operators), key=lambda each: -each.gain_ms)[:2]
    gains = " and ".join(f"{each.gain_ms:.2f} ms in {each.kind}" for each in left)
    return f"{'; '.join(parts)}. At the limit it would save {gains}."


def record(operators: Sequence[Operator]) -> dict[str, Any]:
    """All of it as plain JSON values."""
    return {
        "ms": round(sum(each.ms for each in operators), 4),
        "least_ms": round(sum(each.least_ms for each in operators), 4),
        "macs": sum(each.macs for each in operators),
        "verdict": verdict(operators),
        "kinds": [rounded(asdict(each)) for each in by_kind(operators)],
        "operators": [
            rounded({**asdict(each), "of_limit": each.of_limit, "gain_ms": each.gain_ms}) for each in operators
        ],
    }


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Floats with four digits behind the point."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
