"""Whether the machine was quiet enough to trust what was measured on it."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STAT = Path("/proc/stat")
VALUES = np.linspace(0.0, 1.0, 1 << 14)  # 128 KiB and as much again for results: in a core's own cache
REPEATS = 40

MAX_INTERDECILE_RANGE = 0.10
MAX_BY_OTHERS = 0.10
MAX_STOLEN = 0.05
MIN_SECONDS = 1.0
"""The system counts in ticks of 10 ms: over less than this its figures say little."""


def run_fixed_work() -> float:
    """The same arithmetic every time, 5 to 10 ms on one core, in numpy's own loops: no threads, no memory traffic."""
    total = 0.0
    for _ in range(REPEATS):
        total += float(np.sin(VALUES).sum())
    return total


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds since some moment in the past: differences of two of these mean something."""

    busy: float
    """Of the whole machine, by whomever: all but idle, waiting for disks, and stolen."""
    stolen: float
    """That this machine wanted and its hypervisor gave to others."""
    own: float
    """Of this process and of its children that have ended."""
    wall: float

    @classmethod
    def now(cls) -> "CpuTimes | None":
        """None where the system does not tell (any but Linux)."""
        try:
            line = STAT.read_text(encoding="ascii").partition("\n")[0]
        except OSError:
            return None
        return cls.read(line, own=sum(os.times()[:4]), wall=time.monotonic())

    @classmethod
    def read(cls, line: str, *, own: float, wall: float) -> "CpuTimes | None":
        """From the first line of /proc/stat: cpu, then ticks of user, nice, system, idle, iowait, irq, softirq, steal.
        (guest times behind them are part of user and nice.) None where it is not that."""
        name, *fields = line.split() or [""]
        if name != "cpu" or len(fields) < 8 or not all(field.isdigit() for field in fields):
            return None
        user, nice, system, _, _, irq, softirq, stolen = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[:8])
        return cls(busy=user + nice + system + irq + softirq, stolen=stolen, own=own, wall=wall)


@dataclass(frozen=True)
class Noise:
    """How steady the machine was while something was measured, as shares; None where nothing tells.

    `interdecile_range` is (p90 - p10) / p50 of the seconds of `run_fixed_work`, run once in each round. `by_others_fraction` is the CPU time that
    other processes took, of all that the machine's cores had. `stolen` is what the hypervisor withheld, of the CPU time
    that was asked for.
    """

    interdecile_range: float | None = None
    by_others_fraction: float | None = None
    stolen: float | None = None

    @classmethod
    def from_times(
        cls, seconds: Sequence[float], before: CpuTimes | None, after: CpuTimes | None, *, cores: int
    ) -> "Noise":
        """From the times of the fixed work and the CPU times before and after; `cores` are all of the machine."""
        interdecile_range = by_others_fraction = stolen = None
        if len(seconds) > 1:
            p10, p50, p90 = np.percentile(np.asarray(seconds), (10, 50, 90)).tolist()
            interdecile_range = (p90 - p10) / p50
        if before and after and after.wall - before.wall >= MIN_SECONDS:
            busy, taken = after.busy - before.busy, after.stolen - before.stolen
            others = busy - (after.own - before.own)
            by_others_fraction = max(0.0, others / ((after.wall - before.wall) * cores))
            stolen = taken / (busy + taken) if busy + taken else 0.0
        return cls(interdecile_range, by_others_fraction, stolen)

    @property
    def warning(self) -> str | None:
        """One line that says what was too much, with the number; None where nothing was."""
        measured = (
            (self.by_others_fraction, MAX_BY_OTHERS, "other processes took {} of its CPU time"),
            (self.stolen, MAX_STOLEN, "its hypervisor withheld {} of the CPU time asked for"),
            (
                self.interdecile_range,
                MAX_INTERDECILE_RANGE,
                "a fixed piece of work varied by {} (90th less 10th percentile, over the median)",
            ),
        )
        faults = [
            f"{text.format(f'{share:.0%}')}, {most:.0%} is the most"
            for share, most, text in measured
            if share and share > most
        ]
        return f"this machine is too busy to trust small differences: {'; '.join(faults)}" if faults else None

    @property
    def busy(self) -> bool:
        """Whether the machine was too busy to trust what was measured."""
        return self.warning is not None
