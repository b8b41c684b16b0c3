"""The cold start of a model, measured in its own process:
`python -m nextvit.benchmark.cold_start PATH THREADS HEIGHT WIDTH BATCH [DEVICE]`.

It prints one line of JSON: milliseconds from before the import of the runtime to the first prediction, and the peak
memory of the process.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nextvit.errors import InputError, MissingDependency


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Latency and memory of a fresh process."""

    cold_start_ms: float
    """From the import of the runtime to the first output."""
    peak_memory_mib: float | None
    """Peak of the whole process after a few runs; None if the system does not say."""


def measure_cold_start(
    path: Path, *, threads: int, image_size: tuple[int, int], batch: int, device: str | None = None
) -> ColdStart:
    """Start a process that loads a run, a checkpoint or a bundle, and runs it.

    Args:
        image_size: height and width in pixels.
        device: by the runtime's name; None: the CPU.

    Raises:
        InputError: the process failed; the message is the last line of its stderr.
    """
    arguments = [str(path), str(threads), *map(str, image_size), str(batch), *([device] if device else [])]
    command = [sys.executable, "-m", "nextvit.benchmark.cold_start", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise InputError(lines[-1] if lines else f"the process ended with code {done.returncode}")
    return ColdStart(**json.loads(done.stdout.splitlines()[-1]))


def main(path: str, threads: str, height: str, width: str, batch: str, device: str | None = None) -> None:
    import numpy as np

    size = (int(height), int(width))
    pixels = [np.zeros((*size, 3), np.uint8)] * int(batch)
    started = time.perf_counter()
    from nextvit.loading import load

    predictor = load(path, threads=int(threads), device=device, image_size=size)
    inputs = predictor.card.input.network_inputs(pixels)
    predictor.session.run(inputs)
    first = time.perf_counter() - started
    for _ in range(3):
        predictor.session.run(inputs)
    print(json.dumps({"cold_start_ms": round(1000 * first, 1), "peak_memory_mib": peak_memory_mib()}))


def peak_memory_mib() -> float | None:
    """Peak resident memory of this process; None if the system does not say."""
    try:
        # On Linux the count of getrusage starts with the memory of the parent process.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return round(int(status.partition("VmHWM:")[2].split()[0]) / 2**10, 1)
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (InputError, MissingDependency) as error:
        sys.exit(str(error))
