"""One step of the optimizer."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from nextvit.train.device import autocast
from nextvit.train.distributed import unsynchronised
from nextvit.train.recipe import Recipe
from nextvit.views.mix import mixed
from nextvit.views.training_batches import Batch, mixed_seed

if TYPE_CHECKING:
    from nextvit.train.loop import Training


@dataclass(frozen=True)
class Outcome:
    """What a step gave, the same in every process."""

    loss: float
    """Mean over the images of the whole batch."""
    skipped: bool
    """Whether the loss or its gradient was no number, and nothing was changed."""
    stop: bool
    """Whether any process was asked to stop."""


def step(training: "Training", batch: Batch, recipe: Recipe, *, stop: bool = False) -> Outcome:
    """Update the weights and their average from one batch, in `accumulate` parts.

    All that is random in a part is decided by seed, step and the part's place in the whole batch: a resumed run repeats
    it exactly, and the parts may lie in one process or in several.
    """
    optimizer, scaler, world = training.optimizer, training.scaler, training.world
    optimizer.zero_grad(set_to_none=True)
    statistics = [buffer.clone() for buffer in training.statistics]
    told = torch.zeros(2, device=training.device)  # the mean loss, and requests to stop
    told[1] = float(stop)
    parts = recipe.optim.accumulate
    for number, part in enumerate(batch.parts(parts)):
        seed = (recipe.compute.seed, training.progress.step, world.rank * parts + number)
        with unsynchronised(training.parallel, last_part=number == parts - 1):
            loss = part_loss(training, part, recipe, seed) * (len(part.images) / training.images_per_step)
            scaler.scale(loss * world.size).backward()  # processes average their gradients, their sum is wanted
        told[0] += loss.detach()

    scaler.unscale_(optimizer)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    mean_loss, stops = world.total(told).tolist()
    # fp16 gradients overflow now and then, which the scaler mends: it skips the step and scales less.
    finite = math.isfinite(mean_loss) and (scaler.is_enabled() or math.isfinite(norm))
    if finite:
        if recipe.optim.clip_norm:
            nn.utils.clip_grads_with_norm_(weights, recipe.optim.clip_norm, norm)
        scaler.step(optimizer)
        training.ema.update(training.model)
    else:
        for buffer, value in zip(training.statistics, statistics, strict=True):
            buffer.copy_(value)
    if scaler.is_enabled():
        scaler.update()
    return Outcome(mean_loss, skipped=not finite, stop=stops > 0)


def part_loss(training: "Training", part: Batch, recipe: Recipe, seed: tuple[int, ...]) -> Tensor:
    """The mean loss of a part of a batch from the loader. Labels can be mixed and taught, objects and masks cannot."""
    torch.manual_seed(mixed_seed(*seed))
    device, rng = training.device, np.random.default_rng(seed)
    pixels = part.images.to(device, non_blocking=True).float()
    if not recipe.compute.channels_last:
        pixels = pixels.contiguous()
    if part.framed is not None:
        targets = part.framed
    elif part.masks is not None:
        targets = part.masks.to(device, non_blocking=True)
    else:
        targets = torch.from_numpy(training.targets(part.indices)).to(device, non_blocking=True)
        pixels, targets = mixed(pixels, targets, recipe.mix, rng)
        if training.teacher:
            targets = taught(targets, training.teacher(pixels), weight=recipe.distill.weight)
    with autocast(device, training.precision):
        losses = training.task.losses(training.forward, pixels, targets)
    return torch.stack(list(losses.values())).sum()


def taught(targets: Tensor, answers: Tensor, *, weight: float) -> Tensor:
    """Targets (N, classes) in which the teacher's answers (N, classes) have their share.

    The last column of the given targets (N, classes + 1) says how much of a picture is labelled: what is not has the
    teacher's answer alone for a target. Cross-entropy is linear in its target, so this is the weighted sum of the two
    losses.
    """
    targets, labelled = targets[:, :-1], targets[:, -1:]
    return (1 - weight) * targets + (1 - (1 - weight) * labelled) * answers
