"""Timing without a threshold on time: order, counts and percentiles."""

import time

import numpy as np

from nextvit.benchmark.timing import Latency, measure_interleaved


def test_candidates_take_turns_and_the_first_run_of_a_turn_does_not_count():
    calls: list[str] = []

    def candidate(name: str):
        def run() -> None:
            calls.append(name)
            time.sleep(0.01)

        return run

    seconds = measure_interleaved({"a": candidate("a"), "b": candidate("b")}, runs=5, min_seconds=0.0, warmup=2)
    assert "".join(calls) == "aabb" + "aabb" * 5
    assert {name: len(each) for name, each in seconds.items()} == {"a": 5, "b": 5}


def test_a_fast_candidate_gets_as_much_time_as_a_slow_one():
    seconds = measure_interleaved(
        {"slow": lambda: time.sleep(0.03), "fast": lambda: time.sleep(0.003)}, runs=3, min_seconds=0.0
    )
    assert len(seconds["slow"]) == 3
    assert len(seconds["fast"]) > len(seconds["slow"])


def test_it_goes_on_until_the_time_is_full():
    seconds = measure_interleaved({"a": lambda: time.sleep(0.01)}, runs=2, min_seconds=0.1, warmup=0)
    assert sum(seconds["a"]) >= 0.1
    assert min(seconds["a"]) >= 0.01


def test_percentiles_are_milliseconds():
    latency = Latency.of(np.arange(1, 102) / 1000)
    assert (latency.runs, latency.p50_ms, latency.p90_ms, latency.p99_ms) == (101, 51.0, 91.0, 100.0)
