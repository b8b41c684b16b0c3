"""The files in the folder of a run: training, export and benchmark write their results there; the report reads them."""

import json
import os
from pathlib import Path
from typing import Any, cast

from nextvit.errors import InputError
from nextvit.files.durable import check_checksums, locate_folder
from nextvit.files.regular import read_regular, require_regular
from nextvit.files.structured_text import decode, parse_json, read_yaml

RECIPE, METRICS, ENVIRONMENT, REPORT = "recipe.yaml", "metrics.jsonl", "environment.json", "report.html"
EVALUATION, BENCHMARK, EVENTS = "evaluation.json", "benchmark.jsonl", "events.jsonl"
AUGMENTED, HEATMAPS = "augmented.png", "heatmaps.npz"
WEIGHTS = "model.safetensors"
MAX_JSON_LINES_BYTES = 2**26
"""Of the records of a run, some hundred bytes for each epoch."""


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
    check_checksums(folder, parts=(WEIGHTS,))
    return folder / WEIGHTS


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe file as it is: sections with fields, and in a run's own the path of its dataset and its task.

    Raises:
        InputError: there is no such file, it is no YAML, or holds something else.
    """
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected sections such as 'optim:' with fields, got {type(values).__name__}")
    for name in cast(dict[Any, Any], values):
        if not isinstance(name, str):
            raise InputError(f"{path}: expected names of sections, got {name!r}")
    return cast(dict[str, Any], values)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines; none if it does not exist.

    A line that was cut off because the process was killed is left out.

    Raises:
        InputError: it is no regular file, larger than `MAX_JSON_LINES_BYTES`, or not UTF-8.
    """
    if not path.exists():
        return []
    records: list[dict[str, Any]] = []
    for number, line in enumerate(
        decode(read_regular(path, max_bytes=MAX_JSON_LINES_BYTES), what=str(path)).split("\n")
    ):
        try:
            record = parse_json(line, what=f"{path}, line {number + 1}")
        except InputError:
            continue
        if isinstance(record, dict):
            records.append(cast(dict[str, Any], record))
    return records


def append_json_line(path: Path, record: dict[str, Any]) -> None:
    """Append a record to a file of JSON lines.

    A last line that was cut off because the process was killed gets a line end, so that `read_json_lines` leaves out
    that line alone. A link is not followed: it would lead out of the run.
    """
    line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
    if path.exists() and not path.is_symlink():
        require_regular(path)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, 0o666), "a+b") as file:  # noqa: PTH123 (a descriptor, not a path)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
