"""Timing without a threshold on time: order, counts and percentiles."""

import numpy as np

from nextvit.benchmark.timing import Latency, measure_interleaved


def test_candidates_take_turns_and_only_every_second_run_counts():
    calls: list[str] = []
    seconds = measure_interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=5, min_seconds=0.0, warmup=2
    )
    assert "".join(calls) == "aabb" + "aabb" * 5
    assert {name: len(each) for name, each in seconds.items()} == {"a": 5, "b": 5}


def test_it_goes_on_until_the_time_is_full():
    import time

    seconds = measure_interleaved({"a": lambda: time.sleep(0.01)}, runs=2, min_seconds=0.1, warmup=0)
    assert sum(seconds["a"]) >= 0.1
    assert min(seconds["a"]) >= 0.01


def test_percentiles_are_milliseconds():
    latency = Latency.of(np.arange(1, 102) / 1000)
    assert (latency.runs, latency.p50_ms, latency.p90_ms, latency.p99_ms) == (101, 51.0, 91.0, 100.0)
