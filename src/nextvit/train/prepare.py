"""From a task and a recipe to everything that a training works with. Writes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from nextvit.check.masks import training_pixels
from nextvit.data.reading import Dataset, list_images
from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.models.network import Network
from nextvit.tasks.task import Task
from nextvit.train.checkpoint import Progress
from nextvit.train.device import pick_precision
from nextvit.train.distributed import World, synchronise
from nextvit.train.ema import Ema
from nextvit.train.loop import Training
from nextvit.train.optim import build_optimizer, freeze
from nextvit.train.recipe import Recipe
from nextvit.train.teacher import load_teacher
from nextvit.views.detection_view import DetectionView
from nextvit.views.label_view import build_view
from nextvit.views.segmentation_view import SegmentationView, rarity_of
from nextvit.views.training_batches import (
    AnnotatedLook,
    Batch,
    EpochSampler,
    LabelledLook,
    Look,
    MaskedLook,
    TrainingSet,
    balancing_weights,
    training_batches,
)


def prepare(
    task: Task, dataset: Dataset, model: Network, recipe: Recipe, device: torch.device, world: World
) -> Training:
    """Build the training around a model that is on its device.

    Raises:
        InputError: too few images for the processes and parts, no such teacher, no pictures without labels.
    """
    if recipe.data.leave_out_empty:
        dataset = without_empty(dataset)
    samples = drawn_from(dataset, recipe)
    images = min(recipe.batch_size, len(samples))
    if images < 2 * world.size * recipe.optim.accumulate:
        raise InputError(
            f"batch norms need two images at once: {world.size} processes with optim.accumulate "
            f"{recipe.optim.accumulate} need batches of {2 * world.size * recipe.optim.accumulate}, got {images} images"
        )
    if recipe.compute.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    model.backbone.set_activation_checkpointing(enabled=recipe.model.activation_checkpointing)
    ema = Ema(model, decay=recipe.ema.decay)
    if world.size > 1 and device.type == "cuda" and recipe.compute.sync_batch_norm:
        synchronise(model)
    # Behind it: norms that were replaced would not be the model's.
    frozen = freeze(model, recipe.model.frozen_stages, norms=recipe.model.frozen_norms)
    precision = pick_precision(recipe, device)
    batches, sampler = build_batches(samples, dataset, recipe, world, pin_memory=device.type == "cuda")
    parallel = world.wrapped(model, device)
    return Training(
        task=task,
        dataset=dataset,
        samples=samples,
        model=model,
        forward=cast(nn.Module, torch.compile(parallel)) if recipe.compute.compile else parallel,
        parallel=parallel,
        frozen=frozen,
        statistics=list(model.buffers()),
        ema=ema,
        optimizer=build_optimizer(model, recipe.optim),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        teacher=None if recipe.distill.teacher == "none" else load_teacher(recipe.distill.teacher, task.card, device),
        batches=batches,
        sampler=sampler,
        device=device,
        precision=precision,
        world=world,
        progress=Progress(
            steps_per_epoch=len(sampler), steps_per_pass=sampler.steps_per_pass if recipe.schedule.epoch_steps else 0
        ),
    )


def without_empty(dataset: Dataset) -> Dataset:
    """The dataset without the training pictures on which nothing is annotated; one with crowds alone stays."""
    annotations = dataset.annotations["train"]
    chosen = np.diff(annotations.ends) > 0
    return replace(
        dataset,
        splits={**dataset.splits, "train": dataset.split("train").select(chosen)},
        annotations={**dataset.annotations, "train": annotations.select(chosen)},
    )


def drawn_from(dataset: Dataset, recipe: Recipe) -> Samples:
    """The training images, followed by those without labels that a teacher is to label."""
    labelled = dataset.split("train")
    if len(labelled) < 2:
        raise InputError(f"{dataset.root}: one training image is too few")
    if recipe.distill.unlabelled == "none":
        return labelled
    folder = Path(recipe.distill.unlabelled)
    further = list_images(folder) if folder.is_dir() else []
    if not further:
        raise InputError(f"distill.unlabelled {folder}: no folder with images")
    return labelled.followed_by(Samples.pack((path, ()) for path in further))


def build_batches(
    samples: Samples, dataset: Dataset, recipe: Recipe, world: World, *, pin_memory: bool
) -> tuple[DataLoader[Batch], EpochSampler]:
    """This process's part of the training batches, and the sampler that is told the epoch."""
    settings, seed = recipe.data, recipe.compute.seed
    weights = None
    if settings.balance == "on":
        known = balancing_weights(dataset.split("train").labels(), len(dataset.classes))
        weights = np.ones(len(samples))
        weights[: len(known)] = known / known.mean()
    sampler = EpochSampler(
        len(samples),
        batch_size=recipe.batch_size,
        seed=seed,
        steps=recipe.schedule.epoch_steps,
        weights=weights,
        alike=dataset.annotations["train"].are_wide if dataset.task == "detection" else None,
        part=(world.rank, world.size),
    )
    views = TrainingSet(look_at(samples, dataset, recipe), seed=seed)
    return training_batches(views, sampler, workers=settings.workers, pin_memory=pin_memory), sampler


def look_at(samples: Samples, dataset: Dataset, recipe: Recipe) -> Look:
    """What training sees of the pictures."""
    image_size = recipe.data.preprocess().image_size
    if dataset.task == "detection":
        return AnnotatedLook(samples, dataset.annotations["train"], DetectionView(recipe.objects, image_size))
    if dataset.task == "segmentation":
        return MaskedLook(samples, dataset.masks["train"], masked_view(dataset, recipe))
    return LabelledLook(samples, build_view(recipe.augment, image_size=image_size))


def masked_view(dataset: Dataset, recipe: Recipe) -> SegmentationView:
    """The view of pictures with masks that the recipe describes."""
    spec = recipe.data.preprocess()
    assert spec.resize in ("squash", "fit"), "settle the recipe first"
    rarity = rarity_of(training_pixels(dataset)) if recipe.masks.rare_crops else None
    return SegmentationView(
        recipe.masks, spec.image_size, spec.resize, rarity, spec.mean, mirrored=recipe.heads.standardise
    )
