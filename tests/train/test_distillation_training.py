"""A training from a teacher alone: it can be interrupted, its teacher's time is counted, and its run is a start."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nextvit.errors import InputError
from nextvit.files.run_folder import read_json_lines, read_recipe
from nextvit.models.weights import save_model
from nextvit.recipes import get_recipe
from nextvit.tasks.network import build_network, load_trained
from nextvit.tasks.settings import Distillation, DistillationSettings
from nextvit.train.recipe import Recipe, Schedule
from nextvit.views.mix import Mix
from tests.conftest import MadeOnce, draw_dataset
from tests.tasks.cards import card
from tests.train.runs import RECIPE, run, weights

pytestmark = pytest.mark.training

TASK = "distillation"


@pytest.fixture(scope="module")
def photos(made_once: MadeOnce) -> Path:
    """Forty images in one folder."""

    def make(folder: Path) -> None:
        drawn = sorted(draw_dataset(folder / "drawn", train=10, val=4).rglob("*.png"))
        (folder / "photos").mkdir()
        for number, path in enumerate(drawn[:40]):
            shutil.copy(path, folder / "photos" / f"{number}.png")

    return made_once("unlabelled-photos", make) / "photos"


@pytest.fixture(scope="module")
def recipe(made_once: MadeOnce) -> Recipe:
    """Two epochs of four steps, mixed, at two sizes, from a network with random weights."""

    def make(folder: Path) -> None:
        torch.manual_seed(0)
        model = build_network(card())
        model.train()(torch.randn(8, 3, 32, 32))
        save_model(folder / "teacher.safetensors", model, card())

    teacher = made_once("a-teacher", make) / "teacher.safetensors"
    distill = Distillation(teacher=str(teacher), sizes=(32, 48))
    task = DistillationSettings(mix=Mix(mixup=1.0, cutmix=1.0, batches=0.5), distill=distill)
    data = replace(RECIPE.data, image_size=48)
    return replace(RECIPE, task=task, data=data, schedule=Schedule(epochs=2, warmup_epochs=0.5))


@pytest.fixture(scope="module")
def whole(made_once: MadeOnce, photos: Path, recipe: Recipe) -> Path:
    """An uninterrupted run."""
    return made_once("distilled", lambda folder: run(photos, folder / "run", recipe, task=TASK)) / "run"


def test_it_says_what_it_learnt_and_how_long_the_teacher_took(whole: Path):
    records = read_json_lines(whole / "metrics.jsonl")
    assert [record["step"] for record in records] == [4, 8]
    assert all(0 < record["teacher_share"] < 1 and record["val_loss"] > 0 for record in records)
    evaluation = json.loads((whole / "evaluation.json").read_text())
    assert evaluation["main_score"] == "agreement_score"
    assert read_recipe(whole / "recipe.yaml")["task"] == TASK
    _, trained = load_trained(whole)
    assert (trained.task, trained.classes) == ("classification", card().classes)


def test_resumed_in_the_middle_of_an_epoch_it_ends_with_the_same_weights(
    whole: Path, photos: Path, recipe: Recipe, tmp_path: Path
):
    run(photos, tmp_path / "run", recipe, task=TASK, stop_at=6)
    run(photos, tmp_path / "run", recipe, task=TASK, resume=True)
    for name in ("last/model", "last/ema", "best/model"):
        again, expected = weights(tmp_path / "run", name), weights(whole, name)
        assert all(torch.equal(again[key], expected[key]) for key in expected)


def test_it_is_a_start_for_other_classes(whole: Path, recipe: Recipe, tmp_path: Path):
    """All but the head is taken over."""
    lines: list[str] = []
    data = draw_dataset(tmp_path / "data", train=4, val=2)
    (data / "train" / "red").rename(data / "train" / "crimson")
    (data / "val" / "red").rename(data / "val" / "crimson")
    model = replace(RECIPE.model, weights=str(whole))
    start = replace(RECIPE, model=model, schedule=Schedule(epochs=1))
    run(data, tmp_path / "run", start, say=lines.append)
    assert any("head for other classes" in line for line in lines)


def test_the_recipe_asks_for_a_teacher_and_refuses_labels(photos: Path, recipe: Recipe, tmp_path: Path):
    with pytest.raises(InputError, match="need a teacher"):
        run(photos, tmp_path / "run", get_recipe("distill"), task=TASK)
    with pytest.raises(InputError, match="has labels"):
        run(draw_dataset(tmp_path / "data", train=2, val=2), tmp_path / "run", recipe, task=TASK)
    assert not (tmp_path / "run").exists()
