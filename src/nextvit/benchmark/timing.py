"""Latency of several candidates, interleaved, so that a drifting machine hurts all alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WARMUP_RUNS = 10
MIN_RUNS = 50
MOST_REPEATS = 50


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
    """Seconds of every timed run of each candidate: at least `runs` of them, and `min_seconds` in sum.

    Candidates take turns in rounds. A turn is one run that does not count, which bears what the candidate before left
    behind (spinning threads, cold caches), then as many timed runs as make all turns about equally long.
    """
    typical: dict[str, float] = {}
    for name, run in candidates.items():
        typical[name] = float(np.median([timed(run) for _ in range(max(1, warmup))]))
    longest = max(typical.values())
    repeats = {name: max(1, min(MOST_REPEATS, round(longest / each))) for name, each in typical.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    while any(len(each) < runs or sum(each) < min_seconds for each in seconds.values()):
        for name, run in candidates.items():
            run()
            seconds[name] += [timed(run) for _ in range(repeats[name])]
    return {name: np.array(each) for name, each in seconds.items()}


def timed(run: Callable[[], object]) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
