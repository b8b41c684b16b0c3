"""One step of the optimizer."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nextvit.train.device import autocast
from nextvit.train.distributed import skip_gradient_sync
from nextvit.train.recipe import Recipe
from nextvit.train.state import Training
from nextvit.views.training_batches import Batch, combine_seeds


@dataclass(frozen=True)
class Outcome:
    """The result of a step, the same in every process."""

    loss: float
    """Mean over the images of the whole batch."""
    losses: dict[str, float]
    """The mean of each loss, by name."""
    skipped: bool
    """Whether the loss or its gradient was NaN or infinite, and nothing was changed."""
    stop: bool
    """Whether a stop was requested in any process."""
    taught: float
    """Seconds that a teacher took in this process."""


def train_step(training: Training, batch: Batch, recipe: Recipe, *, stop: bool = False) -> Outcome:
    """Update the weights and their average from one batch, in `accumulate` parts.

    All randomness of a part is seeded by the recipe's seed, the step and the part's position in the whole batch. A
    resumed run therefore repeats it exactly, whether the parts are in one process or in several.

    Args:
        batch: this process's part of the batch.
        stop: whether a stop was requested in this process.
    """
    optimizer, scaler, world = training.optimizer, training.scaler, training.world

    # 1. Gradients
    optimizer.zero_grad(set_to_none=True)
    statistics = [buffer.clone() for buffer in training.statistics]
    total, stops = torch.zeros(1, device=training.device), torch.full((1,), float(stop), device=training.device)
    named: dict[str, Tensor] = {}
    taught = 0.0
    parts = recipe.optim.accumulate
    for number, part in enumerate(batch.parts(parts)):
        seed = (recipe.compute.seed, training.progress.step, world.rank * parts + number)
        fraction = len(part.images) / training.images_per_step
        with skip_gradient_sync(training.parallel, last_part=number == parts - 1):
            losses, seconds = part_losses(training, part, recipe, seed)
            taught += seconds
            loss = torch.stack(list(losses.values())).sum() * fraction
            scaler.scale(loss * world.size).backward()  # gradients are averaged over processes, but the sum is needed
        total[0] += loss.detach()
        for name, each in losses.items():
            named[name] = named.get(name, 0) + each.detach() * fraction

    # 2. Is it finite, in every process?
    scaler.unscale_(optimizer)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    sums = torch.cat([total, stops, torch.stack(list(named.values())).float()])
    mean_loss, num_stops, *means = world.total(sums).tolist()
    # fp16 gradients overflow now and then, which the scaler handles: it skips the step and reduces its scale.
    finite = math.isfinite(mean_loss) and (scaler.is_enabled() or math.isfinite(norm))

    # 3. Update, or restore the statistics
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
    return Outcome(
        mean_loss, dict(zip(named, means, strict=True)), skipped=not finite, stop=num_stops > 0, taught=taught
    )


def part_losses(
    training: Training, part: Batch, recipe: Recipe, seed: tuple[int, ...]
) -> tuple[dict[str, Tensor], float]:
    """The mean losses of a part of a batch from the loader, and the seconds that a teacher took."""
    torch.manual_seed(combine_seeds(*seed))
    device, objective = training.device, training.objective
    pixels = part.images.to(device, non_blocking=True).float()
    if not recipe.compute.channels_last:
        pixels = pixels.contiguous()
    assert part.targets is not None
    pixels, targets = objective.mix(pixels, part.targets.to(device), np.random.default_rng(seed))
    asked_at = time.perf_counter()
    targets = objective.add_teacher_targets(pixels, targets)
    taught = time.perf_counter() - asked_at
    with autocast(device, training.precision):
        return objective.losses(training.forward, pixels, targets), taught
