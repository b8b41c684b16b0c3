"""The machine, the versions and the command with which a result was measured."""

import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("nextvit", "numpy", "pillow", "torch", "torchvision", "timm"),
    *("onnx", "onnxruntime", "openvino", "nncf", "executorch", "torchao", "coremltools", "tensorrt"),
)


def describe_environment() -> dict[str, Any]:
    """The time, machine, Python, versions of the installed packages and the command, as plain JSON values.

    `memory_gib` and `command` may be None: where the system does not report the memory, and in a process that is not
    our command line.
    """
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": installed_versions(),
        "command": shlex.join(["nextvit", *map(strip_folder, sys.argv[1:])]) if is_nextvit_command() else None,
    }


def describe_machine() -> dict[str, Any]:
    """What the latency of a network depends on beside its file and its runtime, as plain JSON values."""
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def strip_folder(argument: str) -> str:
    """An argument of a command, with an absolute path shortened to its last part.

    Records are published with bundles, and need not show home folders.
    """
    flag, sign, value = argument.rpartition("=")
    path = Path(value)
    return flag + sign + path.name if path.is_absolute() else argument


def is_nextvit_command() -> bool:
    """Whether this process is our command line, by its script or by `python -m nextvit`."""
    program = Path(sys.argv[0])
    return program.stem == "nextvit" or program.parts[-2:] == ("nextvit", "__main__.py")


def installed_versions() -> dict[str, str]:
    """The version of each of `PACKAGES` that is installed, without importing it."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """The processor's name, as far as the system reports it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Physical memory in GiB; None where the system does not report it."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
