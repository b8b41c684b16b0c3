"""How well a table of blocks predicts the latency of networks that it was not made from.

    python benchmarks/latency_table.py [--targets onnx:fp32,onnx:int8,openvino:fp32,openvino:bf16,openvino:int8]
        [--sides 96,192] [--networks 12] [--threads 1] [--seconds 1] [--seed 0] [--small]
        [--tables FOLDER] [--save FILE]

For each runtime and precision and each image size, networks are drawn from the space of `nextvit.tune`, and the rows
that their predictions need are measured and kept in FOLDER (~/.cache/nextvit/latency). Then the networks themselves are
timed, all in the same rounds. One JSON line for each of these is appended to benchmarks/results/latency_table.jsonl:
the milliseconds predicted and measured, and the median and the 90th percentile of the relative error. With --small the
networks have few and narrow blocks: it shows that everything runs, and its figures mean nothing. The machine must be
quiet.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from nextvit.bundle.manifest import Precision
from nextvit.files.run_folder import append_json_line
from nextvit.machine.environment import describe_environment
from nextvit.tune.latency_table import LatencyTable
from nextvit.tune.measure import measure_points, setup_here
from nextvit.tune.space import Point, Space

RESULTS = Path(__file__).parent / "results" / "latency_table.jsonl"
TABLES = Path.home() / ".cache" / "nextvit" / "latency"
SMALL = Space(
    stem_widths=((32, 16, 32),),
    blocks=(("C",), ("C", "T"), ("CT",), ("C",)),
    conv_widths=((32,), (32, 64), (64,), (64,)),
    transformer_widths=((128,), (128,), (128,), (128,)),
)


def measure_error(points: Sequence[Point], options: argparse.Namespace) -> dict[str, Any]:
    """Predict and time points of one runtime, precision and image size."""

    def measure(points: Sequence[Point]) -> list[float]:
        print(f"timing {len(points)} networks", file=sys.stderr)
        return measure_points(points, threads=options.threads, min_seconds=options.seconds)

    # 1. Fill the table
    setup = setup_here(points[0], threads=options.threads)
    table = LatencyTable(setup.file(options.tables), setup)
    new_rows, started = len(table.missing(points)), time.perf_counter()
    table.fill(points, measure)
    filled_s = time.perf_counter() - started

    # 2. Time the networks themselves
    predicted_ms, measured_ms = [table.predict(point) for point in points], measure(points)
    errors = np.abs(np.divide(predicted_ms, measured_ms) - 1)
    return {
        "runtime": setup.runtime,
        "precision": setup.precision,
        "threads": setup.threads,
        "image_size": list(points[0].image_size),
        "rows": len(table.milliseconds),
        "new_rows": new_rows,
        "new_rows_seconds": round(filled_s, 1),
        "median_error": round(float(np.median(errors)), 4),
        "p90_error": round(float(np.percentile(errors, 90)), 4),
        "networks": [
            {"point": point.to_plain(), "predicted_ms": round(predicted, 4), "measured_ms": round(measured, 4)}
            for point, predicted, measured in zip(points, predicted_ms, measured_ms, strict=True)
        ],
    }


def main(options: argparse.Namespace) -> None:
    command, machine = shlex.join(["python", "benchmarks/latency_table.py", *sys.argv[1:]]), describe_environment()
    space = SMALL if options.small else Space()
    for target in options.targets.split(","):
        runtime, precision = target.split(":")
        for side in map(int, options.sides.split(",")):
            choices = replace(space, targets=((runtime, cast(Precision, precision)),), image_sizes=((side, side),))
            record = measure_error(choices.sample(options.networks, seed=options.seed), options)
            append_json_line(options.save, {"command": command, **record, "environment": machine})
            print(json.dumps({name: value for name, value in record.items() if name != "networks"}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default="onnx:fp32,onnx:int8,openvino:fp32,openvino:bf16,openvino:int8")
    parser.add_argument("--sides", default="96,192")
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--save", type=Path, default=RESULTS)
    main(parser.parse_args())
