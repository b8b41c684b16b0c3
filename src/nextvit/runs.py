"""What lies where in a run's folder. Training, export and benchmark leave their results there; the report reads them."""

import json
from pathlib import Path
from typing import Any

from nextvit.durable import settle
from nextvit.errors import InputError

RECIPE, METRICS, ENVIRONMENT, REPORT = "recipe.yaml", "metrics.jsonl", "environment.json", "report.html"
EVALUATION, BENCHMARK = "evaluation.json", "benchmark.jsonl"
WEIGHTS = "model.safetensors"


def is_run(path: Path) -> bool:
    return (path / RECIPE).is_file()


def checkpoint_folder(run: Path, name: str) -> Path:
    """The folder of the checkpoint "last" or "best"."""
    return settle(run / "checkpoints" / name)


def best_weights(run: Path) -> Path:
    """The weights that a run is known by; InputError before the first checkpoint."""
    path = checkpoint_folder(run, "best") / WEIGHTS
    if not path.is_file():
        raise InputError(f"{run}: this run has no checkpoint yet; go on with: nextvit train DATA --out {run} --resume")
    return path


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
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
