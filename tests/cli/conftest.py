"""A trained classifier for the verbs: made once, and copied for each file, because some verbs write into a run."""

import shutil
from pathlib import Path

import pytest

from nextvit.cli import main as command_line
from tests.cli.commands import FAST
from tests.conftest import MadeOnce, draw_dataset


@pytest.fixture(scope="session")
def trained_classifier(made_once: MadeOnce) -> Path:
    """Images of three colours, and a run of five epochs on them with an exported bundle."""

    def make(folder: Path) -> None:
        pictures = draw_dataset(folder / "colours", train=24)
        command_line.run(["train", str(pictures), "--out", str(folder / "run"), *map(str, FAST), "--epochs", "5"])
        command_line.run(["export", str(folder / "run")])

    return made_once("classifier", make)


@pytest.fixture(scope="session")
def pictures(trained_classifier: Path) -> Path:
    return trained_classifier / "colours"


@pytest.fixture(scope="module")
def run_folder(trained_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(trained_classifier / "run", tmp_path_factory.mktemp("cli") / "run"))


@pytest.fixture(scope="module")
def bundle(run_folder: Path) -> Path:
    return run_folder / "exports" / "run-onnx-fp32.nextvit"
