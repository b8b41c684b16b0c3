"""A run and a bundle that the first format wrote, before tasks had facts and settings of their own, are still read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.bundle.facts import MultiLabelFacts
from nextvit.cli import main as command_line
from nextvit.errors import InputError
from nextvit.runtime.predictor import load_bundle
from tests.conftest import needs

OLD = Path(__file__).parent / "format_1"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A dataset of the classes that the models know."""
    rows = ["path,labels,split"]
    for number in range(16):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        names = "|".join(name for bit, name in enumerate(("blue", "green", "red")) if number >> bit & 1)
        rows.append(f"{number}.png,{names},{'val' if number >= 8 else 'train'}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path / "list.csv"


def test_a_bundle_of_the_first_format_predicts():
    needs("onnxruntime")
    predictor = load_bundle(OLD / "labels.nextvit")
    assert predictor.card.facts == MultiLabelFacts(thresholds=(0.5,) * 3)
    [prediction] = predictor([np.zeros((40, 40, 3), np.uint8)])
    assert {each.label for each in (*prediction.present, *prediction.absent)} == {"blue", "green", "red"}


def test_a_bundle_of_the_first_format_is_verified_and_described(labels: Path, capsys: pytest.CaptureFixture[str]):
    needs("onnxruntime", "torch")
    assert command_line.run(["verify", str(OLD / "labels.nextvit"), "--data", str(labels), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["golden"]["agreement"] == 1.0 and document["exam"]["metric"] == "mean_ap_score"
    assert command_line.run(["info", str(OLD / "labels.nextvit"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "multilabel"


def test_a_run_of_the_first_format_is_scored_exported_and_reported(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    needs("onnxruntime", "torch")
    run = tmp_path / "run"
    shutil.copytree(OLD / "run", run)
    assert command_line.run(["eval", str(run), str(labels), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["main_score"] == "mean_ap_score"
    out = str(tmp_path / "again.nextvit")
    assert command_line.run(["export", str(run), "--data", str(labels), "--out", out, "--json"]) == 0
    manifest = json.loads((Path(out) / "manifest.json").read_text())
    assert manifest["card"]["facts"] == {"thresholds": [0.5, 0.5, 0.5]}
    assert command_line.run(["report", str(run)]) == 0
    assert "mean AP" in (run / "report.html").read_text()


def test_a_run_of_the_first_format_whose_state_is_gone_is_refused_in_a_line(labels: Path, tmp_path: Path):
    needs("torch")
    run = tmp_path / "run"
    shutil.copytree(OLD / "run", run)
    with pytest.raises(InputError) as refused:
        command_line.run(
            ["train", str(labels), "--out", str(run), "--resume", "--model", "nextvit_tiny", "--epochs", "0"]
        )
    assert "\n" not in str(refused.value)
