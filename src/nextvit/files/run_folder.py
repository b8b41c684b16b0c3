"""The files in the folder of a run: training, export and benchmark write their results there; the report reads them."""

import json
import os
from pathlib import Path
from typing import Any

from nextvit.errors import InputError
from nextvit.files.durable import check_checksums, locate_folder

RECIPE, METRICS, ENVIRONMENT, REPORT = "recipe.yaml", "metrics.jsonl", "environment.json", "report.html"
EVALUATION, BENCHMARK, EVENTS = "evaluation.json", "benchmark.jsonl", "events.jsonl"
AUGMENTED, HEATMAPS = "augmented.png", "heatmaps.npz"
WEIGHTS = "model.safetensors"


def is_run(path: Path) -> bool:
    """Whether a folder holds a training run."""
    return (path / RECIPE).is_file()


def checkpoint_folder(run: Path, name: str) -> Path:
    """The folder of the checkpoint "last" or "best"."""
    return locate_folder(run / "checkpoints" / name)


def find_best_weights(run: Path) -> Path:
    """The weights of a run's best checkpoint, after a comparison with their checksums.

    Raises:
        InputError: there is no checkpoint yet, or it is damaged.
    """
    folder = checkpoint_folder(run, "best")
    if not folder.is_dir():
        raise InputError(
            f"{run}: this run has no checkpoint yet; continue it with: nextvit train DATA --out {run} --resume"
        )
    check_checksums(folder)
    return folder / WEIGHTS


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines; none if it does not exist.

    A line that was cut off because the process was killed is left out.
    """
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
    """Append a record to a file of JSON lines.

    A last line that was cut off because the process was killed gets a line end, so that `read_json_lines` leaves out
    that line alone.
    """
    line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
