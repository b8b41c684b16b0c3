"""Latency of several candidates, interleaved, so that a drifting machine hurts all alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WARMUP_RUNS = 10
MIN_RUNS = 50
TURN_S = 0.05
"""A turn is at least so long where there are runs enough to be made: the pause before it is then no great part of the time."""
ROUNDS, MOST_REPEATS = 20, 500
LOOKS, LOOK_S = 40, 0.005
"""How often to look whether the threads of another candidate rest, and how long each time."""

Turns = list[NDArray[np.float64]]
"""Seconds of timed runs, an array for each turn that a candidate had: turn k of all candidates is one round."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one run, over many."""

    runs: int
    least_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float

    @classmethod
    def of(cls, turns: Turns) -> "Latency":
        milliseconds = np.concatenate(turns) * 1000
        least, p50, p90, p99 = np.percentile(milliseconds, [0, 50, 90, 99]).tolist()
        return cls(runs=len(milliseconds), least_ms=least, p50_ms=p50, p90_ms=p90, p99_ms=p99)


def measure_interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    runs: int = MIN_RUNS,
    min_seconds: float = 5.0,
    warmup: int = WARMUP_RUNS,
    each_round: Callable[[], object] = lambda: None,
) -> dict[str, Turns]:
    """Seconds of every timed run of each candidate: at least `runs` of them, and `min_seconds` in sum.

    Candidates take turns in rounds. A turn begins when the threads of the candidate before have come to rest, with one run
    that does not count, which bears cold caches; then come as many timed runs as make all turns about equally long, and at
    least `TURN_S` unless that would leave fewer than `ROUNDS`. `each_round` is called before each round.
    """
    typical: dict[str, float] = {}
    for name, run in candidates.items():
        typical[name] = float(np.median([timed(run) for _ in range(max(1, warmup))]))
    longest = max(typical.values())
    repeats: dict[str, int] = {}
    for name, each in typical.items():
        to_make = max(runs, min_seconds / each)
        wanted = max(longest / each, min(TURN_S / each, to_make / ROUNDS))
        repeats[name] = max(1, min(MOST_REPEATS, round(wanted)))
    turns: dict[str, Turns] = {name: [] for name in candidates}
    counts, sums = dict.fromkeys(candidates, 0), dict.fromkeys(candidates, 0.0)
    while any(counts[name] < runs or sums[name] < min_seconds for name in candidates):
        come_to_rest()
        each_round()
        for name, run in candidates.items():
            come_to_rest()
            run()
            turn = np.array([timed(run) for _ in range(repeats[name])])
            turns[name].append(turn)
            counts[name] += len(turn)
            sums[name] += float(turn.sum())
    return turns


def come_to_rest() -> None:
    """Wait until this process needs no processor: a runtime's threads may go on spinning after a run, ONNX Runtime's for
    40 ms unless it is told otherwise."""
    for _ in range(LOOKS):
        before = time.process_time()
        time.sleep(LOOK_S)
        if time.process_time() - before < LOOK_S / 2:
            return


def timed(run: Callable[[], object]) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
