"""Damage real files at random, a hundred thousand times: is each read or refused, in bounded memory and time?

    python benchmarks/hostile.py [--inputs 100000] [--minutes 60] [--seed 0] [--only images,bundles]
    python benchmarks/hostile.py --again bundles:1234      one input in this process, with its traceback

Images, annotations, shards (hostile_datasets.py), settings, runs, checkpoints and bundles of every backend
(hostile_models.py) are damaged (hostile_damage.py), mostly with checksums that fit, and read as users read them
(hostile_reading.py). Counted are

    crash         the process ends by a signal
    exception     another exception than nextvit's own, or a control character that reaches the terminal
    over_time     more than 5 s of CPU time, or 60 s in all
    over_memory   more than 1 GiB above what the process had before

Every input is made from the seed, its kind and its number alone. A forked child takes 200 of them; after a fault a new
one goes on. Each round of all kinds appends a line of JSON to benchmarks/results/hostile.jsonl, and a later run goes on
from the numbers that the lines of the same seed have reached.
"""

import argparse
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from hostile_datasets import DATASETS
from hostile_models import MODELS
from hostile_reading import Target

from nextvit.machine.environment import describe_environment

TARGETS: dict[str, Target] = {**DATASETS, **MODELS}
RESULTS = Path(__file__).parent / "results" / "hostile.jsonl"
PER_CHILD = 200
ROUND = 5000
"""Inputs of all kinds between two lines of the results."""
CPU_SECONDS, WALL_SECONDS, MEMORY = 5.0, 60.0, 2**30
ADDRESS_SPACE = 8 * 2**30
"""Above what a child has at its start; the machine must survive."""
PRELOADED = (
    "torch",
    "torchvision",
    "safetensors.torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "yaml",
    "cyclopts",
    "rich",
    "coremltools",
    "executorch.runtime",
    "matplotlib.pyplot",
)
FAULTS = ("crash", "exception", "over_time", "over_memory")
Fault = tuple[str, int, str]
"""One of `FAULTS`, the number of the input, and what is known of it."""


def generator(seed: int, kind: str, number: int) -> Random:
    """The random numbers of one input."""
    return Random(f"{seed} {kind} {number}")


def read_memory(field: str) -> int:
    """A field of /proc/self/status in bytes: such as VmRSS, and VmHWM, its peak since it was last reset."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(field))
    return 1024 * int(line.split()[1])


def try_inputs(target: Target, folder: Path, kind: str, numbers: range, *, seed: int, say: int) -> None:
    """Try inputs one after the other, and write to the pipe `say` how each began and ended. Runs in a child."""
    used = read_memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, used + ADDRESS_SPACE))
    for number in numbers:
        os.write(say, f"begin {number}\n".encode())
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        memory, cpu_s, fault = read_memory("VmRSS"), time.process_time(), ""
        try:
            target.attempt(folder, generator(seed, kind, number))
        except BaseException as error:  # noqa: BLE001 (any exception is a result)
            frame = traceback.extract_tb(error.__traceback__)[-1]
            fault = (
                f"exception {type(error).__name__}: {str(error)[:200]!r} at {Path(frame.filename).name}:{frame.lineno}"
            )
        cpu_s, memory = time.process_time() - cpu_s, read_memory("VmHWM") - memory
        if not fault and cpu_s > CPU_SECONDS:
            fault = f"over_time {cpu_s:.1f} s of CPU time"
        if not fault and memory > MEMORY:
            fault = f"over_memory {memory / 2**20:.0f} MiB"
        os.write(say, f"end {fault}\n".encode(errors="replace"))
        if fault:
            return


def run_child(target: Target, prepared: Path, kind: str, numbers: range, *, seed: int) -> tuple[int, Fault | None]:
    """Try inputs in a child until the first fault. Returns how many were tried, and the fault."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(prepared, Path(temporary, "files"), symlinks=True))
        ear, mouth = os.pipe()
        child = os.fork()
        if not child:
            os.close(ear)
            os.chdir(temporary)
            silence = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(silence, descriptor)
            tempfile.tempdir = temporary
            try:
                try_inputs(target, folder, kind, numbers, seed=seed, say=mouth)
            finally:
                os._exit(0)
        os.close(mouth)
        tried, fault = listen(ear, child, numbers)
        os.close(ear)
        return tried, fault


def listen(ear: int, child: int, numbers: range) -> tuple[int, Fault | None]:
    """Follow a child to its end, and stop it when it takes too long."""
    heard, deadline = b"", time.monotonic() + WALL_SECONDS
    while select.select([ear], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(ear, 2**16)
        if not part:
            break
        heard, deadline = heard + part, time.monotonic() + WALL_SECONDS
    else:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = heard.decode().splitlines()
    begun, ended = ([line for line in lines if line.startswith(word)] for word in ("begin", "end"))
    number = numbers.start + max(0, len(begun) - 1)
    if len(ended) < len(begun):
        what = ("over_time", f"{WALL_SECONDS:.0f} s") if code == -signal.SIGKILL else ("crash", f"exit code {code}")
        return len(begun), (what[0], number, what[1])
    if code:
        return len(begun), ("crash", number, f"exit code {code} at the end")
    what, _, known = ended[-1].removeprefix("end ").partition(" ") if ended else ("", "", "")
    return len(begun), (what, number, known) if what else None


def try_kind(kind: str, prepared: Path, numbers: range, *, seed: int) -> tuple[int, list[Fault]]:
    """Try all these inputs of a kind. Returns how many were tried, and the faults."""
    faults: list[Fault] = []
    number = numbers.start
    while number < numbers.stop:
        tried, fault = run_child(
            TARGETS[kind], prepared, kind, range(number, min(numbers.stop, number + PER_CHILD)), seed=seed
        )
        number += max(1, tried)
        if fault:
            faults.append(fault)
            print(f"{kind}:{fault[1]} {fault[0]} {fault[2]}", flush=True)
    return number - numbers.start, faults


def reached(seed: int) -> Counter[str]:
    """How many inputs of each kind earlier runs have tried."""
    counts: Counter[str] = Counter()
    for line in RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []:
        record = json.loads(line)
        if record["seed"] == seed:
            counts.update({kind: each["inputs"] for kind, each in record["kinds"].items()})
    return counts


def prepare(folder: Path, kinds: list[str]) -> None:
    """Write the valid files of each kind, in a child, so that this process stays without threads."""
    for kind in kinds:
        (folder / kind).mkdir()
        child = os.fork()
        if not child:
            try:
                TARGETS[kind].prepare(folder / kind)
            except BaseException:  # noqa: BLE001 (the forked process must not return)
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            sys.exit(f"the valid files of {kind} could not be written")


def run_campaign(inputs: int, minutes: float, seed: int, kinds: list[str]) -> int:
    """Go on with a campaign, round by round. Returns the number of faults."""
    for name in PRELOADED:
        import_module(name)
    began, total, done = time.monotonic(), 0, reached(seed)
    wanted = {kind: inputs * TARGETS[kind].weight // 100 for kind in kinds}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, kinds)
        while any(done[kind] < wanted[kind] for kind in kinds) and time.monotonic() - began < 60 * minutes:
            record: dict[str, Any] = {"seed": seed, "kinds": {}, "faults": []}
            for kind in kinds:
                end = min(wanted[kind], done[kind] + ROUND * TARGETS[kind].weight // 100)
                since = time.monotonic()
                tried, faults = try_kind(kind, folder / kind, range(done[kind], end), seed=seed)
                done[kind] += tried
                counts = Counter(fault[0] for fault in faults)
                record["kinds"][kind] = {
                    "inputs": tried,
                    "seconds": round(time.monotonic() - since, 1),
                    **{name: counts[name] for name in FAULTS},
                }
                record["faults"] += [f"{kind}:{number} {what} {known}" for what, number, known in faults]
            total += len(record["faults"])
            command = "python " + " ".join(["benchmarks/hostile.py", *sys.argv[1:]])
            record["environment"] = {**describe_environment(), "command": command}
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            print({kind: f"{done[kind]} of {wanted[kind]}" for kind in kinds}, flush=True)
    return total


def try_again(which: str, seed: int) -> None:
    """Try one input in this process; an exception is shown as it is."""
    kind, _, number = which.partition(":")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "files")
        folder.mkdir()
        TARGETS[kind].prepare(folder)
        before = time.process_time()
        TARGETS[kind].attempt(folder, generator(seed, kind, int(number)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{which}: {time.process_time() - before:.1f} s of CPU time, the process had {peak:.0f} MiB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(TARGETS), help="kinds, separated by commas")
    parser.add_argument("--again", help="kind:number of one input")
    given = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    if given.again:
        try_again(given.again, given.seed)
        return
    sys.exit(bool(run_campaign(given.inputs, given.minutes, given.seed, given.only.split(","))))


if __name__ == "__main__":
    main()
