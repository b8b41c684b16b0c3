"""Latency of several candidates, interleaved, so that a drift of the machine's speed affects all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WARMUP_RUNS = 10
MIN_RUNS = 50
MIN_TURN_S = 0.05
"""The least length of a turn, if there are enough runs to make: the pause before it is then a small part of the
time."""
ROUNDS, MAX_REPEATS = 20, 500
"""The least number of rounds over which runs are spread, and the most runs of a turn."""
IDLE_CHECKS, IDLE_CHECK_S = 40, 0.005
"""How often `wait_until_idle` measures the CPU time at most, and for how long each time."""

Turns = list[NDArray[np.float64]]
"""Seconds of a candidate's timed runs, an array for each of its turns; turn k of all candidates is one round."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Percentiles of the milliseconds of one run."""

    runs: int
    least_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float

    @classmethod
    def of(cls, turns: Turns) -> "Latency":
        """The percentiles over the runs of all turns."""
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
    """Time candidates in turns.

    In each round every candidate has a turn. A turn waits until the threads of the previous candidate are idle, and
    begins with one run that does not count, as it finds cold caches. Then come as many timed runs as make all turns
    about equally long, and at least `MIN_TURN_S` unless that would leave fewer than `ROUNDS` rounds.

    Args:
        candidates: the function of one run, under the name of its candidate.
        runs: the least number of timed runs of each candidate.
        min_seconds: the least sum of the timed runs of each candidate.
        warmup: runs of each candidate before the first round; their median decides how many runs a turn has.
        each_round: called before each round.

    Returns:
        The seconds of each timed run.
    """
    # 1. Decide how many runs a turn has
    typical: dict[str, float] = {}
    for name, run in candidates.items():
        typical[name] = float(np.median([time_run(run) for _ in range(max(1, warmup))]))
    longest = max(typical.values())
    repeats: dict[str, int] = {}
    for name, each in typical.items():
        expected_runs = max(runs, min_seconds / each)
        wanted = max(longest / each, min(MIN_TURN_S / each, expected_runs / ROUNDS))
        repeats[name] = max(1, min(MAX_REPEATS, round(wanted)))
    # 2. Take turns
    turns: dict[str, Turns] = {name: [] for name in candidates}
    counts, sums = dict.fromkeys(candidates, 0), dict.fromkeys(candidates, 0.0)
    while any(counts[name] < runs or sums[name] < min_seconds for name in candidates):
        wait_until_idle()
        each_round()
        for name, run in candidates.items():
            wait_until_idle()
            run()
            turn = np.array([time_run(run) for _ in range(repeats[name])])
            turns[name].append(turn)
            counts[name] += len(turn)
            sums[name] += float(turn.sum())
    return turns


def wait_until_idle() -> None:
    """Wait until this process uses no CPU time, for at most 0.2 s.

    A runtime's threads may go on spinning after a run: those of ONNX Runtime do for 40 ms in its default setting.
    """
    for _ in range(IDLE_CHECKS):
        before = time.process_time()
        time.sleep(IDLE_CHECK_S)
        if time.process_time() - before < IDLE_CHECK_S / 2:
            return


def time_run(run: Callable[[], object]) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
