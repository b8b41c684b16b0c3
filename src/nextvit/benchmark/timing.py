"""Latency of several candidates, interleaved, so that a drifting machine hurts all alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WARMUP_RUNS = 10
MIN_RUNS = 50


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one run, over many."""

    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: NDArray[np.float64]) -> "Latency":
        p50, p90, p99 = np.percentile(seconds * 1000, [50, 90, 99]).tolist()
        return cls(runs=len(seconds), p50_ms=p50, p90_ms=p90, p99_ms=p99)


def measure_interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    runs: int = MIN_RUNS,
    min_seconds: float = 5.0,
    warmup: int = WARMUP_RUNS,
) -> dict[str, NDArray[np.float64]]:
    """Seconds of each run of each candidate: (rounds,) by name, at least `runs` and until `min_seconds` passed for each.

    In every round each candidate runs twice, and the second run counts: the first one bears what the candidate before
    left behind (spinning threads, cold caches).
    """
    for run in candidates.values():
        for _ in range(warmup):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    while any(len(each) < runs or sum(each) < min_seconds for each in seconds.values()):
        for name, run in candidates.items():
            run()
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: np.array(each) for name, each in seconds.items()}
