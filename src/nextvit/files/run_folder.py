"""What lies where in a run's folder. Training, export and benchmark leave their results there; the report reads them."""

import json
import os
from pathlib import Path
from typing import Any

from nextvit.errors import InputError
from nextvit.files.durable import check_checksums, present

RECIPE, METRICS, ENVIRONMENT, REPORT = "recipe.yaml", "metrics.jsonl", "environment.json", "report.html"
EVALUATION, BENCHMARK, EVENTS = "evaluation.json", "benchmark.jsonl", "events.jsonl"
AUGMENTED, HEATMAPS = "augmented.png", "heatmaps.npz"
WEIGHTS = "model.safetensors"


def is_run(path: Path) -> bool:
    return (path / RECIPE).is_file()


def checkpoint_folder(run: Path, name: str) -> Path:
    """The folder of the checkpoint "last" or "best"."""
    return present(run / "checkpoints" / name)


def best_weights(run: Path) -> Path:
    """The weights that a run is known by, unchanged since they were written; InputError otherwise."""
    folder = checkpoint_folder(run, "best")
    if not folder.is_dir():
        raise InputError(f"{run}: this run has no checkpoint yet; go on with: nextvit train DATA --out {run} --resume")
    check_checksums(folder)
    return folder / WEIGHTS


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file to which lines are appended; a last line cut off by a kill is left out."""
    if not path.is_file():
        return []
    records: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def append_json_line(path: Path, record: dict[str, Any]) -> None:
    """Add a record; a last line that a kill cut off stays alone, and is left out by `read_json_lines`."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
