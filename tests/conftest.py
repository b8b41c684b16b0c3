"""Small real objects that several test files share."""

import os
import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}


def needs(*packages: str) -> None:
    """Skip where one of these is not installed. Importing OpenVINO or NNCF here would start its telemetry."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")


def draw_dataset(root: Path, *, train: int = 8, val: int = 4, size: int = 40) -> Path:
    """Three classes of noisy coloured squares, which the smallest network learns in seconds."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                noisy = np.array(colour) + generator.normal(0, 30, (size, size, 3))
                Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A fresh dataset of three colours."""
    return draw_dataset(tmp_path / "colours")


@pytest.fixture(scope="session")
def shared_colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dataset once for all tests that only read it."""
    return draw_dataset(tmp_path_factory.mktemp("shared") / "colours")


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory):
    """Unpack a real image set by name; skips where there is none."""
    source = os.environ.get("NEXTVIT_TEST_DATA")

    def unpack(name: str) -> Path:
        if not source or not (Path(source) / f"{name}.tar").is_file():
            pytest.skip(f"needs {name}.tar in the folder that NEXTVIT_TEST_DATA names")
        folder = tmp_path_factory.mktemp(name)
        with tarfile.open(Path(source) / f"{name}.tar") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is None or Path(member.name).is_absolute() or ".." in Path(member.name).parts:
                    continue
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
        return folder / name

    return unpack
