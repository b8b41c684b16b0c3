"""A training run from its dataset and recipe to its evaluated best checkpoint."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from nextvit.bundle.card import DEFAULT_THRESHOLD, ModelCard
from nextvit.check.check import check_dataset
from nextvit.data.findings import refuse_errors
from nextvit.data.reading import Dataset, read_dataset
from nextvit.errors import InputError
from nextvit.files.durable import sweep, write_durably
from nextvit.files.records import to_plain
from nextvit.files.run_folder import AUGMENTED, ENVIRONMENT, EVALUATION, RECIPE, best_weights, checkpoint_folder, is_run
from nextvit.machine.environment import environment, without_place
from nextvit.models.classification import Classifier
from nextvit.models.cost import trained_cost
from nextvit.models.create import find_weights, variant
from nextvit.models.detection import LIGHT, PUBLISHED, DetectorConfig, detector_of
from nextvit.models.network import deployed_form
from nextvit.models.published import LICENCE, TAGS
from nextvit.models.segmentation import LIGHT as LIGHT_SEGMENTER
from nextvit.models.segmentation import PUBLISHED_FPN, PUBLISHED_UPER, SegmenterConfig, segmenter_of
from nextvit.models.weights import load_model, load_weights, read_state
from nextvit.runtime.torch_session import TorchSession
from nextvit.tasks import task_for
from nextvit.tasks.task import Evaluation, Task
from nextvit.train.checkpoint import newest_intact
from nextvit.train.checkpoint import resume as restore
from nextvit.train.device import pick_device, ran_out_of_memory
from nextvit.train.distributed import World, joined, world_from_environment
from nextvit.train.heatmaps import write_heatmaps
from nextvit.train.interrupt import Stop, stop_on_interrupt
from nextvit.train.loop import Say, Training, Watch, fit
from nextvit.train.memory import found_batch_size, memory_advice
from nextvit.train.prepare import prepare
from nextvit.train.preview import write_preview
from nextvit.train.recipe import Recipe
from nextvit.train.resolve import described, settled
from nextvit.views.training_batches import shut_down


def train(dataset_path: Path, recipe: Recipe, *, run: Path, resume: bool = False, watch: Watch, say: Say) -> Evaluation:
    """Train, keep everything in the folder `run`, and evaluate its best checkpoint.

    Started by torchrun, all processes train together, and one writes and talks. When torchrun has started them anew,
    the run is resumed by itself.

    Args:
        resume: go on from the checkpoint "last" of an interrupted run.
        watch: told after every step and epoch.
        say: told what a person should know once.

    Raises:
        InputError: the dataset or the recipe is wrong, or `run` holds something already.
    """
    world = world_from_environment()
    device = pick_device(recipe.compute.device, local_rank=world.local_rank)
    with joined(world, device):
        # Of several machines only the one where a process died counts a restart.
        resume = resume or (max(world.gather(world.restarts)) > 0 and is_run(run))
        check_run_folder(run, resume=resume)
        return train_together(dataset_path, recipe, world, device, run=run, resuming=resume, watch=watch, say=say)


def train_together(
    dataset_path: Path,
    recipe: Recipe,
    world: World,
    device: torch.device,
    *,
    run: Path,
    resuming: bool,
    watch: Watch,
    say: Say,
) -> Evaluation:
    """`train` in one of the processes that train together."""
    dataset = read_dataset(dataset_path, task=recipe.data.task)
    if recipe.compute.threads:
        torch.set_num_threads(recipe.compute.threads)
    recipe = settled(recipe, dataset)
    torch.manual_seed(recipe.compute.seed)
    task = task_for(dataset, make_card(dataset, recipe), loss=recipe.loss)
    model = task.build()
    if world.size == 1 and not resuming and not recipe.data.allow_errors:  # several would wait for the one that reads
        say(f"checking the images (as nextvit check {dataset_path} does; --data.allow-errors leaves it out)")
        refuse_errors(check_dataset(dataset), dataset=dataset_path)
    checkpoint = interrupted_state(run, world, say=say) if resuming else None
    if recipe.model.weights != "none" and not checkpoint:
        path = find_weights(recipe.model.name, recipe.model.weights)
        say(str(load_weights(model, path, classes=dataset.classes)))
    model.to(device)
    if recipe.data.batch_size == "auto":
        size = recorded_batch_size(run) if resuming else found_batch_size(task, model, dataset, recipe, device, world)
        recipe = replace(recipe, data=replace(recipe.data, batch_size=size))
    training = prepare(task, dataset, model, recipe, device, world)
    if checkpoint:
        restore(checkpoint, training, recipe.optim)
    say(described(recipe, dataset))

    # Everything that can be refused was; now the folder becomes a run.
    try:
        if world.is_first:
            write_facts(run, dataset_path, task, recipe, training)
        with stop_on_interrupt() as stop:
            fits = fit_in_memory(training, recipe, run=run, watch=watch, say=say, stop=stop)
        if not fits:
            raise InputError(memory_advice(task, training.ema.model, recipe, device, world))
    except InputError:
        if not resuming and world.is_first:
            remove_if_unborn(run)
        raise
    return judged(task, training, run=run, say=say)


def interrupted_state(run: Path, world: World, *, say: Say) -> Path | None:
    """The checkpoint to go on from, after the leftovers of what was killed are gone; None if there is none yet."""
    if world.is_first:
        sweep(run)
        sweep(run / "checkpoints")
    return newest_intact(run, warn=say)


def write_facts(run: Path, dataset_path: Path, task: Task, recipe: Recipe, training: Training) -> None:
    """What is trained on what and how, as far as the run does not say so yet."""
    run.mkdir(parents=True, exist_ok=True)
    settings = {"dataset": str(dataset_path.resolve()), **to_plain(recipe)}
    write_durably(run / RECIPE, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    if not (run / ENVIRONMENT).is_file():
        facts = run_facts(task, training.dataset)
        write_durably(run / ENVIRONMENT, json.dumps(facts, indent=2, ensure_ascii=False))
    if not (run / AUGMENTED).is_file():
        write_preview(run, training, recipe)


def recorded_batch_size(run: Path) -> int:
    """The batch size that an interrupted run found for "auto"."""
    return int(yaml.safe_load((run / RECIPE).read_text(encoding="utf-8"))["data"]["batch_size"])


def fit_in_memory(training: Training, recipe: Recipe, *, run: Path, watch: Watch, say: Say, stop: Stop) -> bool:
    """`fit`; False where the memory ran out. By then the failed step's tensors are gone with its traceback."""
    try:
        fit(training, recipe, run=run, watch=watch, say=say, stop=stop)
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        return False
    finally:
        shut_down(training.batches)
    return True


def judged(task: Task, training: Training, *, run: Path, say: Say) -> Evaluation:
    """Evaluate the best checkpoint, and keep the result in the run."""
    best, _ = load_model(best_weights(run))
    scores = task.card.task == "segmentation" and len(task.card.classes) == 2  # of which defects are judged
    card = replace(task.card, scores=scores)
    session = TorchSession(deployed_form(best.to(training.device), card), outputs=card.outputs)
    evaluation = task.evaluate(session.run, split="val", share=training.world.share)
    if training.world.is_first:
        record = {**asdict(evaluation), "unreadable_training": list(training.progress.unreadable)}
        write_durably(run / EVALUATION, json.dumps(record, ensure_ascii=False))
        if isinstance(best, Classifier):
            write_heatmaps(run, best, task.card, evaluation)
    unreadable = (*training.progress.unreadable, *evaluation.unreadable)
    for message in unreadable:
        say(f"could not be read: {message}")
    if unreadable:
        say(f"{len(unreadable)} images could not be read: in training others stood in for them, none was judged")
    return evaluation


def check_run_folder(run: Path, *, resume: bool) -> None:
    """A new run needs a new folder; a resumed one needs a run."""
    if resume and not is_run(run):
        raise InputError(f"{run}: no run to resume (it has no {RECIPE}); leave out --resume to start one")
    if not resume and is_run(run):
        raise InputError(f"{run}: already holds a run; go on with --resume, or choose another --out")
    # A start that was killed may have left a temporary file.
    if not resume and run.exists() and (not run.is_dir() or any(entry.suffix != ".tmp" for entry in run.iterdir())):
        raise InputError(f"{run}: exists and is not an empty folder; choose another --out")


def remove_if_unborn(run: Path) -> None:
    """Remove the folder of a run that was refused before its first checkpoint, so that the corrected command can start."""
    if not checkpoint_folder(run, "last").is_dir() and not checkpoint_folder(run, "best").is_dir():
        shutil.rmtree(run, ignore_errors=True)


def make_card(dataset: Dataset, recipe: Recipe) -> ModelCard:
    """What the model is going to be."""
    settings = recipe.model
    architecture = variant(settings.name)
    if settings.drop_path is not None:
        architecture = replace(architecture, drop_path=settings.drop_path)
    card = ModelCard(
        task=dataset.task,
        classes=dataset.classes,
        input=recipe.data.preprocess(),
        variant=settings.name,
        architecture=to_plain(architecture),
        pretrained=None if settings.weights == "none" else without_place(settings.weights),
        head=head_facts(dataset, recipe),
        thresholds=(DEFAULT_THRESHOLD,) * len(dataset.classes) if dataset.task == "multilabel" else (),
        category_ids=dataset.category_ids,
    )
    licence = licence_of(settings.weights)
    return replace(card, weights_licence=licence) if licence else card


def head_facts(dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
    """The fields of what stands behind the backbone."""
    if dataset.task == "detection":
        return to_plain(heads_for(dataset, recipe))
    return to_plain(segmenter_head_for(recipe)) if dataset.task == "segmentation" else {}


def segmenter_head_for(recipe: Recipe) -> SegmenterConfig:
    """What stands behind the backbone of a segmentation model."""
    published = {"fpn": PUBLISHED_FPN, "uper": PUBLISHED_UPER}[recipe.heads.decoder]
    size = recipe.heads.size
    if size == "auto":
        size = "light" if segmenter_of(recipe.model.name) == LIGHT_SEGMENTER else "published"
    head = published if size == "published" else replace(LIGHT_SEGMENTER, head=recipe.heads.decoder)
    return replace(head, standardise=recipe.heads.standardise)


def heads_for(dataset: Dataset, recipe: Recipe) -> DetectorConfig:
    """What stands behind the backbone of a detector."""
    settings, sizes = recipe.heads, {"light": LIGHT, "published": PUBLISHED}
    heads = detector_of(recipe.model.name) if settings.size == "auto" else sizes[settings.size]
    has_masks = dataset.annotations["train"].has_masks
    if settings.masks == "on" and not has_masks:
        raise InputError(f"heads.masks on needs masks, and {dataset.root} has none, only boxes; leave it out")
    assert settings.anchor_scale != "auto", "settle the recipe first"
    return replace(heads, masks=has_masks and settings.masks != "off", anchor_scale=settings.anchor_scale)


def licence_of(weights: str) -> str | None:
    """The licence of the weights that training starts from, where it is known."""
    if weights in TAGS:
        return f"started from weights under {LICENCE}"
    source = best_weights(Path(weights)) if is_run(Path(weights)) else Path(weights)
    card = read_state(source)[1] if weights != "none" and source.is_file() else None
    return card.weights_licence if card else None


def run_facts(task: Task, dataset: Dataset) -> dict[str, object]:
    """The machine, and what is trained on what."""
    card = task.card
    model_cost = trained_cost(card)
    return {
        **environment(),
        "dataset": str(dataset.root),
        "classes": list(dataset.classes),
        "train_images": len(dataset.split("train")),
        "val_images": len(dataset.split("val")),
        "variant": card.variant,
        "image_size": list(card.input.image_size),
        "resize": card.input.resize,
        "parameters": model_cost.parameters,
        "macs": model_cost.macs,
    }
