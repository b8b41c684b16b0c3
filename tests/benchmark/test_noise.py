"""The noise of given numbers, and one real measurement of which only ranges are checked."""

import os
import time
from pathlib import Path

import pytest

from nextvit.benchmark import noise
from nextvit.benchmark.noise import CpuTimes, Noise, run_fixed_work

pytestmark = pytest.mark.serial

STEADY = [0.008] * 50
BEFORE = CpuTimes(busy=100.0, stolen=1.0, own=20.0, wall=1000.0)


def after(*, seconds: float = 10.0, busy: float = 10.0, own: float = 10.0, stolen: float = 0.0) -> CpuTimes:
    return CpuTimes(busy=100 + busy, stolen=1 + stolen, own=20 + own, wall=1000 + seconds)


def test_a_machine_that_is_ours_alone_is_quiet():
    quiet = Noise.from_times(STEADY, BEFORE, after(), cores=2)
    assert quiet == Noise(interdecile_range=0.0, by_others_fraction=0.0, stolen_fraction=0.0)
    assert (quiet.busy, quiet.warning) == (False, None)


def test_what_other_processes_take_is_a_fraction_of_all_cores():
    loaded = Noise.from_times(STEADY, BEFORE, after(busy=15, own=10), cores=2)
    assert loaded.by_others_fraction == pytest.approx(0.25)
    assert loaded.busy
    assert loaded.warning == (
        "this machine is too busy to trust small differences: other processes took 25% of its CPU time, 10% is the most"
    )
    assert not Noise.from_times(STEADY, BEFORE, after(busy=15, own=10), cores=64).busy


def test_what_the_hypervisor_withholds_is_a_fraction_of_the_needed_time():
    loaded = Noise.from_times(STEADY, BEFORE, after(busy=9, own=9, stolen=1), cores=2)
    assert loaded.stolen_fraction == pytest.approx(0.1)
    assert loaded.warning and "its hypervisor withheld 10% of the CPU time asked for, 5% is the most" in loaded.warning


def test_the_spread_is_from_the_10th_to_the_90th_percentile_over_the_median():
    seconds = [0.010 + 0.0001 * place for place in range(-50, 51)]
    loaded = Noise.from_times(seconds, None, None, cores=2)
    assert loaded == Noise(interdecile_range=pytest.approx(0.8), by_others_fraction=None, stolen_fraction=None)
    assert loaded.warning and "varied by 80%" in loaded.warning


def test_every_fault_is_in_the_one_line():
    warning = Noise(interdecile_range=0.5, by_others_fraction=0.4, stolen_fraction=0.3).warning
    assert warning and warning.count(";") == 2 and "\n" not in warning
    assert all(number in warning for number in ("50%", "40%", "30%"))


def test_children_that_ended_within_count_as_ours_and_never_make_a_negative_fraction():
    assert Noise.from_times(STEADY, BEFORE, after(busy=5, own=9), cores=2).by_others_fraction == 0.0


def test_too_short_a_measurement_says_nothing_of_other_processes():
    assert Noise.from_times(STEADY, BEFORE, after(seconds=0.5, busy=1.0), cores=2) == Noise(interdecile_range=0.0)
    assert Noise.from_times([0.008], None, None, cores=2) == Noise()
    assert not Noise().busy


def test_the_line_of_the_system(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(noise.os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    line = "cpu  100 200 300 9000 4000 50 60 70 20 0"
    assert CpuTimes.read(line, own=1.5, wall=9.0) == CpuTimes(busy=7.1, stolen=0.7, own=1.5, wall=9.0)
    for other in ("", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3", "cpu a b c d e f g h"):
        assert CpuTimes.read(other, own=0, wall=0) is None


def test_a_system_without_cpu_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(noise, "STAT", tmp_path / "gone")
    assert CpuTimes.now() is None


def test_a_real_measurement():
    before = CpuTimes.now()
    seconds: list[float] = []
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        started = time.perf_counter()
        run_fixed_work()
        seconds.append(time.perf_counter() - started)
    real = Noise.from_times(seconds, before, CpuTimes.now(), cores=os.cpu_count() or 1)
    assert real.interdecile_range is not None and real.interdecile_range >= 0
    assert 1e-4 < min(seconds) < 1
    if noise.STAT.exists():
        assert real.by_others_fraction is not None and 0 <= real.by_others_fraction < 1.1
        assert real.stolen_fraction is not None and 0 <= real.stolen_fraction <= 1
    assert isinstance(real.busy, bool)
    assert run_fixed_work() == run_fixed_work()
