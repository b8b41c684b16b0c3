"""A new task needs no change of the package: two rows in two tables, from check to report."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextvit.predictions.kind import KINDS
from nextvit.recipes import RECIPES
from nextvit.tasks.task import TASKS
from nextvit.train.recipe import Compute, Data, Ema, Model, Optim, Recipe, Schedule
from tests.tasks.brightness import BrightnessSettings


def bright() -> Recipe:
    return Recipe(
        model=Model(name="nextvit_nano"),
        data=Data(image_size=32, batch_size=8, workers=0),
        task=BrightnessSettings(),
        optim=Optim(lr=1e-3),
        schedule=Schedule(epochs=5, warmup_epochs=0),
        ema=Ema(decay=0.0),
        compute=Compute(device="cpu", precision="fp32", threads=1),
    )


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`nextvit.cli.main` with the two rows, and a recipe."""
    monkeypatch.setitem(KINDS, "brightness", "tests.tasks.brightness:BrightnessKind")
    monkeypatch.setitem(TASKS, "brightness", "tests.tasks.brightness:BrightnessTask")
    monkeypatch.setitem(RECIPES, "bright", bright)
    # The flags of `train` are made from the tables when its module is imported, which another test may have done.
    for name in [name for name in sys.modules if name.startswith("nextvit.cli")]:
        monkeypatch.delitem(sys.modules, name)
    return import_module("nextvit.cli.main")


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """Images of one grey each."""
    rows = ["path,brightness"]
    for number in range(60):
        value = number / 59
        noise = np.random.default_rng(number).integers(0, 8, (40, 40, 3))
        Image.fromarray(np.clip(255 * value + noise, 0, 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{value}")
    (tmp_path / "greys.csv").write_text("\n".join(rows))
    return tmp_path / "greys.csv"


@pytest.mark.training
def test_a_task_from_outside_goes_the_whole_way(
    command_line: ModuleType, greys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def call(*arguments: object) -> dict[str, Any]:
        assert command_line.run([*map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    run, bundle = tmp_path / "run", tmp_path / "run/exports/run-onnx-fp32.nextvit"
    assert call("check", greys)["errors"] == 0
    trained = call("train", greys, "--out", run, "--loss.power", "1.5")
    assert list(trained["scores"]) == ["closeness_score"] and trained["scores"]["closeness_score"] > 60
    assert "task: brightness" in (run / "recipe.yaml").read_text()
    assert call("eval", run, greys)["main_score"] == "closeness_score"
    assert call("export", run, "--to", "onnx")["verification"]["drop"] == pytest.approx(0, abs=1e-3)
    assert call("verify", bundle, "--data", greys)["exam"]["metric"] == "closeness_score"
    predicted = call("predict", bundle, tmp_path / "0.png", tmp_path / "59.png", "--out", tmp_path / "drawn")
    dark, light = (each["brightness"] for each in predicted["predictions"])
    assert dark < light
    assert call("info", bundle)["predicts"] == "brightness"
    call("report", run)
    assert "<h2>Brightness</h2>" in (run / "report.html").read_text()
