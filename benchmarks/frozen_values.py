"""Files and documents as plain values that two recordings can be compared by: for benchmarks/frozen.py."""

import hashlib
import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MEASURED = tuple(
    f"*/{name}"
    for name in (
        *("time", "cpu", "cores", "memory_gib", "system", "python", "versions", "made with", "made_with", "latency"),
        *("images_per_second", "waiting_share", "seconds", "training_seconds", "waited"),
        *("bench*/*_ms", "bench*/*_per_second", "bench*/ratio*", "bench*/peak_*", "bench*/affinity", "bench*/noise"),
        *("bench*/busy", "bench*/runs", "bench*/warning", "bench*/warnings", "bench*/verdict", "bench*/shares"),
        "bench*/profiles",
    )
)
"""Paths of values that differ from run to run, or between machines: these become "-"."""
FEW = 20
"""Of a list of records so many are recorded one by one."""
LONG = 2_000
"""Characters of a list that is recorded as its SHA-256 alone."""
Json = Any


def hash_array(array: Any) -> str:
    """Type, shape and SHA-256 of an array."""
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hash_arrays(arrays: Mapping[str, Any]) -> dict[str, Json]:
    """Two hashes of all arrays: with their names, and of the contents alone, which stays where names change."""
    hashes = {name: hash_array(array) for name, array in arrays.items()}
    return {
        "arrays": len(hashes),
        "sha256": hash_text(json.dumps(hashes, sort_keys=True)),
        "sha256 without names": hash_text(json.dumps(sorted(hashes.values()))),
    }


def read_weights(path: Path) -> dict[str, Json]:
    """The tensors of a safetensors file; its metadata may change."""
    return hash_arrays(import_module("safetensors.numpy").load_file(path))


def read_state(path: Path) -> dict[str, Json]:
    """The tensors of the optimizer's state, and the settings and the progress beside them."""
    torch = import_module("torch")
    state = torch.load(path, weights_only=True)
    tensors = {
        f"{number}.{name}": value.numpy()
        for number, values in state["optimizer"].pop("state").items()
        for name, value in values.items()
    }
    return {"tensors": hash_arrays(tensors), "others": state}


def read_archive(path: Path) -> dict[str, str]:
    """Hashes of the arrays of an npz file."""
    with np.load(path) as arrays:
        return {name: hash_array(array) for name, array in arrays.items()}


def read_json(path: Path) -> Json:
    return json.loads(path.read_text(encoding="utf-8"))


def read_manifest(path: Path) -> Json:
    """A bundle's manifest without the verification, which the document has, too, and of the files' hashes the names:
    files have times and versions in them."""
    manifest = read_json(path)
    manifest["sha256"] = sorted(manifest["sha256"])
    del manifest["verification"], manifest["manifest_sha256"]
    return manifest


def read_json_lines(path: Path) -> Json:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_yaml(path: Path) -> Json:
    return import_module("yaml").safe_load(path.read_text(encoding="utf-8"))


def read_pixels(path: Path) -> str:
    return hash_array(np.asarray(Image.open(path)))


RUN_FILES: dict[str, Callable[[Path], Json]] = {
    "checkpoints/last/model.safetensors": read_weights,
    "checkpoints/last/ema.safetensors": read_weights,
    "checkpoints/last/state.pt": read_state,
    "metrics.jsonl": read_json_lines,
    "evaluation.json": read_json,
    "environment.json": read_json,
    "recipe.yaml": read_yaml,
}
"""The files of a run that are recorded, and what reads them."""
BUNDLE_FILES: dict[str, Callable[[Path], Json]] = {"manifest.json": read_manifest, "golden.npz": read_archive}
"""Those of a bundle."""


def read_files(folder: Path, readers: Mapping[str, Callable[[Path], Json]]) -> dict[str, Json]:
    """What each file holds, or why that is not known: a difference like any other."""
    found: dict[str, Json] = {}
    for name, read in readers.items():
        try:
            found[name] = read(folder / name)
        except (OSError, KeyError, TypeError, ValueError) as error:
            found[name] = f"cannot be read: {type(error).__name__}"
    return found


def normalise(value: Json, path: str, places: Mapping[str, str]) -> Json:
    """The same without times, versions, measured values and temporary folders; names stay.

    Args:
        path: of this value in the recording.
        places: folders, and what stands in their place.
    """
    if any(fnmatchcase(path, pattern) for pattern in MEASURED):
        return without_values(value)
    if isinstance(value, dict):
        return {str(name): normalise(each, f"{path}/{name}", places) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [normalise(each, f"{path}/{index}", places) for index, each in enumerate(value)]
    if isinstance(value, str):
        for place, placeholder in places.items():
            value = value.replace(place, placeholder)
    return value


def without_values(value: Json) -> Json:
    """The names alone."""
    return {str(name): without_values(each) for name, each in value.items()} if isinstance(value, dict) else "-"


def flatten(value: Json, path: str) -> dict[str, Json]:
    """Each value by its path; a list of plain values counts as one, and a long one as its hash."""
    if isinstance(value, list):
        if len(value) <= FEW and any(isinstance(each, dict) for each in value):
            value = dict(enumerate(value))
        elif len(text := json.dumps(value)) > LONG:
            return {path: f"{len(value)} values, sha256 {hash_text(text)}"}
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {name: leaf for key, each in value.items() for name, leaf in flatten(each, f"{path}/{key}").items()}
