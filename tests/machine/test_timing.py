"""Timing without a threshold on time: order, counts and percentiles."""

import threading
import time

import numpy as np
import pytest

from nextvit.machine import timing
from nextvit.machine.timing import Latency, measure_interleaved

pytestmark = pytest.mark.serial


class Clock:
    """A clock that only the candidates move, and the order in which they did."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def candidate(self, name: str, *, seconds: float):
        def run() -> None:
            self.calls.append(name)
            self.now += seconds

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def test_candidates_take_turns_and_the_first_run_of_a_turn_does_not_count(clock: Clock):
    candidates = {name: clock.candidate(name, seconds=0.01) for name in "ab"}
    rounds: list[int] = []
    turns = measure_interleaved(
        candidates, runs=5, min_seconds=0.0, warmup=2, each_round=lambda: rounds.append(len(clock.calls))
    )
    assert "".join(clock.calls) == "aabb" + "aabb" * 5
    assert {name: list(map(len, each)) for name, each in turns.items()} == {"a": [1] * 5, "b": [1] * 5}
    assert rounds == [4, 8, 12, 16, 20]


def test_a_fast_candidate_gets_as_much_time_as_a_slow_one(clock: Clock):
    candidates = {name: clock.candidate(name, seconds=length) for name, length in (("slow", 0.03), ("fast", 0.003))}
    turns = measure_interleaved(candidates, runs=3, min_seconds=0.0)
    assert {name: list(map(len, each)) for name, each in turns.items()} == {"slow": [1] * 3, "fast": [10] * 3}
    assert np.concatenate(turns["fast"]) == pytest.approx(0.003)


def test_turns_of_fast_candidates_are_long_enough_to_be_worth_their_pause(clock: Clock):
    turns = measure_interleaved({"a": clock.candidate("a", seconds=0.001)}, runs=50, min_seconds=5.0)
    assert list(map(len, turns["a"])) == [50] * 100
    turns = measure_interleaved({"a": clock.candidate("a", seconds=0.001)}, runs=40, min_seconds=0.0)
    assert list(map(len, turns["a"])) == [2] * 20  # few runs are still of many rounds


def test_a_turn_waits_until_the_threads_of_the_one_before_rest():
    spinning: list[threading.Thread] = []

    def spin(seconds: float) -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    def leaves_a_thread_behind() -> None:
        spinning.append(threading.Thread(target=spin, args=(0.03,)))
        spinning[-1].start()

    beside: list[int] = []
    measure_interleaved(
        {"a": leaves_a_thread_behind, "b": lambda: beside.append(sum(each.is_alive() for each in spinning))},
        runs=3,
        min_seconds=0.0,
        warmup=0,
    )
    alone = beside[1:]  # the first is for the length of a run
    assert len(alone) >= 2 * 3
    assert not any(alone)


def test_it_goes_on_until_the_time_is_full():
    turns = measure_interleaved({"a": lambda: time.sleep(0.01)}, runs=2, min_seconds=0.1, warmup=0)
    seconds = np.concatenate(turns["a"])
    assert sum(seconds) >= 0.1
    assert min(seconds) >= 0.01


def test_percentiles_are_milliseconds():
    latency = Latency.of(np.array_split(np.arange(1, 102) / 1000, 7))
    assert (latency.runs, latency.least_ms, latency.p50_ms, latency.p90_ms, latency.p99_ms) == (
        101,
        1.0,
        51.0,
        91.0,
        100.0,
    )
