"""How many cores this process may use: of the machine's, those that its affinity and its container leave it."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The number of cores that this process may use at once, at least 1.

    A quota of 1.5 cores counts as 2: the kernel slows the threads down, and one thread alone would leave half a core.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def cpu_quota(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> float | None:
    """The CPU time per second that the control groups of this process leave it, in cores; None: they set no limit.

    A limit on a group bounds all groups inside it, so the least of all ancestors counts. A container often sees its own
    group as the root, whatever the path of its membership says.

    Args:
        membership: the file that lists the groups of this process, as `/proc/self/cgroup`.
        cgroups: where the file systems of control groups are mounted.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            quotas += (quota for folder in ancestors(cgroups, path) if (quota := quota_of_version_2(folder)))
        elif "cpu" in controllers.split(","):
            for mount in {controllers, "cpu"}:
                groups = ancestors(cgroups / mount, path)
                quotas += (quota for folder in groups if (quota := quota_of_version_1(folder)))
    return min(quotas, default=None)


def ancestors(mount: Path, path: str) -> Iterator[Path]:
    """The folder of a group and those of all groups around it, up to the mount point."""
    group = mount / path.strip("/")
    yield group
    if group != mount:
        yield from (parent for parent in group.parents if parent.is_relative_to(mount))


def quota_of_version_2(group: Path) -> float | None:
    """The limit of a group in cores; None where it has none: `max`, or no such file."""
    try:
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def quota_of_version_1(group: Path) -> float | None:
    """The limit of a group in cores; None where it has none: -1, or no such file."""
    try:
        quota, period = (
            int((group / f"cpu.cfs_{each}_us").read_text(encoding="utf-8")) for each in ("quota", "period")
        )
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
