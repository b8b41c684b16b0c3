"""What a training will do in which time, by the pace that was measured before its first epoch."""

import math
from dataclasses import replace
from pathlib import Path

from nextvit.errors import InputError
from nextvit.files.run_folder import RECIPE
from nextvit.models.config import VARIANTS
from nextvit.models.cost import cost
from nextvit.tasks.settings import require
from nextvit.train.recipe import Recipe, Schedule
from nextvit.train.time_budget import SAVING_SECONDS, TimeBudget
from nextvit.train.trial import Pace

FEWEST_STEPS = 10
LONGEST_EPOCH, SHORTEST_EPOCH, LONGEST_END, LONGEST_WARMUP = 0.1, 0.01, 0.2, 0.2
"""With a given time: fractions of it for an epoch, of an epoch for evaluating and saving, and of it for the warm-up."""
LONG_MINUTES = 60
"""Where epochs by "auto" take longer than this, what would fit is said."""


def plan_time(
    schedule: Schedule, pace: Pace, *, steps_per_pass: int, used: float, report_seconds: float
) -> tuple[Schedule, TimeBudget]:
    """Lay out the epochs of a training in a given time.

    Args:
        schedule: with `minutes`; its `epoch_steps` and a short enough warm-up are kept.
        pace: of this machine.
        steps_per_pass: steps in a pass over the training images.
        used: seconds that have passed since the start of the command.
        report_seconds: to keep for what follows the last evaluation.

    Returns:
        The schedule with the length of its epochs and the warm-up, and its budget.

    Raises:
        InputError: the time is too short.
    """
    seconds = 60 * schedule.minutes
    end_seconds = pace.evaluation + SAVING_SECONDS
    outside = used + pace.evaluation + report_seconds
    training_seconds = seconds - outside
    steps_seconds = FEWEST_STEPS * pace.step
    needed = outside + end_seconds + steps_seconds
    require(
        seconds >= needed,
        f"schedule.minutes {schedule.minutes:g} is too short: on this machine reading, checking and a trial took "
        f"{used:.0f} s, evaluating, saving and the report will take {needed - used - steps_seconds:.0f} s, and "
        f"{FEWEST_STEPS} steps {steps_seconds:.1f} s; pass --minutes {math.ceil(2 * needed / 6) / 10:g} or more, a "
        "lower --image-size or a smaller --model",
    )
    if not schedule.epoch_steps:
        steps = choose_epoch_steps(training_seconds, pace.step, end_seconds, steps_per_pass=steps_per_pass)
        schedule = replace(schedule, epoch_steps=0 if steps == steps_per_pass else steps)
    steps_per_epoch = schedule.epoch_steps or steps_per_pass
    epochs = max(1, round(training_seconds / (steps_per_epoch * pace.step + end_seconds)))
    schedule = replace(schedule, warmup_epochs=min(schedule.warmup_epochs, LONGEST_WARMUP * epochs))
    budget = TimeBudget(
        seconds=seconds,
        used=used,
        epochs=epochs,
        step_seconds=pace.step,
        evaluation_seconds=pace.evaluation,
        report_seconds=report_seconds,
    )
    budget.count_steps_left(step_in_epoch=0, steps_per_epoch=steps_per_epoch)
    return schedule, budget


def choose_epoch_steps(seconds: float, step_seconds: float, end_seconds: float, *, steps_per_pass: int) -> int:
    """The steps of an epoch: a pass, but at most a tenth of the time, or several passes, so that there are at most a
    hundred epochs, and evaluating and saving take at most a fifth of them.

    Args:
        seconds: for steps, evaluating and saving.
        end_seconds: the time of evaluating and saving once.
    """
    shortest = max(SHORTEST_EPOCH * seconds - end_seconds, end_seconds * (1 / LONGEST_END - 1))
    longest = max(LONGEST_EPOCH * seconds - end_seconds, shortest)
    if steps_per_pass * step_seconds > longest:
        return max(1, int(longest / step_seconds))
    return steps_per_pass * max(1, math.ceil(shortest / (steps_per_pass * step_seconds)))


def go_on(budget: TimeBudget, schedule: Schedule, *, step_in_epoch: int, steps_per_epoch: int) -> None:
    """Adapt the budget of an interrupted training to the time that is given now.

    Raises:
        InputError: no step fits.
    """
    budget.seconds = 60 * schedule.minutes
    if budget.steps_left:
        budget.count_steps_left(step_in_epoch=step_in_epoch, steps_per_epoch=steps_per_epoch)
        if not budget.steps_left:
            raise InputError(
                f"schedule.minutes {schedule.minutes:g} leaves no time: this run has used {budget.used / 60:.1f} "
                "minutes, and is evaluated at its end; pass more --minutes"
            )


def describe_epochs(recipe: Recipe, pace: Pace, *, steps_per_epoch: int) -> str:
    """What the epochs of "auto" take on this machine, and where that is long, what would fit: one line for people."""
    each = steps_per_epoch * pace.step + pace.evaluation + SAVING_SECONDS
    minutes = (recipe.epochs * each + pace.evaluation) / 60
    took = f"{recipe.epochs} epochs will take about {describe_minutes(minutes)} on this machine"
    if minutes <= LONG_MINUTES:
        return took
    ways = [f"--minutes {LONG_MINUTES}", *faster_settings(recipe, LONG_MINUTES / minutes)]
    return f"{took}; in an hour: {', or '.join(ways)}"


def faster_settings(recipe: Recipe, fraction: float) -> list[str]:
    """The image size and the model with which the same epochs take at most a fraction of the time, where there are
    any; work is taken to grow with the pixels and with the operations of the backbone."""
    size = 32 * int(recipe.data.image_size * math.sqrt(fraction) / 32)
    by_size = list(VARIANTS)
    smaller = by_size[: by_size.index(recipe.model.name)]
    macs = {name: cost(VARIANTS[name]).macs for name in (*smaller, recipe.model.name)}
    fitting = [name for name in smaller if macs[name] <= fraction * macs[recipe.model.name]]
    model = max(fitting, key=lambda name: macs[name], default=None)
    return [*([f"--image-size {size}"] if size >= 64 else []), *([f"--model {model}"] if model else [])]


def describe_minutes(minutes: float) -> str:
    """A duration for people."""
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def describe_budget(budget: TimeBudget, *, steps_per_epoch: int) -> str:
    """What will fit into the time that is given: one line for people."""
    return (
        f"about {budget.steps_left} steps will fit on this machine, with an evaluation after every {steps_per_epoch} "
        "and at the end"
    )


def describe_steps_made(budget: TimeBudget, run: Path, *, steps_per_epoch: int) -> str:
    """What a training in a given time has done, and how it is repeated: one line for people."""
    epochs = budget.steps / steps_per_epoch
    return (
        f"{budget.steps} steps fitted into {budget.seconds / 60:g} min, {epochs:.1f} epochs of {steps_per_epoch} "
        f"steps; to repeat them in whatever time: --config {run / RECIPE} --epochs {max(1, round(epochs))}"
    )
