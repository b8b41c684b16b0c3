"""Build everything that a training needs from a dataset, a card and a recipe. Writes nothing."""

from typing import cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from nextvit.bundle.card import ModelCard
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.models.network import Network
from nextvit.tasks.task import get_task
from nextvit.train.device import pick_precision
from nextvit.train.distributed import World, convert_batch_norms
from nextvit.train.ema import Ema
from nextvit.train.optim import build_optimizer, freeze
from nextvit.train.recipe import Recipe
from nextvit.train.state import Progress, Training
from nextvit.views.training_batches import Batch, EpochSampler, TrainingSet, TrainingSource, training_batches


def prepare(
    dataset: Dataset, card: ModelCard, model: Network, recipe: Recipe, device: torch.device, world: World
) -> Training:
    """Build the training of a model that is already on its device.

    Raises:
        InputError: there are too few images for the processes and parts, no such teacher, or no images without labels.
    """
    task = get_task(dataset.task)
    dataset, samples = task.training_samples(dataset, recipe.task)
    check_batch_size(dataset, samples, recipe, world)

    # The order matters: the average is a copy of the model before its batch norms are replaced by synchronised ones.
    if recipe.compute.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    model.backbone.set_activation_checkpointing(enabled=recipe.model.activation_checkpointing)
    ema = Ema(model, decay=recipe.ema.decay)
    if world.size > 1 and device.type == "cuda" and recipe.compute.sync_batch_norm:
        convert_batch_norms(model)
    frozen = freeze(model, recipe.model.frozen_stages, norms=recipe.model.frozen_norms)

    precision = pick_precision(recipe, device)
    source = task.training_source(samples, dataset, card, recipe.task)
    weights = extend_weights(task.sampling_weights(dataset, recipe.task), len(samples))
    batches, sampler = build_batches(source, weights, recipe, world, pin_memory=device.type == "cuda")
    parallel = world.wrap(model, device)
    return Training(
        objective=task.objective(dataset, card, recipe.task, device),
        evaluator=task.evaluator(dataset, card),
        card=card,
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
        batches=batches,
        sampler=sampler,
        device=device,
        precision=precision,
        world=world,
        progress=Progress(
            steps_per_epoch=len(sampler), steps_per_pass=sampler.steps_per_pass if recipe.schedule.epoch_steps else 0
        ),
    )


def check_batch_size(dataset: Dataset, samples: Samples, recipe: Recipe, world: World) -> None:
    """Raise InputError where a part of a batch would have fewer than two images."""
    if len(dataset.split("train")) < 2:
        raise InputError(f"{dataset.root}: one training image is too few")
    images = min(recipe.batch_size, len(samples))
    if images < 2 * world.size * recipe.optim.accumulate:
        raise InputError(
            f"batch norms need two images at once: {world.size} processes with optim.accumulate "
            f"{recipe.optim.accumulate} need batches of {2 * world.size * recipe.optim.accumulate}, got {images} images"
        )


def extend_weights(labelled: np.ndarray | None, count: int) -> np.ndarray | None:
    """Sampling weights (count,): first those of the labelled samples, scaled to a mean of 1, then 1 for the others."""
    if labelled is None:
        return None
    weights = np.ones(count)
    weights[: len(labelled)] = labelled / labelled.mean()
    return weights


def build_batches(
    source: TrainingSource, weights: np.ndarray | None, recipe: Recipe, world: World, *, pin_memory: bool
) -> tuple[DataLoader[Batch], EpochSampler]:
    """The loader of this process's part of the batches, and its sampler, on which the epoch is set."""
    sampler = EpochSampler(
        len(source),
        batch_size=recipe.batch_size,
        seed=recipe.compute.seed,
        steps=recipe.schedule.epoch_steps,
        weights=weights,
        groups=source.groups,
        part=(world.rank, world.size),
    )
    views = TrainingSet(source, seed=recipe.compute.seed)
    return training_batches(views, sampler, workers=recipe.data.workers, pin_memory=pin_memory), sampler
