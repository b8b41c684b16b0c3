"""A bundle made by hand: these tests also run where neither torch nor onnx is installed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextvit.bundle.card import ModelCard
from nextvit.bundle.golden import Golden, write_golden
from nextvit.bundle.manifest import Manifest, read_manifest, write_manifest
from nextvit.files.durable import compute_sha256
from nextvit.image.resizing import Preprocess
from tests.runtime.onnx_by_hand import colour_model

CLASSES = ("1 red", "2 green", "3 blue")  # sorted, as datasets are


def write_colour_bundle(folder: Path, *, model: bytes | None = None, dynamic_size: bool = False) -> Path:
    """A model that answers which channel is brightest: logits are the channel means times 0.1."""
    folder.mkdir(parents=True)
    default = colour_model(size=("height", "width")) if dynamic_size else colour_model()
    (folder / "model.onnx").write_bytes(model or default)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    write_golden(folder, [Golden(pixels, {"logits": pixels.mean(axis=(1, 2)).astype(np.float32) * 0.1})])
    manifest = Manifest(
        card=ModelCard(
            task="classification",
            classes=CLASSES,
            input=Preprocess(image_size=(32, 48)),
            variant="by hand",
            architecture={},
        ),
        backend="onnx",
        precision="fp32",
        model_file="model.onnx",
        outputs={"logits": "ten times darker means"},
        made_with={"hand": "1"},
        dynamic_size=dynamic_size,
    )
    write_manifest(folder, replace(manifest, sha256=checksums(folder)))
    return folder


def checksums(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "manifest.json"]
    return {file.relative_to(folder).as_posix(): compute_sha256(file) for file in files}


def sealed(folder: Path, **changes: Any) -> Path:
    """Write the manifest anew, with the checksums of the files as they are now: what a stranger can do, too."""
    write_manifest(folder, replace(read_manifest(folder), **{"sha256": checksums(folder), **changes}))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_colour_bundle(tmp_path / "colours.nextvit")
