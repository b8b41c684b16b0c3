"""A detector's training: it learns, it resumes, its parts may lie anywhere; and the recipes are those of the paper."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nextvit.bundle.facts import DetectionFacts
from nextvit.cli import main as command_line
from nextvit.cli.run_report import write_report
from nextvit.errors import InputError
from nextvit.files.run_folder import read_json_lines
from nextvit.models.config import VARIANTS
from nextvit.models.cost import count_parameters
from nextvit.models.detection import DetectorConfig
from nextvit.predictions.kind import output_names
from nextvit.recipes import get_recipe
from nextvit.tasks.network import build_network, load_model
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.settings import DetectionData, DetectionHeads, DetectionLoss, DetectionSettings, LabelSettings
from nextvit.tasks.task import Evaluation, get_task
from nextvit.train.card import build_card
from nextvit.train.distributed import World
from nextvit.train.loop import Tick, rank_epoch
from nextvit.train.memory import make_trial
from nextvit.train.optim import build_optimizer, train_mode
from nextvit.train.prepare import prepare
from nextvit.train.recipe import Compute, Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.train.resolve import resolve_recipe
from nextvit.train.schedule import compute_lr
from nextvit.train.start import train
from nextvit.train.state import Training
from nextvit.train.step import train_step
from nextvit.views.annotated_source import ObjectTargets
from nextvit.views.contact_sheet import LARGE
from nextvit.views.settings import DetectionAugment
from nextvit.views.training_batches import Batch, TrainingSet
from tests.conftest import MadeOnce, draw_dataset
from tests.data.coco_by_hand import Content, draw_objects, spoil
from tests.train.runs import finished_run, run, training_for, weights, with_sections

RECIPE = Recipe(
    model=Model(name="nextvit_nano", drop_path=0.1),
    data=Data(image_size=64, batch_size=4, workers=0, allow_errors=True),
    task=DetectionSettings(loss=DetectionLoss(proposal_samples=64, region_samples=64)),
    optim=Optim(lr=1e-3),
    schedule=Schedule(epochs=4, warmup_epochs=0.5),
    ema=Ema(decay=0.8),
    compute=Compute(precision="fp32", device="cpu", threads=1),
)


@pytest.fixture(scope="module")
def pictures(made_once: MadeOnce) -> Path:
    """Three steps an epoch."""
    return made_once("three-steps-of-objects", draw_objects)


@pytest.fixture(scope="module")
def finished(made_once: MadeOnce, pictures: Path) -> tuple[Path, dict[int, float]]:
    """One uninterrupted run of four epochs."""
    return finished_run(made_once, "trained-detector", pictures, RECIPE)


def batch_of(training: Training, *indices: int) -> Batch:
    """These images, as the first epoch sees them."""
    views = training.batches.dataset
    assert isinstance(views, TrainingSet)
    return views.__getitems__([(0, index) for index in indices])


def test_the_losses_fall(finished: tuple[Path, dict[int, float]]):
    records = read_json_lines(finished[0] / "metrics.jsonl")
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert records[-1]["train_loss"] < 0.8 * records[0]["train_loss"]
    assert {"val_box_ap_score", "val_mask_ap_score"} <= records[0].keys()


def test_a_run_leaves_what_it_promises(finished: tuple[Path, dict[int, float]]):
    out, _ = finished
    assert {entry.name for entry in out.iterdir()} == {
        "recipe.yaml", "environment.json", "metrics.jsonl", "evaluation.json", "augmented.png", "checkpoints",
    }  # fmt: skip
    best, card = load_model(out / "checkpoints" / "best" / "model.safetensors")
    assert (card.task, card.facts, card.head["masks"]) == ("detection", DetectionFacts(category_ids=(3, 7)), True)
    facts = json.loads((out / "environment.json").read_text())
    assert facts["parameters"] == count_parameters(best) == count_parameters(build_network(card))
    assert facts["macs"] > 2e8  # the backbone alone has as many


def test_the_report_of_a_run_tells_of_objects(finished: tuple[Path, dict[int, float]], tmp_path: Path):
    page = write_report(finished[0], out=tmp_path / "page.html").read_text()
    for part in ("Validation box AP, %", "mask AP", "A training batch", "Precision over recall", "at most 107x64 px"):
        assert part in page
    assert "Calibration" not in page and "Most confused pairs" not in page


@pytest.mark.training
def test_a_resumed_run_ends_with_the_same_weights(
    finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path
):
    out, expected = finished
    run(pictures, tmp_path / "run", RECIPE, stop_after=5)  # in the middle of the second epoch, without time to save
    assert run(pictures, tmp_path / "run", RECIPE, resume=True, stop_at=8) == {
        step: expected[step] for step in range(4, 9)
    }
    run(pictures, tmp_path / "run", RECIPE, resume=True)
    for name in ("last/model", "last/ema", "best/model"):
        again, whole = weights(tmp_path / "run", name), weights(out, name)
        assert all(torch.equal(again[key], whole[key]) for key in whole), name


def test_a_run_is_not_resumed_with_other_heads(finished: tuple[Path, dict[int, float]], pictures: Path):
    for heads in (DetectionHeads(masks="off"), DetectionHeads(anchor_scale=6.0)):
        with pytest.raises(InputError, match="cannot be resumed with other head;"):
            run(pictures, finished[0], with_sections(RECIPE, heads=heads), resume=True)


def test_workers_do_not_change_the_batches(pictures: Path):
    alone = list(training_for(pictures, RECIPE).batches)
    with_workers = list(training_for(pictures, replace(RECIPE, data=replace(RECIPE.data, workers=2))).batches)
    assert len(alone) == len(with_workers) == 3
    for one, other in zip(alone, with_workers, strict=True):
        assert isinstance(one.targets, ObjectTargets) and isinstance(other.targets, ObjectTargets)
        assert one.indices == other.indices
        assert torch.equal(one.images, other.images) and torch.equal(one.targets.sizes_N2, other.targets.sizes_N2)
        for own, others in zip(one.targets.objects, other.targets.objects, strict=True):
            for name in ("boxes", "labels", "masks"):
                assert np.array_equal(getattr(own, name), getattr(others, name))


def test_parts_of_a_batch_are_padded_as_if_each_was_a_batch(pictures: Path):
    """So several processes see what one sees that accumulates."""
    training = training_for(pictures, with_sections(RECIPE, objects=DetectionAugment(scales=(0.5, 1.0))))
    whole = batch_of(training, *range(12))
    assert whole.targets is not None
    shapes: set[tuple[int, ...]] = set()
    for part, indices in zip(whole.parts(6), batched_by_two(12), strict=True):
        alone = batch_of(training, *indices)
        assert isinstance(part.targets, ObjectTargets) and isinstance(alone.targets, ObjectTargets)
        assert torch.equal(part.images, alone.images) and part.indices == alone.indices
        assert torch.equal(part.targets.sizes_N2, alone.targets.sizes_N2)
        shapes.add(tuple(part.images.shape[2:]))
    assert len(shapes) > 1


def batched_by_two(count: int) -> list[tuple[int, int]]:
    return [(index, index + 1) for index in range(0, count, 2)]


def test_two_equal_parts_have_the_gradient_of_the_whole_batch(pictures: Path):
    """What holds: a loss is a mean over what was drawn in a part, and parts count by their images. So the sum over
    parts is the whole batch's loss where all parts draw as many anchors and regions, as here, where each holds the same
    images, everything is drawn, and norms are frozen (they would see each part alone)."""
    plain = replace(
        RECIPE,
        model=replace(RECIPE.model, drop_path=0.0, frozen_norms=True),
        task=DetectionSettings(loss=DetectionLoss(proposal_samples=100_000, region_samples=100_000)),
        optim=Optim(lr=1e-3, clip_norm=0),
    )
    halved = replace(plain, optim=replace(plain.optim, accumulate=2))
    losses: list[float] = []
    gradients: list[dict[str, torch.Tensor]] = []
    for recipe in (plain, halved):
        training = training_for(pictures, recipe)
        train_mode(training.model, training.frozen)
        losses.append(train_step(training, batch_of(training, 0, 1, 0, 1), recipe).loss)
        named = training.model.named_parameters()
        gradients.append({name: weight.grad for name, weight in named if weight.grad is not None})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients[0].values())
    for name, whole in gradients[0].items():
        assert torch.allclose(whole, gradients[1][name], rtol=1e-3, atol=1e-6 * largest), name


CODE = """
import sys
from pathlib import Path
from tests.train.test_detection_training import TOGETHER
from nextvit.train.start import train
evaluation = train(Path(sys.argv[1]), TOGETHER, run=Path(sys.argv[2]), watch=lambda tick: None, say=lambda text: None)
print("images judged:", evaluation.images, flush=True)
"""
TOGETHER = replace(
    RECIPE,
    data=replace(RECIPE.data, batch_size=6),
    optim=Optim(lr=1e-4),
    schedule=Schedule(epochs=1, warmup_epochs=0),
    ema=Ema(decay=0.0),
)


@pytest.mark.training
@pytest.mark.serial
def test_two_processes_train_as_one_that_accumulates_over_the_same_parts(pictures: Path, tmp_path: Path):
    """Parameters; the running statistics are the first process's own, which saw the first half of each batch."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
               "--rdzv-endpoint", "localhost:0", "--no-python", sys.executable, "-c", CODE,
               str(pictures), str(tmp_path / "together")]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(["images", "judged:", "4"] * 2)  # they print at the same time
    run(pictures, tmp_path / "alone", replace(TOGETHER, optim=replace(TOGETHER.optim, accumulate=2)))
    got, expected = weights(tmp_path / "together"), weights(tmp_path / "alone")
    for name in (name for name in expected if "running" not in name and "num_batches" not in name):
        assert torch.allclose(got[name], expected[name], atol=1e-5, rtol=0), name
    losses = [read_json_lines(tmp_path / name / "metrics.jsonl")[0]["train_loss"] for name in ("together", "alone")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_what_is_frozen_keeps_weights_and_statistics(pictures: Path):
    recipe = replace(RECIPE, model=replace(RECIPE.model, frozen_stages=1, frozen_norms=True))
    training = training_for(pictures, recipe)
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    train_mode(training.model, training.frozen)
    train_step(training, batch_of(training, 0, 1, 2, 3), recipe)
    for name, tensor in training.model.state_dict().items():
        frozen = name.startswith(("backbone.stem", "backbone.stages.0.")) or "running" in name
        if tensor.is_floating_point():
            assert torch.equal(tensor, before[name]) == frozen, name


class OneOfTwo(World):
    """One process of two, which averages no gradients."""

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        return model


def test_norms_that_several_gpus_share_are_frozen_too(pictures: Path):
    """They replace the plain ones; the model's own must be the frozen ones. Nothing is computed, so no GPU is
    needed."""
    dataset = read_dataset(pictures)
    recipe = resolve_recipe(replace(RECIPE, model=replace(RECIPE.model, frozen_norms=True)), dataset)
    card = build_card(dataset, recipe)
    training = prepare(dataset, card, build_network(card), recipe, torch.device("cuda"), OneOfTwo(size=2))
    train_mode(training.model, training.frozen)
    norms = [each for each in training.model.backbone.modules() if isinstance(each, nn.SyncBatchNorm)]
    assert norms and not any(norm.training for norm in norms)


def test_biases_decay_where_the_recipe_says_so_and_norms_never(pictures: Path):
    """The rule of the official configuration: no decay for what has "norm" in its name, and for nothing else."""
    model = training_for(pictures, RECIPE).model
    names = {id(weight): name for name, weight in model.named_parameters()}
    for decay_biases in (True, False):
        groups = build_optimizer(model, Optim(weight_decay=0.05, decay_biases=decay_biases)).param_groups
        spared = {names[id(weight)] for group in groups if not group["weight_decay"] for weight in group["params"]}
        norms = {name for name in names.values() if "norm" in name}
        biases = {name for name in names.values() if name.endswith(".bias")}
        assert norms < norms | biases
        assert spared == (norms if decay_biases else norms | biases)
        assert sum(len(group["params"]) for group in groups) == len(names)


def mmcv_lr(iteration: int, *, epoch: int, base_lr: float, steps: list[int], warmup_iters: int) -> float:
    """mmcv 1.5's StepLrUpdaterHook by epochs with gamma 0.1, and its linear warm-up with ratio 1e-6."""
    exponent = len(steps)
    for index, milestone in enumerate(steps):
        if epoch < milestone:
            exponent = index
            break
    regular = base_lr * 0.1**exponent
    if iteration >= warmup_iters:
        return regular
    k = (1 - iteration / warmup_iters) * (1 - 1e-6)
    return regular * (1 - k)


@pytest.mark.parametrize(("name", "steps"), [("coco_1x", [8, 11]), ("coco_3x", [27, 33])])
def test_the_rate_is_mmcvs_at_every_step(name: str, steps: list[int]):
    recipe = get_recipe(name)
    for iterations in (7330, 8):
        for iteration in range(0, iterations * recipe.epochs, max(1, iterations // 100)):
            expected = mmcv_lr(iteration, epoch=iteration // iterations, base_lr=1e-4, steps=steps, warmup_iters=500)
            assert compute_lr(iteration, steps_per_epoch=iterations, recipe=recipe) == pytest.approx(expected, rel=1e-9)


def test_the_rates_of_the_1x_run_are_those_of_the_official_logs():
    """mask_rcnn_1x_nextvit_*.log: the rate at the end of each of the 12 epochs."""
    recipe = get_recipe("coco_1x")
    got = [compute_lr(7330 * epoch - 1, steps_per_epoch=7330, recipe=recipe) for epoch in range(1, 13)]
    assert got == pytest.approx([1e-4] * 8 + [1e-5] * 3 + [1e-6])


@pytest.mark.parametrize(
    ("name", "epochs", "milestones", "views"),
    [
        ("coco_1x", 12, (8, 11), {"scales": (1.0,), "crop": 0.0}),
        (
            "coco_3x",
            36,
            (27, 33),
            {
                "scales": tuple(side / 800 for side in range(480, 801, 32)),
                "crop": 0.5,
                "crop_scales": (400 / 800, 500 / 800, 600 / 800),
                "crop_sides": (384 / 800, 600 / 800),
            },
        ),
    ],
)
def test_the_recipes_are_the_papers(name: str, epochs: int, milestones: tuple[int, ...], views: dict[str, object]):
    recipe = get_recipe(name)
    assert (recipe.model.frozen_stages, recipe.model.frozen_norms, recipe.model.drop_path) == (1, True, None)
    assert [VARIANTS[f"nextvit_{size}"].drop_path for size in ("small", "base", "large")] == [0.1, 0.2, 0.2]
    assert (recipe.data.image_size, recipe.task.data.longer_side, recipe.data.batch_size) == (800, 1333, 16)
    assert recipe.task.data.leave_out_empty
    optim = recipe.optim
    assert (optim.lr, optim.weight_decay, optim.betas, optim.clip_norm) == (1e-4, 0.05, (0.9, 0.999), 0.0)
    assert (optim.decay_biases, optim.layer_decay, optim.accumulate) == (True, 1.0, 1)
    schedule = recipe.schedule
    assert (schedule.shape, schedule.epochs, schedule.milestones) == ("steps", epochs, milestones)
    assert (schedule.warmup_steps, schedule.patience, recipe.ema.decay) == (500, 0, 0.0)
    assert (recipe.task.loss.proposal_samples, recipe.task.loss.region_samples) == (256, 512)
    fixed = {"flip": 0.5, "tighten": False, "photometric": 0.0, "jitter": 0.0, "copy_paste": 0.0}
    for field, expected in {**views, **fixed}.items():
        assert getattr(recipe.task.objects, field) == pytest.approx(expected), field
    assert recipe.task.heads == DetectionHeads(size="published", masks="on", anchor_scale=8.0)
    heads = DetectorConfig()
    assert (heads.neck_width, heads.box_width, heads.mask_width, heads.mask_convs) == (256, 1024, 256, 4)
    assert (heads.anchor_scale, heads.anchor_ratios) == (8.0, (0.5, 1.0, 2.0))
    assert (heads.training_candidates, heads.candidates, heads.proposals, heads.proposal_iou) == (2000, 1000, 1000, 0.7)
    assert (heads.score_threshold, heads.iou, heads.detections) == (0.05, 0.5, 100)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of nextvit_nano on labelled images."""
    root = tmp_path_factory.mktemp("classifier")
    recipe = replace(RECIPE, data=replace(RECIPE.data, image_size=32, batch_size=8), task=LabelSettings())
    run(draw_dataset(root / "colours"), root / "run", replace(recipe, schedule=Schedule(epochs=1)))
    return root / "run"


def test_a_detector_starts_from_a_classifiers_backbone(classifier: Path, pictures: Path, tmp_path: Path):
    """With a rate of next to nothing it ends with it, too."""
    recipe = replace(
        RECIPE,
        model=replace(RECIPE.model, weights=str(classifier)),
        optim=Optim(lr=1e-12),
        schedule=Schedule(epochs=1),
        ema=Ema(decay=0.0),
    )
    said: list[str] = []
    train(pictures, recipe, run=tmp_path / "run", watch=lambda tick: None, say=said.append)
    [loaded] = [line for line in said if "tensors loaded" in line]
    assert "start fresh: neck." in loaded and "left over (norm and head of a classifier" in loaded
    source, ours = weights(classifier, "best/model"), weights(tmp_path / "run")
    compared = [name for name in source if name.startswith("backbone.") and name.endswith((".weight", ".bias"))]
    assert len(compared) > 50
    assert all(torch.allclose(ours[name], source[name], atol=1e-6) for name in compared)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco_1x", "coco_3x"])
def test_the_commands_of_the_recipes_run_end_to_end(name: str, real_data, classifier: Path, tmp_path: Path):
    """Two iterations of 16 photographs and an evaluation, with the heads as published, at a fifth of the size."""
    root = real_data("coco128seg")
    spoil(root, lambda content: keep(content, 32))
    spoil(root, lambda content: keep(content, 8), split="val")
    arguments = ["train", root, "--out", tmp_path / "run", "--recipe", name, "--weights", classifier,
                 "--model", "nextvit_nano", "--image-size", 160, "--data.longer-side", 267, "--data.workers", 0,
                 "--epochs", 1, "--data.allow-errors", "--compute.device", "cpu"]  # fmt: skip
    assert command_line.run([str(each) for each in arguments]) == 0
    [record] = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert record["step"] == 2 and np.isfinite(record["train_loss"])
    assert record["lr"] == pytest.approx(1e-4 / 500, rel=1e-3)
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert evaluation["images"] == 8 and evaluation["main_score"] == "box_ap_score"


def keep(content: Content, count: int) -> None:
    """Leave the first images alone."""
    content["images"] = content["images"][:count]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in ids]


@pytest.mark.training
@pytest.mark.parametrize("name", ["finetune_detection", "coco_1x", "coco_3x"])
def test_every_recipe_for_objects_takes_a_step(name: str, classifier: Path, tmp_path: Path):
    pictures = draw_objects(tmp_path / "drawn", train=4, val=1)
    recipe = get_recipe(name)
    if recipe.model.weights == "given":
        with pytest.raises(InputError, match="this recipe goes on from weights; pass a run"):
            run(pictures, tmp_path / "run", recipe)
        recipe = replace(recipe, model=replace(recipe.model, weights=str(classifier)))
    small = replace(
        recipe,
        model=replace(recipe.model, name="nextvit_nano"),
        data=replace(recipe.data, image_size=64, batch_size=4, workers=0),
        task=replace(recipe.task, data=replace(recipe.task.data, longer_side="auto")),
        schedule=replace(recipe.schedule, epochs=1),
    )
    losses = run(pictures, tmp_path / "run", small)
    assert np.isfinite(losses[1]) and losses[1] < 10


def test_images_without_objects_and_without_masks_train(tmp_path: Path):
    """Boxes alone; and a whole batch in which there is nothing."""
    root = draw_objects(tmp_path / "drawn", train=8, val=2)
    for split in ("train", "val"):
        spoil(root, lambda content: [each.pop("segmentation") for each in content["annotations"]], split=split)
    spoil(root, lambda content: content["annotations"].__delitem__(slice(2, None)))  # those of the first picture stay
    losses = run(root, tmp_path / "run", replace(RECIPE, schedule=Schedule(epochs=1)))
    assert all(np.isfinite(loss) for loss in losses.values())
    card = load_model(tmp_path / "run" / "checkpoints" / "best" / "model.safetensors")[1]
    assert output_names(card) == ("boxes", "scores", "labels")


def test_images_without_objects_are_left_out_where_that_is_asked_for(tmp_path: Path):
    root = draw_objects(tmp_path / "drawn", train=8, val=2)
    spoil(root, lambda content: content["annotations"].__delitem__(slice(0, 6)))  # those of the first three pictures
    whole = training_for(root, RECIPE)
    training = training_for(root, with_sections(RECIPE, data=DetectionData(leave_out_empty=True)))
    assert (len(whole.samples), len(training.samples)) == (8, 5)
    assert [sample.path.name for sample in training.samples] == [f"{index}.png" for index in range(3, 8)]
    found = batch_of(training, *range(5)).targets
    assert isinstance(found, ObjectTargets) and all(len(targets.boxes) for targets in found.objects)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(pictures: Path, precision: str):
    """With fp16 the first steps overflow, until the loss is scaled less."""
    recipe = replace(RECIPE, compute=Compute(precision=precision, device="cpu"))
    training = training_for(pictures, recipe)
    train_mode(training.model, training.frozen)
    batch = batch_of(training, 0, 1)
    first = train_step(training, batch, recipe).loss
    assert any(train_step(training, batch, recipe).loss < first for _ in range(16))


def test_the_preview_draws_the_objects_on_their_views(pictures: Path, finished: tuple[Path, dict[int, float]]):
    training = training_for(
        pictures, with_sections(RECIPE, objects=DetectionAugment(scales=(1.0,), crop=0.0, flip=0.0))
    )
    batch = batch_of(training, 0)
    views = training.batches.dataset
    assert isinstance(views, TrainingSet) and isinstance(batch.targets, ObjectTargets)
    images_NHWC = batch.images.permute(0, 2, 3, 1).numpy()
    [sheet] = views.source.draw(images_NHWC, batch.targets, training.card.classes)
    [frame] = batch.images.permute(0, 2, 3, 1).numpy()
    assert max(sheet.shape) == LARGE.side_px
    scale = LARGE.side_px / max(frame.shape)
    plain = np.asarray(Image.fromarray(frame).resize((sheet.shape[1], sheet.shape[0]), Image.Resampling.BICUBIC))
    changed = (sheet != plain).any(axis=2)
    x1, y1, x2, y2 = (batch.targets.objects[0].boxes[1] * scale).round().astype(int).tolist()
    assert changed[y1 + 4 : y2 - 4, (x1 + x2) // 2].all()  # the mask fills the disc
    assert changed[(y1 + y2) // 2, x1 - 1 : x1 + 2].all()  # the box's left line
    with Image.open(finished[0] / "augmented.png") as whole:
        assert whole.width == 4 * LARGE.side_px + 3 * 4


def test_the_memory_that_a_detector_needs_is_tried_with_full_frames(pictures: Path):
    training = training_for(pictures, RECIPE)
    pixels, targets = get_task("detection").random_batch(
        training.card, RECIPE.task, images=2, device=torch.device("cpu")
    )
    assert pixels.shape == (2, 3, 128, 128)  # for 64 x 107, wide and high
    assert isinstance(targets, ObjectTargets) and len(targets.objects) == 2
    make_trial(training.objective, training.card, training.model, RECIPE, torch.device("cpu"))(2)


def test_between_epochs_without_score_the_lower_training_loss_is_better():
    tick = Tick(
        epoch=0,
        epochs=9,
        step=1,
        steps=9,
        lr=1,
        loss=2.5,
        losses={},
        images_per_second=1,
        waiting_share=0,
        seconds_left=0,
    )
    nothing = Evaluation(scores={"box_ap_score": 0.0}, main_score="box_ap_score", interval_95=(0, 0), images=1)
    assert rank_epoch(nothing, replace(tick, loss=2.0)) > rank_epoch(nothing, tick)
    judged = replace(nothing, scores={"top1_score": 3.0, "loss": 7.0}, main_score="top1_score")
    assert rank_epoch(judged, tick) == (3.0, -7.0)


def test_copy_paste_needs_masks(tmp_path: Path):
    root = draw_objects(tmp_path / "drawn", train=4, val=2)
    spoil(root, lambda content: [each.pop("segmentation") for each in content["annotations"]])
    with pytest.raises(InputError, match=r"objects\.copy_paste needs masks"):
        resolve_recipe(with_sections(RECIPE, objects=DetectionAugment(copy_paste=0.5)), read_dataset(root))


def test_milestones_rise():
    with pytest.raises(InputError, match=r"schedule\.milestones must rise from at least 1, got \(8, 3\)"):
        Schedule(milestones=(8, 3))
