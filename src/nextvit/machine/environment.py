"""The machine and the versions behind a number."""

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


def environment() -> dict[str, Any]:
    """Plain JSON values: time, machine, Python, versions of the packages that are installed, and the command."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(),
        "command": shlex.join(["nextvit", *map(without_place, sys.argv[1:])]) if called_as_nextvit() else None,
    }


def without_place(argument: str) -> str:
    """A command's argument, of an absolute path its last part alone: records travel with bundles, home folders need not."""
    flag, sign, value = argument.rpartition("=")
    path = Path(value)
    return flag + sign + path.name if path.is_absolute() else argument


def called_as_nextvit() -> bool:
    """Whether this process is our command line, by its script or by `python -m nextvit`."""
    program = Path(sys.argv[0])
    return program.stem == "nextvit" or program.parts[-2:] == ("nextvit", "__main__.py")


def versions() -> dict[str, str]:
    """Versions of our packages of interest, without importing them."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """The processor's name, as well as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Physical memory; None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
