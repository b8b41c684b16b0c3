"""The paper's two trainings on ADE20K: every setting as in the official configuration, and both run end to end."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from nextvit.cli import main as command_line
from nextvit.errors import InputError
from nextvit.files.run_folder import read_json_lines
from nextvit.image.resizing import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from nextvit.models.network import Network
from nextvit.models.segmentation import Segmenter, SegmenterConfig
from nextvit.recipes import get_recipe
from nextvit.tasks.network import build_network, load_model
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.segmentation import SegmentationTask
from nextvit.tasks.settings import SegmentationData, SegmentationLoss
from nextvit.train.card import build_card
from nextvit.train.distributed import World
from nextvit.train.optim import build_optimizer
from nextvit.train.prepare import prepare
from nextvit.train.recipe import Compute, Data, Model, Optim, Recipe, Schedule
from nextvit.train.resolve import resolve_recipe
from nextvit.train.schedule import compute_lr
from nextvit.views.settings import SegmentationAugment
from tests.conftest import draw_dataset
from tests.data.coco_by_hand import draw_objects
from tests.data.masks_by_hand import draw_ade20k
from tests.train.runs import run, with_sections

FPN, UPERNET = "ade20k_fpn_80k", "ade20k_upernet_160k"
BOTH = pytest.mark.parametrize("name", [FPN, UPERNET])


@pytest.fixture(scope="module")
def ade20k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training and 4 validation images of 3 classes in ADE20K's layout."""
    return draw_ade20k(tmp_path_factory.mktemp("ade20k") / "drawn")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of nextvit_nano on labelled images, for the weights to start from."""
    root = tmp_path_factory.mktemp("classifier")
    recipe = Recipe(
        model=Model(name="nextvit_nano"),
        data=Data(image_size=32, batch_size=8, workers=0),
        schedule=Schedule(epochs=1),
        compute=Compute(threads=1),
    )
    run(draw_dataset(root / "colours"), root / "run", recipe)
    return root / "run"


def small(name: str, weights: Path) -> Recipe:
    """The recipe with a tiny network, image and batch, and two steps an epoch."""
    recipe = get_recipe(name)
    return replace(
        recipe,
        model=replace(recipe.model, name="nextvit_nano", weights=str(weights)),
        data=replace(recipe.data, image_size=64, batch_size=4, workers=0),
        task=replace(recipe.task, data=SegmentationData(longer_side=256)),
        schedule=replace(recipe.schedule, epochs=1, epoch_steps=2),
        compute=replace(recipe.compute, device="cpu", threads=1),
    )


def mmcv_lr(iteration: int, *, base: float, iterations: int, power: float, last: float, warmup: int) -> float:
    """MMCV 1.5's PolyLrUpdaterHook by iterations, and its linear warm-up with ratio 1e-6."""
    regular = (base - last) * (1 - iteration / iterations) ** power + last
    return regular if iteration >= warmup else regular * (1 - (1 - iteration / warmup) * (1 - 1e-6))


@pytest.mark.parametrize(
    ("name", "base", "iterations", "power", "last", "warmup"),
    [(FPN, 1e-4, 40_000, 0.9, 1e-6, 0), (UPERNET, 6e-5, 160_000, 1.0, 0.0, 1500)],
)
def test_the_rate_is_mmcvs_at_every_step(
    name: str, base: float, iterations: int, power: float, last: float, warmup: int
):
    recipe = get_recipe(name)
    steps = recipe.schedule.epoch_steps
    assert steps * recipe.epochs == iterations
    for iteration in (*range(0, 1600, 50), *range(0, iterations, 997), iterations - 1):
        expected = mmcv_lr(iteration, base=base, iterations=iterations, power=power, last=last, warmup=warmup)
        assert compute_lr(iteration, steps_per_epoch=steps, recipe=recipe) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "batch", "every", "lr", "weight_decay", "decay_norms", "decoder"),
    [(FPN, 32, 4000, 1e-4, 1e-4, True, "fpn"), (UPERNET, 16, 16_000, 6e-5, 0.01, False, "uper")],
)
def test_the_recipes_are_the_papers(
    name: str, batch: int, every: int, lr: float, weight_decay: float, decay_norms: bool, decoder: str, ade20k: Path
):
    with pytest.raises(InputError, match="this recipe goes on from weights; pass a run"):
        resolve_recipe(get_recipe(name), read_dataset(ade20k))
    recipe = get_recipe(name)
    recipe = resolve_recipe(replace(recipe, model=replace(recipe.model, weights="bd_in1k")), read_dataset(ade20k))
    model = recipe.model
    assert (model.drop_path, model.frozen_stages, model.frozen_norms) == (0.2, 0, False)  # 0.2 for nextvit_small, too
    assert recipe.preprocess() == Preprocess(image_size=(512, 2048), resize="pad")
    assert (recipe.preprocess().mean, recipe.preprocess().std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert (recipe.data.batch_size, recipe.schedule.epoch_steps, recipe.schedule.epochs) == (batch, every, 10)
    assert recipe.task.masks == SegmentationAugment(
        flip=0.5,
        scale=(0.5, 2.0),
        crop=1.0,
        most_of_one_class=0.75,
        rare_crops=0.0,
        photometric=1.0,
        colours="published",
        flip_sides="ignore",
    )
    card = build_card(read_dataset(ade20k), recipe)
    view = SegmentationTask().view(card, recipe.task, None)
    assert view.size == (512, 512) and not view.mirrored
    standardising = with_sections(recipe, heads=replace(recipe.task.heads, standardise=True))
    assert SegmentationTask().view(card, standardising.task, None).mirrored
    assert recipe.optim == Optim(
        lr=lr, weight_decay=weight_decay, betas=(0.9, 0.999), clip_norm=0.0, decay_biases=True, decay_norms=decay_norms
    )
    assert (recipe.optim.layer_decay, recipe.optim.accumulate, recipe.schedule.patience) == (1.0, 1, 0)
    assert recipe.task.loss == SegmentationLoss(
        cross_entropy=1.0, dice=0.0, tversky=0.0, auxiliary=0.4, mean_over="all"
    )
    assert recipe.ema.decay == 0.0
    assert (recipe.compute.precision, recipe.compute.sync_batch_norm) == ("fp32", True)
    head = build_card(read_dataset(ade20k), recipe).head
    published = SegmenterConfig(dropout=0.1, neck_width=256, head_width=128)
    if decoder == "uper":
        published = replace(published, head="uper", head_width=512, pool_sides=(1, 2, 3, 6), auxiliary_width=256)
    assert {**vars(published), "pool_sides": list(published.pool_sides)} == head


def untrained(name: str, root: Path) -> Network:
    dataset = read_dataset(root)
    recipe = get_recipe(name)
    recipe = replace(recipe, model=replace(recipe.model, name="nextvit_nano", weights="none"))
    return build_network(build_card(dataset, resolve_recipe(recipe, dataset)))


@BOTH
def test_what_decays_is_what_the_configuration_says(name: str, ade20k: Path):
    """Semantic FPN: everything. UperNet: all but what has "bn" or "norm" in its name; those names are
    MMSegmentation's."""
    model, recipe = untrained(name, ade20k), get_recipe(name)
    names = {id(weight): name for name, weight in model.named_parameters()}
    groups = build_optimizer(model, recipe.optim).param_groups
    decay = {names[id(weight)]: group["weight_decay"] for group in groups for weight in group["params"]}
    assert decay.keys() == set(names.values())
    for parameter, got in decay.items():
        spared = name == UPERNET and ("bn" in parameter or "norm" in parameter)
        assert got == (0.0 if spared else recipe.optim.weight_decay), parameter
    assert {group["lr_scale"] for group in groups} == {1.0}
    assert {group["betas"] for group in groups} == {(0.9, 0.999)}


def test_norms_may_decay_alone(ade20k: Path):
    model = untrained(FPN, ade20k)
    groups = build_optimizer(model, Optim(decay_norms=True)).param_groups
    [spared] = [group["params"] for group in groups if not group["weight_decay"]]
    names = {id(weight): name for name, weight in model.named_parameters()}
    biases = {name for name in names.values() if name.endswith(".bias") and "norm" not in name and "bn" not in name}
    assert {names[id(weight)] for weight in spared} == biases


class OneOfTwo(World):
    """One process of two, which averages no gradients."""

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        return model


@BOTH
def test_several_gpus_share_all_norms(name: str, ade20k: Path, classifier: Path):
    """Those of the heads and behind the stages, too. Nothing is computed, so no GPU is needed."""
    dataset = read_dataset(ade20k)
    recipe = resolve_recipe(small(name, classifier), dataset)
    card = build_card(dataset, recipe)
    model = build_network(card)
    plain = [each for each in model.modules() if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d)]
    training = prepare(dataset, card, model, recipe, torch.device("cuda"), OneOfTwo(size=2))
    shared = [each for each in training.model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    assert len(shared) == len(plain) and all(isinstance(each, nn.SyncBatchNorm) for each in shared)
    learnt = {id(weight) for group in training.optimizer.param_groups for weight in group["params"]}
    assert learnt == {id(weight) for weight in training.model.parameters()}


@pytest.mark.parametrize("name", [FPN, pytest.param(UPERNET, marks=pytest.mark.training)])
def test_the_commands_of_the_recipes_run_end_to_end(name: str, ade20k: Path, classifier: Path, tmp_path: Path):
    """Two iterations and an evaluation, with the heads as published, at an eighth of the size."""
    arguments = ["train", ade20k, "--out", tmp_path / "run", "--recipe", name, "--weights", classifier,
                 "--model", "nextvit_nano", "--image-size", 64, "--data.longer-side", 256, "--data.workers", 0,
                 "--epochs", 1, "--schedule.epoch-steps", 2, "--batch-size", 4, "--compute.device", "cpu"]  # fmt: skip
    assert command_line.run([str(each) for each in arguments]) == 0
    [record] = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert (record["epoch"], record["step"]) == (1, 2) and np.isfinite(record["train_loss"])
    of_two = {"iterations": 2, "power": 0.9, "last": 1e-6, "warmup": 0}
    if name == UPERNET:
        of_two = {"iterations": 2, "power": 1.0, "last": 0.0, "warmup": 1500}
    assert record["lr"] == pytest.approx(mmcv_lr(1, base=get_recipe(name).lr, **of_two))
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (evaluation["images"], evaluation["main_score"]) == (4, "mean_iou_score")
    assert evaluation["details"]["classes"] == ["wall", "screen;square", "screen;disc"]
    assert sum(evaluation["details"]["segmentation"]["class_pixels"]) == 4 * 47 * 36  # the first column has no label
    best, card = load_model(tmp_path / "run" / "checkpoints" / "best" / "model.safetensors")
    assert isinstance(best, Segmenter) and card.input.image_size == (64, 256)
    assert (best.auxiliary_head is not None) == (name == UPERNET)
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["schedule"]["epoch_steps"] == 2


@BOTH
def test_they_train_with_light_heads(name: str, ade20k: Path, classifier: Path, tmp_path: Path):
    recipe = small(name, classifier)
    losses = run(ade20k, tmp_path / "run", with_sections(recipe, heads=replace(recipe.task.heads, size="light")))
    assert all(np.isfinite(loss) for loss in losses.values()) and losses.keys() == {1, 2}


def refusal(arguments: Sequence[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that is refused with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["nextvit", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    return line


@BOTH
@pytest.mark.parametrize("labelled_with", ["classes", "objects"])
def test_images_of_another_task_are_refused_in_a_line(
    name: str,
    labelled_with: str,
    classifier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    draw = {"classes": draw_dataset, "objects": draw_objects}[labelled_with]
    root = draw(tmp_path / "drawn")
    arguments = ["train", root, "--out", tmp_path / "run", "--recipe", name, "--weights", classifier]
    line = refusal(arguments, monkeypatch, capsys)
    assert f"the recipe {name} is for segmentation, and the dataset for " in line
    assert line.strip().endswith("or pass --task segmentation") == (labelled_with == "objects")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["imagenet", "coco_1x"])
def test_recipes_of_other_tasks_are_refused_with_masks(
    name: str,
    ade20k: Path,
    classifier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    arguments = ["train", ade20k, "--out", tmp_path / "run", "--recipe", name, "--weights", classifier]
    line = refusal(arguments, monkeypatch, capsys)
    assert "and the dataset for segmentation; take finetune_segmentation" in line
