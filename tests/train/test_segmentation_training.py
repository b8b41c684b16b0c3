"""A segmentation model's training: it learns what is drawn, views and masks stay in step, and what is not meant for
masks is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nextvit.check.masks import count_training_pixels
from nextvit.cli.run_report import write_report
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.files.run_folder import read_json_lines
from nextvit.image.masks import IGNORE_INDEX
from nextvit.models.cost import count_parameters
from nextvit.models.segmentation import PUBLISHED_UPER, Segmenter
from nextvit.predictions.kind import output_names
from nextvit.tasks.network import load_model
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.settings import SegmentationHeads, SegmentationLoss, SegmentationSettings
from nextvit.tasks.task import get_task
from nextvit.train.card import build_card
from nextvit.train.memory import make_trial
from nextvit.train.recipe import Compute, Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.train.resolve import resolve_recipe
from nextvit.train.start import train
from nextvit.train.state import Training
from nextvit.views.masked_source import MaskTargets
from nextvit.views.segmentation_view import compute_class_rarity
from nextvit.views.settings import SegmentationAugment
from nextvit.views.training_batches import Batch, TrainingSet
from tests.conftest import MadeOnce
from tests.data.masks_by_hand import CLASSES, draw_masked, repaint
from tests.train.runs import finished_run, training_for, with_sections

RECIPE = Recipe(
    model=Model(name="nextvit_nano", drop_path=0.0),
    data=Data(image_size=64, batch_size=4, workers=0, allow_errors=True),
    task=SegmentationSettings(masks=SegmentationAugment(scale=(1.0, 1.5), photometric=0.0)),
    optim=Optim(lr=2e-3),
    schedule=Schedule(epochs=6, warmup_epochs=0.5),
    ema=Ema(decay=0.6),
    compute=Compute(precision="fp32", device="cpu", threads=1),
)


@pytest.fixture(scope="module")
def pictures(made_once: MadeOnce) -> Path:
    """Three steps an epoch."""
    return made_once("three-steps-of-masks", draw_masked)


@pytest.fixture(scope="module")
def finished(made_once: MadeOnce, pictures: Path) -> Path:
    return finished_run(made_once, "trained-segmenter", pictures, RECIPE)[0]


def batch_of(training: Training, *indices: int) -> Batch:
    views = training.batches.dataset
    assert isinstance(views, TrainingSet)
    return views.__getitems__([(0, index) for index in indices])


def test_it_learns(finished: Path):
    records = read_json_lines(finished / "metrics.jsonl")
    assert records[-1]["train_loss"] < 0.8 * records[0]["train_loss"]
    names = ("mean_iou", "mean_dice", "pixel_accuracy", "mean_class")
    assert {f"val_{name}_score" for name in names} <= records[0].keys()
    assert max(record["val_mean_iou_score"] for record in records) > 20  # a third of what is there is told by chance


def test_a_run_leaves_what_it_promises(finished: Path):
    assert {entry.name for entry in finished.iterdir()} == {
        "recipe.yaml", "environment.json", "metrics.jsonl", "evaluation.json", "augmented.png", "checkpoints",
    }  # fmt: skip
    best, card = load_model(finished / "checkpoints" / "best" / "model.safetensors")
    assert isinstance(best, Segmenter)
    assert (card.task, card.classes, output_names(card), card.input.names) == (
        "segmentation", CLASSES, ("classes",), ("images", "sizes"),
    )  # fmt: skip
    facts = json.loads((finished / "environment.json").read_text())
    assert facts["parameters"] == count_parameters(best) and facts["macs"] > 1e8
    assert yaml.safe_load((finished / "recipe.yaml").read_text())["data"]["resize"] == "pad"


def test_the_evaluation_tells_of_each_class(finished: Path):
    details = json.loads((finished / "evaluation.json").read_text())["details"]
    assert details["classes"] == list(CLASSES) and len(details["class_scores"]) == 3
    assert sum(details["segmentation"]["class_pixels"]) == 4 * 48 * 36
    assert np.sum(details["segmentation"]["confusion"]) == 4 * 48 * 36


def test_the_report_of_a_run_shows_curves_and_a_batch(finished: Path, tmp_path: Path):
    page = write_report(finished, out=tmp_path / "page.html").read_text()
    for part in ("Validation mIoU, %", "A training batch", "at most 107x64 px"):
        assert part in page


def test_a_batch_holds_masks_in_step_with_its_views(pictures: Path):
    batch = batch_of(training_for(pictures, RECIPE), 0, 1, 2, 3)
    assert isinstance(batch.targets, MaskTargets)
    masks_NHW = batch.targets.classes_NHW
    assert batch.images.shape == (4, 3, 64, 64) and masks_NHW.shape == (4, 64, 64)
    square = batch.images.permute(0, 2, 3, 1)[masks_NHW == 1].float().mean(dim=0)
    assert square[0] > 180 and square[1] < 90  # red, but for its edges
    parts = list(batch.parts(2))
    assert [part.indices for part in parts] == [[0, 1], [2, 3]]
    assert torch.equal(torch.cat([part.targets.classes_NHW for part in parts]), masks_NHW)


def test_the_preview_shows_the_ground_through_a_class_of_most_pixels(pictures: Path):
    views = training_for(pictures, RECIPE).batches.dataset
    assert isinstance(views, TrainingSet)
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[:, 20:30, 20:30] = 1
    grey_NHWC = np.full((2, 64, 64, 3), 128, np.uint8)
    drawn = views.source.draw(grey_NHWC, MaskTargets(masks), ("ground", "thing")).astype(int)
    assert abs(drawn[:, 5, 5] - 128).max() < 30 < abs(drawn[:, 25, 25] - 128).max()


def test_a_mask_of_another_size_stops_the_training_in_a_line(tmp_path: Path):
    root = draw_masked(tmp_path / "drawn")
    repaint(root, lambda mask: mask[:20], only=2)
    views = training_for(root, RECIPE)
    index = [sample.path.stem for sample in views.samples].index("2")
    assert "2.png: is 48x36 px, its mask 48x20; see nextvit check" in str(batch_of(views, index).failure)


def test_losses_have_the_weights_of_the_recipe(pictures: Path):
    recipe = with_sections(RECIPE, loss=SegmentationLoss(cross_entropy=0.5, dice=2.0, tversky=1.0))
    training = training_for(pictures, recipe)
    batch = batch_of(training, 0, 1)
    losses = training.objective.losses(training.model.eval(), batch.images.float(), batch.targets)
    assert losses.keys() == {"cross_entropy", "dice", "tversky"}
    plain = training_for(pictures, RECIPE)
    plain.model.load_state_dict(training.model.state_dict())
    only = plain.objective.losses(plain.model.eval(), batch.images.float(), batch.targets)
    assert only.keys() == {"cross_entropy"}
    assert losses["cross_entropy"].item() == pytest.approx(0.5 * only["cross_entropy"].item())


def test_rare_classes_are_sought_by_their_pixels(tmp_path: Path):
    root = draw_masked(tmp_path / "drawn")
    repaint(root, lambda mask: np.where(mask == 2, IGNORE_INDEX, mask).astype(np.uint8), only=3)
    rarity = compute_class_rarity(
        count_training_pixels(read_dataset(root))
    )  # the background is everywhere, and so not sought
    assert rarity[0] == 0 < rarity[1:].min() and rarity.sum() == pytest.approx(1)
    recipe = with_sections(RECIPE, masks=replace(RECIPE.task.masks, rare_crops=1.0))
    assert batch_of(training_for(root, recipe), 0, 1).targets is not None


def test_heads_are_those_of_the_recipe(pictures: Path):
    dataset = read_dataset(pictures)
    recipe = resolve_recipe(with_sections(RECIPE, heads=SegmentationHeads(decoder="uper", size="published")), dataset)
    assert build_card(dataset, recipe).head == to_plain(PUBLISHED_UPER)
    light = build_card(
        dataset, resolve_recipe(with_sections(RECIPE, heads=SegmentationHeads(decoder="uper")), dataset)
    ).head
    assert (light["head"], light["head_width"]) == ("uper", 64)


def test_the_batch_size_is_found_with_views_of_the_recipe(pictures: Path):
    training = training_for(pictures, RECIPE)
    recipe = resolve_recipe(with_sections(RECIPE, masks=replace(RECIPE.task.masks, crop=2.0)), training.dataset)
    task = get_task("segmentation")
    pixels, masks = task.random_batch(training.card, recipe.task, images=2, device=torch.device("cpu"))
    assert isinstance(masks, MaskTargets)
    assert (pixels.shape, masks.classes_NHW.shape) == ((2, 3, 128, 128), (2, 128, 128))
    make_trial(training.objective, training.card, training.model, RECIPE, torch.device("cpu"))(2)


def test_losses_of_no_weight_are_refused():
    with pytest.raises(InputError, match=r"one of loss\.cross_entropy, loss\.dice and loss\.tversky"):
        SegmentationLoss(cross_entropy=0.0)


def test_a_run_of_another_task_is_no_start_for_a_resumed_one(finished: Path, pictures: Path):
    with pytest.raises(InputError, match="already holds a run"):
        train(pictures, RECIPE, run=finished, watch=lambda tick: None, say=lambda message: None)
