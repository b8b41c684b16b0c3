"""Throughput of `Predictor.stream` on photographs: the graph alone, reading alone, both together, and the bottleneck.

    python benchmarks/pipeline.py FOLDER BUNDLE... [--images 1000] [--batch-size 16] [--threads 1,2] [--workers 1,2]
        [--rounds 5]

FOLDER holds JPEGs (any depth), which are repeated in order until there are enough. For each bundle and number of graph
threads it measures, interleaved round by round: the graph alone on preloaded pixels, with the same batch size and
threads; reading (file, decoding, resizing) alone, for each number of workers; and the whole, for each number of
workers. Figures are medians of the rounds, in images a second. `default` marks the number of workers that `stream`
uses by default.

The bound of the whole is the least of three rates: that of the graph alone, that of reading alone, and that at which
all cores could do both, where an image takes the graph's time on all of its threads, and the reading time of one
worker. With a core for each thread and worker the third is never the least. `reached` is the whole as a fraction of
the bound.

One JSON line for each bundle and number of threads is appended to benchmarks/results/pipeline.jsonl; docs/serving.md
gets the table of this call. Run it on an otherwise idle machine.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from marked_tables import write_table

import nextvit
from nextvit.benchmark.end_to_end import measure_end_to_end
from nextvit.image.reading import Pixels
from nextvit.image.resizing import INPUT_NAME
from nextvit.machine.cores import usable_cores
from nextvit.machine.environment import describe_environment, strip_folder
from nextvit.runtime.predictor import AHEAD, Predictor
from nextvit.runtime.read_ahead import default_workers, prepare_ahead

RESULTS = Path(__file__).parent / "results" / "pipeline.jsonl"
COLUMNS = (
    "| bundle | threads | workers | graph alone | reading alone | whole | of the graph | bound by | of the bound |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


def run_graph(predictor: Predictor, batch: Pixels, *, count: int) -> None:
    """Run the same batch repeatedly, cut to the rest in the end."""
    for start in range(0, count, len(batch)):
        predictor.session.run({INPUT_NAME: batch[: count - start]})


def run_reading(predictor: Predictor, files: list[Path], *, workers: int, ahead: int) -> None:
    for each in prepare_ahead(files, predictor.card.input, workers=workers, ahead=ahead):
        if isinstance(each, Exception):
            raise each


def run_whole(predictor: Predictor, files: list[Path], *, workers: int, batch_size: int) -> None:
    for _ in predictor.stream(files, batch_size=batch_size, workers=workers):
        pass


def measure_rates(candidates: dict[str, Callable[[], None]], *, images: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of each candidate in each round, after a warm-up round."""
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            if number:
                found[name].append(images / (time.perf_counter() - started))
    return found


def find_bound(graph: float, reading: dict[int, float], *, threads: int, workers: int, cores: int) -> tuple[str, float]:
    """The name and the rate of the bottleneck, which the whole cannot exceed."""
    core_seconds = min(threads, cores) / graph + 1 / reading[1]
    limits = {"the graph": graph, "reading": reading[workers], "shared cores": cores / core_seconds}
    return min(limits.items(), key=lambda each: each[1])


def measure(bundle: Path, files: list[Path], arguments: argparse.Namespace, *, threads: int) -> dict[str, Any]:
    """Measure one bundle with one number of graph threads; returns the record."""
    # 1. Prepare
    predictor = nextvit.load(bundle, threads=threads)
    predictor.warm_up((arguments.batch_size,))
    batch = np.stack([predictor.card.input(file) for file in files[: arguments.batch_size]])
    worker_counts = sorted({1, *numbers(arguments.workers)})
    candidates: dict[str, Callable[[], None]] = {"graph": partial(run_graph, predictor, batch, count=len(files))}
    for workers in worker_counts:
        ahead = AHEAD * arguments.batch_size
        candidates[f"reading {workers}"] = partial(run_reading, predictor, files, workers=workers, ahead=ahead)
        candidates[f"whole {workers}"] = partial(
            run_whole, predictor, files, workers=workers, batch_size=arguments.batch_size
        )

    # 2. Measure
    found = measure_rates(candidates, images=len(files), rounds=arguments.rounds)
    median = {name: statistics.median(each) for name, each in found.items()}
    reading = {workers: median[f"reading {workers}"] for workers in worker_counts}

    # 3. Find the bound for each number of workers
    rows: list[dict[str, Any]] = []
    for workers in worker_counts:
        by, limit = find_bound(median["graph"], reading, threads=threads, workers=workers, cores=usable_cores())
        whole = median[f"whole {workers}"]
        rows.append(
            {
                "workers": workers,
                "default": workers == default_workers(),
                "reading": round(reading[workers], 2),
                "whole": round(whole, 2),
                "of_graph": round(whole / median["graph"], 3),
                "bound_by": by,
                "bound": round(limit, 2),
                "reached": round(whole / limit, 3),
            }
        )
    return {
        "bundle": bundle.name,
        "variant": predictor.card.variant,
        "image_size": list(predictor.card.input.image_size),
        **predictor.session.facts(),
        "threads": threads,
        "cores": usable_cores(),
        "batch_size": arguments.batch_size,
        "images": len(files),
        "rounds": arguments.rounds,
        "graph": round(median["graph"], 2),
        "workers": rows,
        "range": {name: [round(min(each), 2), round(max(each), 2)] for name, each in found.items()},
        "one_by_one": measure_end_to_end(predictor, files[:200], images=min(200, len(files))),
    }


def numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def tables(records: list[dict[str, Any]]) -> str:
    lines = [COLUMNS]
    for record in records:
        for row in record["workers"]:
            workers = f"{row['workers']}{' (default)' if row['default'] else ''}"
            lines.append(
                f"| {record['bundle']} | {record['threads']} | {workers} | {record['graph']:.0f} "
                f"| {row['reading']:.0f} "
                f"| {row['whole']:.0f} | {row['of_graph']:.2f} | {row['bound_by']} | {row['reached']:.2f} |\n"
            )
    stages = list(records[0]["one_by_one"]["shares"])
    lines.append(
        f"\n| bundle | threads | ms an image | {' | '.join(stages)} |\n| --- |{' --- |' * (len(stages) + 2)}\n"
    )
    for record in records:
        one = record["one_by_one"]
        shares = " | ".join(f"{share:.0%}" for share in one["shares"].values())
        lines.append(f"| {record['bundle']} | {record['threads']} | {one['p50_ms']:.1f} | {shares} |\n")
    first = records[0]
    machine = first["environment"]
    lines.append(
        f"\nThe first table: images a second for {first['images']} photographs in batches of "
        f"{first['batch_size']}, medians "
        f"of {first['rounds']} rounds; the second: one photograph after another, in one thread beside the graph's. "
        f"{first['cores']} cores of {machine['cpu']}.\n"
    )
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    found = sorted(arguments.folder.rglob("*.jp*g"))
    if not found:
        sys.exit(f"{arguments.folder} holds no JPEGs")
    files = list(islice(cycle(found), arguments.images))
    command = shlex.join(["python", "benchmarks/pipeline.py", *map(strip_folder, sys.argv[1:])])
    records: list[dict[str, Any]] = []
    for bundle in arguments.bundles:
        for threads in numbers(arguments.threads):
            record = measure(bundle, files, arguments, threads=threads)
            record["environment"] = {**describe_environment(), "command": command}
            records.append(record)
            print(json.dumps({name: value for name, value in record.items() if name != "environment"}), flush=True)
            with RESULTS.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(record) + "\n")
    write_table("serving.md", "pipeline.py", tables(records))


if __name__ == "__main__":
    main()
