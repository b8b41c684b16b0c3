"""Kill a training at random moments, hundreds of times: is every state usable, and is every final state the same?

    python benchmarks/kill.py [--kills 200]

A tiny run (nextvit_nano, 32 px, 24 generated images, 4 epochs, saving every few steps) is finished once without a kill.
Then it is started again and again, killed with SIGKILL at a random moment, checked, and resumed until it ends, and then
a new run is started, until there were enough kills. Each finished run must have the same SHA-256 of weights, averaged
weights and optimizer state as the undisturbed one. One JSON line is appended to benchmarks/results/kill.jsonl.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nextvit.errors import InputError
from nextvit.files.durable import check_checksums
from nextvit.files.run_folder import checkpoint_folder, find_best_weights, is_run, read_json_lines
from nextvit.machine.environment import describe_environment
from nextvit.train.checkpoint import find_checkpoint
from nextvit.train.recipe import Compute, Data, Model, Recipe, Schedule
from nextvit.train.start import train

RESULTS = Path(__file__).parent / "results" / "kill.jsonl"
RECIPE = Recipe(
    model=Model(name="nextvit_nano"),
    data=Data(image_size=32, batch_size=8, workers=0),
    schedule=Schedule(epochs=4),
    compute=Compute(threads=1, save_minutes=0.3 / 60),
)


def write_dataset(root: Path) -> Path:
    """Write class folders of noisy images of three colours."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        for name, colour in (("red", (200, 50, 50)), ("green", (50, 200, 50)), ("blue", (50, 50, 200))):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                noisy = np.array(colour) + generator.normal(0, 30, (40, 40, 3))
                pixels = np.clip(noisy, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


def start(dataset: Path, run: Path) -> int:
    """Train or resume in a forked process, which saves the imports. Returns its process id."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    try:
        train(dataset, RECIPE, run=run, resume=is_run(run), watch=lambda tick: None, say=lambda message: None)
    except BaseException as error:  # noqa: BLE001 (the forked process must not return)
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def hash_state(run: Path) -> str:
    """SHA-256 of the weights, the averaged weights and the optimizer's state of the checkpoint "last"."""
    folder, digest = run / "checkpoints" / "last", hashlib.sha256()
    for name in ("model.safetensors", "ema.safetensors"):
        digest.update((folder / name).read_bytes())
    state = torch.load(folder / "state.pt", weights_only=True)["optimizer"]["state"]
    for number in sorted(state):
        for name in sorted(state[number]):
            digest.update(state[number][name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def find_fault(run: Path) -> str | None:
    """Why the state of a killed run is unusable; None if it is usable."""
    try:
        read_json_lines(run / "metrics.jsonl")
        checkpoint = find_checkpoint(run, warn=lambda message: None) if is_run(run) else None
        for name in ("last", "previous", "best"):
            if checkpoint_folder(run, name).is_dir():
                check_checksums(checkpoint_folder(run, name))
        if (run / "checkpoints" / "best").is_dir():
            find_best_weights(run)
        if checkpoint is None and (run / "checkpoints" / "last").is_dir():
            return "there is a checkpoint, but none to resume from"
    except InputError as error:
        return str(error)
    return None


def run_campaign(*, kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill and resume until there were enough kills and the last run has ended. Returns the counts."""
    moments = random.Random(seed)
    unusable: list[str] = []
    counts = {"kills": 0, "kills_while_saving": 0, "finished_runs": 0, "runs_that_differ": 0, "failures": 0}
    with tempfile.TemporaryDirectory() as temporary:
        dataset = write_dataset(Path(temporary, "dataset"))
        began = time.perf_counter()
        undisturbed = Path(temporary, "undisturbed")
        assert os.waitstatus_to_exitcode(os.waitpid(start(dataset, undisturbed), 0)[1]) == 0
        length_s, expected = time.perf_counter() - began, hash_state(undisturbed)
        while counts["kills"] < kills:
            run = Path(temporary, f"run-{counts['finished_runs']}")
            while True:
                child = start(dataset, run)
                if counts["kills"] < kills:
                    time.sleep(moments.uniform(0, 0.6 * length_s))
                    os.kill(child, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if code == 0:
                    break
                counts["kills" if code == -signal.SIGKILL else "failures"] += 1
                counts["kills_while_saving"] += any((run / "checkpoints").glob("*.tmp"))
                unusable += [fault] if (fault := find_fault(run)) else []
                print(f"{counts} {unusable}", flush=True)
            counts["finished_runs"] += 1
            counts["runs_that_differ"] += hash_state(run) != expected
            shutil.rmtree(run)
    return {**counts, "unusable_states": len(unusable), "faults": unusable, "seconds_undisturbed": round(length_s, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    kills = parser.parse_args().kills
    command = f"python benchmarks/kill.py --kills {kills}"
    record = {**run_campaign(kills=kills), "environment": {**describe_environment(), "command": command}}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record, indent=1))
    sys.exit(bool(record["unusable_states"] or record["runs_that_differ"] or record["failures"]))


if __name__ == "__main__":
    main()
