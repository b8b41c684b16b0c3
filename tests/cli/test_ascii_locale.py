"""A locale that has ASCII alone, as in minimal containers, and names that have more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nextvit
from tests.conftest import draw_dataset

ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}


def nextvit_in_ascii(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **ASCII, "PYTHONPATH": str(Path(nextvit.__file__).parents[1])}
    command = [sys.executable, "-m", "nextvit", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, encoding="ascii", check=False)


@pytest.fixture
def umlauts(tmp_path: Path) -> Path:
    """Three classes in a folder of other letters than ASCII's, one of them named so, too."""
    root = draw_dataset(tmp_path / "phötos")
    for split in ("train", "val"):
        (root / split / "green").rename(root / split / "grün")
    return root


@pytest.mark.serial
def test_check_names_what_the_locale_cannot_write(umlauts: Path):
    (umlauts / "train" / "grün" / "0.png").write_bytes(b"no image")
    done = nextvit_in_ascii("check", umlauts)
    assert done.returncode == 1, done.stderr
    assert r"gr\xfcn" in done.stdout
    document = json.loads(nextvit_in_ascii("check", umlauts, "--json").stdout)
    assert "grün" in json.dumps(document, ensure_ascii=False)


@pytest.mark.training
def test_train_names_what_the_locale_cannot_write(umlauts: Path, tmp_path: Path):
    arguments = ("--recipe", "smoke", "--epochs", "1", "--json", "--out", tmp_path / "rün")
    done = nextvit_in_ascii("train", umlauts, *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(tmp_path / "rün")
