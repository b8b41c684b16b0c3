"""Whether the machine was quiet enough for its measurements to be trusted."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STAT = Path("/proc/stat")
VALUES = np.linspace(0.0, 1.0, 1 << 14)  # 128 KiB, and as much for the results: fits in a core's own cache
REPEATS = 40

MAX_INTERDECILE_RANGE = 0.10
MAX_BY_OTHERS = 0.10
MAX_STOLEN = 0.05
MIN_SECONDS = 1.0
"""The system counts in ticks of 10 ms: over less than this the figures are too coarse."""


def run_fixed_work() -> float:
    """A fixed workload of 5 to 10 ms on one core, in numpy's own loops: no threads, no memory traffic."""
    total = 0.0
    for _ in range(REPEATS):
        total += float(np.sin(VALUES).sum())
    return total


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds since an unspecified moment: only differences of two of these are meaningful."""

    busy: float
    """Of the whole machine: all but idle, I/O wait and steal time."""
    stolen: float
    """Steal time: what this machine needed and its hypervisor gave to others."""
    own: float
    """Of this process and of its children that have ended."""
    wall: float

    @classmethod
    def now(cls) -> "CpuTimes | None":
        """The times until now; None on systems other than Linux."""
        try:
            line = STAT.read_text(encoding="ascii").partition("\n")[0]
        except OSError:
            return None
        return cls.read(line, own=sum(os.times()[:4]), wall=time.monotonic())

    @classmethod
    def read(cls, line: str, *, own: float, wall: float) -> "CpuTimes | None":
        """Parse the first line of /proc/stat; None if it has another form.

        It is "cpu", then ticks of user, nice, system, idle, iowait, irq, softirq and steal. (The guest times after them
        are part of user and nice.)

        Args:
            own: CPU seconds of this process.
            wall: seconds of a monotonic clock.
        """
        name, *fields = line.split() or [""]
        if name != "cpu" or len(fields) < 8 or not all(field.isdigit() for field in fields):
            return None
        user, nice, system, _, _, irq, softirq, stolen = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[:8])
        return cls(busy=user + nice + system + irq + softirq, stolen=stolen, own=own, wall=wall)


@dataclass(frozen=True)
class Noise:
    """How steady the machine was while something was measured; None where nothing was recorded.

    `interdecile_range` is (p90 - p10) / p50 of the seconds of `run_fixed_work`, which is run once in each round.
    `by_others_fraction` is the fraction of the CPU time of all cores that other processes took. `stolen_fraction` is
    the fraction of the needed CPU time that the hypervisor withheld.
    """

    interdecile_range: float | None = None
    by_others_fraction: float | None = None
    stolen_fraction: float | None = None

    @classmethod
    def from_times(
        cls, seconds: Sequence[float], before: CpuTimes | None, after: CpuTimes | None, *, cores: int
    ) -> "Noise":
        """Compute the noise.

        Args:
            seconds: times of the fixed work.
            before: CPU times before the measurement.
            after: CPU times after it.
            cores: all cores of the machine.
        """
        interdecile_range = by_others_fraction = stolen_fraction = None
        if len(seconds) > 1:
            p10, p50, p90 = np.percentile(np.asarray(seconds), (10, 50, 90)).tolist()
            interdecile_range = (p90 - p10) / p50
        if before and after and after.wall - before.wall >= MIN_SECONDS:
            busy, taken = after.busy - before.busy, after.stolen - before.stolen
            others = busy - (after.own - before.own)
            by_others_fraction = max(0.0, others / ((after.wall - before.wall) * cores))
            stolen_fraction = taken / (busy + taken) if busy + taken else 0.0
        return cls(interdecile_range, by_others_fraction, stolen_fraction)

    @property
    def warning(self) -> str | None:
        """One line that names what was too high, with its value; None if the machine was quiet."""
        measured = (
            (self.by_others_fraction, MAX_BY_OTHERS, "other processes took {} of its CPU time"),
            (self.stolen_fraction, MAX_STOLEN, "its hypervisor withheld {} of the CPU time asked for"),
            (
                self.interdecile_range,
                MAX_INTERDECILE_RANGE,
                "a fixed piece of work varied by {} (90th less 10th percentile, over the median)",
            ),
        )
        faults = [
            f"{text.format(f'{fraction:.0%}')}, {limit:.0%} is the most"
            for fraction, limit, text in measured
            if fraction and fraction > limit
        ]
        return f"this machine is too busy to trust small differences: {'; '.join(faults)}" if faults else None

    @property
    def busy(self) -> bool:
        """Whether the machine was too busy to trust what was measured."""
        return self.warning is not None
