"""The learning rate as a function of the position in the schedule: the step, where no time is given."""

import math

from nextvit.train.recipe import Recipe


def compute_lr(step: float, *, steps_per_epoch: int, recipe: Recipe) -> float:
    """The learning rate of a step, counted from 0; within the time that is given, a position between two steps
    (`nextvit.train.time_budget`)."""
    peak, schedule = recipe.lr, recipe.schedule
    final = peak * schedule.final_lr_ratio
    if schedule.shape == "published":
        return published_lr(
            step // steps_per_epoch, epochs=recipe.epochs, warmup_epochs=schedule.warmup_epochs, peak=peak, final=final
        )
    if schedule.shape == "steps":
        passed = sum(step >= milestone * steps_per_epoch for milestone in schedule.milestones)
        return warmup_factor(step, schedule.warmup_steps) * peak * 0.1**passed
    steps = steps_per_epoch * recipe.epochs
    if schedule.shape == "poly":
        left = 1 - step / steps
        return warmup_factor(step, schedule.warmup_steps) * (final + (peak - final) * left**schedule.power)
    warmup_steps = min(steps - 1, round(schedule.warmup_epochs * steps_per_epoch))
    if schedule.shape == "constant":
        return peak * min(1.0, (step + 1) / max(1, warmup_steps))
    return lr_at(step, steps=steps, warmup_steps=warmup_steps, peak=peak, final=final)


STEPS_WARMUP_RATIO = 1e-6


def warmup_factor(step: float, warmup_steps: int) -> float:
    """The factor of the learning rate at a step, as in mmcv's linear warm-up: a millionth at the first step."""
    left = max(0.0, 1 - step / warmup_steps) if warmup_steps else 0.0
    return 1 - left * (1 - STEPS_WARMUP_RATIO)


def lr_at(step: float, *, steps: int, warmup_steps: int, peak: float, final: float) -> float:
    """Linear from peak / warmup_steps to `peak`, then half a cosine that ends at `final` with the last step."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - 1 - warmup_steps)
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


PUBLISHED_WARMUP_LR = 1e-6


def published_lr(epoch: float, *, epochs: int, warmup_epochs: float, peak: float, final: float) -> float:
    """The rate of an epoch, counted from 0, in the logs of the official code.

    Its scheduler is stepped after the epoch with that epoch's own number, so every epoch but the first runs at the rate
    intended for the one before. The cosine starts with the warm-up, not after it. The published results include both.
    """
    clock = max(0, epoch - 1)
    if clock < warmup_epochs:
        return PUBLISHED_WARMUP_LR + clock * (peak - PUBLISHED_WARMUP_LR) / warmup_epochs
    return final + 0.5 * (peak - final) * (1 + math.cos(math.pi * clock / epochs))
