"""Memory of the training loader with a million images in its index, after each of several epochs.

    python benchmarks/memory.py [--objects | --spawn]

The index has a million rows, all with different names; their bytes are those of 1,000 generated JPEGs in one shard, so
that they take a few MB of the disk and not 100 GB. An epoch shuffles the million and stops after a fixed number of
batches. Besides the resident memory the private one is recorded, which no other process shares: for a forked worker it
shows what was copied from the parent. With --objects the same samples are a list of Python objects, for comparison.
With --spawn the workers are spawned, as on macOS and Windows, and not forked. One JSON line is appended to
benchmarks/results/memory.jsonl. Needs Linux (/proc).
"""

import json
import multiprocessing
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nextvit.data.samples import Sample, Samples
from nextvit.data.shards import CONTENTS, index_path, write_shards
from nextvit.files.durable import compute_sha256
from nextvit.machine.environment import describe_environment
from nextvit.tasks.reading import read_dataset
from nextvit.views.label_view import build_view
from nextvit.views.labelled_source import LabelledSource
from nextvit.views.settings import Augment
from nextvit.views.training_batches import EpochSampler, TrainingSet, training_batches

RESULTS = Path(__file__).parent / "results" / "memory.jsonl"
IMAGES, DRAWN, CLASSES = 1_000_000, 1_000, 10
WORKERS, BATCH_SIZE, BATCHES_AN_EPOCH, EPOCHS = 2, 64, 200, 6


def write_dataset(root: Path) -> None:
    """Write class folders of noisy JPEGs of 64 x 64 pixels."""
    generator = np.random.default_rng(0)
    for split, count in (("train", DRAWN), ("val", CLASSES)):
        for number in range(count):
            folder = root / split / f"class{number % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8))
            coarse.resize((64, 64)).save(folder / f"{number:04d}.jpg", quality=90)


def repeat_rows(shards: Path) -> None:
    """Make the index of train a million rows long, each with a name of its own, by repeating its rows."""
    path, times = index_path(shards, "train"), IMAGES // DRAWN
    with np.load(path) as index:
        rows = dict(index)
    names = "".join(f"{number:08d}-photo.jpg" for number in range(IMAGES)).encode()
    lengths = np.tile(np.diff(rows["label_ends"]), times)
    repeated = {name: np.concatenate([rows[name]] * times) for name in ("labels", "shard", "offset", "size", "sha256")}
    np.savez(
        path,
        names=np.frombuffer(names, np.uint8),
        name_ends=np.arange(IMAGES + 1) * (len(names) // IMAGES),
        label_ends=np.append(0, np.cumsum(lengths)),
        **repeated,
    )
    contents = json.loads((shards / CONTENTS).read_text())
    contents["splits"]["train"] |= {"images": IMAGES, "index_sha256": compute_sha256(path)}
    (shards / CONTENTS).write_text(json.dumps(contents))


def make_shards(shards: Path) -> None:
    """Write one shard of generated images, and an index of a million rows over it."""
    tree = shards.with_name("tree")
    write_dataset(tree)
    data = read_dataset(tree)
    write_shards(
        data.splits, data.classes, shards, task=data.task, shard_bytes=2**28, written=lambda name, images: None
    )
    repeat_rows(shards)


def memory_mib(process: int) -> dict[str, float]:
    """Resident and private memory of a process in MiB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return {"resident": round(kib["Rss"] / 1024, 1), "private": round(private / 1024, 1)}


class ListedSamples(list[Sample]):
    """Samples as Python objects, for the comparison with `Samples`, which are packed arrays."""

    def targets(self, indices: Sequence[int], num_classes: int) -> NDArray[np.float32]:
        """Rows of 0 and 1: (N, num_classes)."""
        rows = np.zeros((len(indices), num_classes), np.float32)
        for row, index in zip(rows, indices, strict=True):
            row[list(self[index].labels)] = 1
        return rows


def measure_epochs(samples: Samples | ListedSamples) -> list[dict[str, object]]:
    """Run the loader, and note the memory of this process and of its workers after each epoch."""
    sampler = EpochSampler(len(samples), batch_size=BATCH_SIZE, seed=0)
    view = build_view(Augment(), image_size=(32, 32))
    source = LabelledSource(cast(Samples, samples), view, CLASSES, smooth=lambda rows: rows, num_labelled=len(samples))
    training_set = TrainingSet(source, seed=0)
    loader = training_batches(training_set, sampler, workers=WORKERS)
    measured: list[dict[str, object]] = []
    for epoch in range(EPOCHS):
        sampler.epoch = epoch
        started = time.perf_counter()
        images = sum(len(batch.indices) for batch in islice(loader, BATCHES_AN_EPOCH))
        workers = sorted(process.pid for process in multiprocessing.active_children() if process.pid)
        measured.append(
            {
                "epoch": epoch + 1,
                "images": images,
                "seconds": round(time.perf_counter() - started, 1),
                "parent_mib": memory_mib(os.getpid()),
                "workers_mib": [memory_mib(worker) for worker in workers],
            }
        )
        print(json.dumps(measured[-1]), file=sys.stderr)
    return measured


def main(*, objects: bool) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        shards = Path(temporary, "shards")
        # In its own process, so that its memory is not counted here.
        preparation = multiprocessing.get_context("spawn").Process(target=make_shards, args=(shards,))
        preparation.start()
        preparation.join()
        before = memory_mib(os.getpid())
        started = time.perf_counter()
        samples = read_dataset(shards).split("train")
        record = {
            "command": shlex.join(["python", "benchmarks/memory.py", *sys.argv[1:]]),
            "samples": "a list of Python objects" if objects else "packed arrays",
            "images": len(samples),
            "different_images": DRAWN,
            "batch_size": BATCH_SIZE,
            "batches_an_epoch": BATCHES_AN_EPOCH,
            "start_method": multiprocessing.get_start_method(),
            "read_seconds": round(time.perf_counter() - started, 2),
            "before_mib": before,
            "index_read_mib": memory_mib(os.getpid()),
            "epochs": measure_epochs(ListedSamples(samples) if objects else samples),
            "environment": describe_environment(),
        }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if "--spawn" in sys.argv[1:]:
        multiprocessing.set_start_method("spawn")
    main(objects="--objects" in sys.argv[1:])
