"""state.pt of a checkpoint -> the optimizer, the scaler and the progress of a training.

Everything is compared with the training before it is used: a fused optimizer computes on the memory of its moments
without a look at their shapes, strides and types, so that wrong ones would end the process, or worse.
"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from nextvit.errors import InputError
from nextvit.files.records import from_plain
from nextvit.models.weights import read_pickle
from nextvit.train.state import Progress, Training
from nextvit.train.time_budget import TimeBudget

MOMENTS = ("exp_avg", "exp_avg_sq")
PARTS = {"optimizer": dict, "scaler": dict, "progress": dict, "ema_updates": int}
MAX_SCALE = 2.0**64
"""Of the loss in fp16, which starts at 2 ** 16."""
MAX_SECONDS = 1e9
"""Of a training, or of a piece of its work."""


def save_state(path: Path, training: Training) -> None:
    """Write what `restore_state` reads.

    Raises:
        OSError: the disk is full.
    """
    state: dict[str, Any] = {
        "optimizer": training.optimizer.state_dict(),
        "scaler": training.scaler.state_dict(),
        "progress": asdict(training.progress),
        "ema_updates": training.ema.updates,
    }
    try:
        torch.save(state, path)
    except RuntimeError as error:  # torch's error for a full disk
        raise OSError(str(error).partition("\n")[0]) from None


def restore_state(path: Path, training: Training) -> None:
    """Read state.pt into a training of the same model; unchanged where it is refused.

    Settings of the optimizer's groups are not read: they are the recipe's.

    Raises:
        InputError: the file is damaged, or does not fit the training; the message names the first part that does not.
    """
    state = read_state_file(path)
    progress = check_progress(state["progress"], training, what=path)
    updates = state["ema_updates"]
    require(0 <= updates <= progress.step, path, f"{updates} updates of the average in {progress.step} steps")
    moments = check_optimizer(state["optimizer"], training.optimizer, step=progress.step, what=path)
    scaler = check_scaler(state["scaler"], training.scaler, what=path)

    training.optimizer.load_state_dict(
        {"state": moments, "param_groups": training.optimizer.state_dict()["param_groups"]}
    )
    if scaler:
        training.scaler.load_state_dict(scaler)
    training.ema.updates = updates
    vars(training.progress).update(vars(progress))


def read_state_file(path: Path) -> dict[str, Any]:
    """The parts of state.pt, each of its type; their contents are not checked yet.

    Raises:
        InputError: there is no such file, it is damaged, or holds something else.
    """
    state = read_pickle(path)
    require(isinstance(state, dict) and state.keys() == PARTS.keys(), path, "it has other parts")
    for name, kind in PARTS.items():
        require(type(state[name]) is kind, path, f"{name} is a {type(state[name]).__name__}")
    return state


def require(condition: bool, what: Path, problem: str) -> None:
    """Raise InputError with the problem unless the condition holds."""
    if not condition:
        raise InputError(f"{what}: damaged, or of another training ({problem})")


def check_progress(values: dict[str, Any], training: Training, *, what: Path) -> Progress:
    """The saved progress, which must be possible in a run of as many steps an epoch.

    Raises:
        InputError: it is not.
    """
    budget = values.get("budget")
    budget = None if budget is None else from_plain(TimeBudget, budget, what=f"{what}: time budget")
    progress = from_plain(Progress, {**values, "budget": budget}, what=f"{what}: progress")
    planned, run = training.progress, what.parent.parent.parent
    for part in ("epoch", "pass"):
        had, now = (getattr(each, f"steps_per_{part}") for each in (progress, planned))
        if had != now:
            raise InputError(
                f"{run}: had {had} steps in {'an' if part == 'epoch' else 'a'} {part}, now there would be {now}; "
                "resume with the same images, data.batch_size and schedule.epoch_steps"
            )
    counts = {name: value for name, value in asdict(progress).items() if type(value) is int}
    for name, count in counts.items():
        require(count >= 0, what, f"progress.{name} is {count}")
    if budget:
        check_budget(budget, progress, what=what)
    # The last epoch of a training in a given time ends early.
    fewest = -progress.steps_per_epoch if budget and budget.is_over else 0
    require(
        fewest <= progress.step_in_epoch <= progress.steps_per_epoch,
        what,
        f"progress.step is {progress.step} after {progress.epoch} epochs of {progress.steps_per_epoch} steps",
    )
    images = max(0, progress.step_in_epoch) * training.images_per_step
    require(progress.seen <= images, what, f"progress.seen is {progress.seen} of {images} images")
    require(progress.epochs_since_best <= progress.epoch, what, "more epochs since the best one than all")
    for name in ("loss_sum", "seconds", "waited", "taught"):
        require(math.isfinite(getattr(progress, name)), what, f"progress.{name} is {getattr(progress, name)}")
    require(min(progress.seconds, progress.waited, progress.taught) >= 0, what, "a negative time")
    require(progress.best is None or math.isfinite(progress.best[0]), what, f"progress.best is {progress.best}")
    return progress


def check_budget(budget: TimeBudget, progress: Progress, *, what: Path) -> None:
    """Raise InputError where the time budget is impossible, or is not of this progress."""
    require(budget.steps == progress.step, what, f"{budget.steps} steps in {progress.step} steps")
    require(-1 <= budget.evaluated_step <= progress.step, what, f"evaluated after step {budget.evaluated_step}")
    require(budget.epochs >= 1 and budget.steps_left >= 0, what, f"{budget.epochs} planned epochs")
    planned = budget.epochs * progress.steps_per_epoch
    require(-1 <= budget.position < planned, what, f"position {budget.position:g} of {planned} steps")
    times = (budget.used, budget.evaluation_seconds, budget.saving_seconds, budget.report_seconds, budget.seconds)
    possible = min(times) >= 0 and max(*times, budget.step_seconds) <= MAX_SECONDS and budget.step_seconds >= 1e-9
    require(possible, what, "an impossible time in the budget")


def check_optimizer(
    saved: dict[str, Any], optimizer: torch.optim.Optimizer, *, step: int, what: Path
) -> dict[int, dict[str, Tensor]]:
    """The saved moments of each parameter, in the parameter's own layout and on its device.

    A parameter that never had a gradient has none.

    Args:
        step: how many steps the training has taken; no parameter can have been updated more often.

    Raises:
        InputError: the parameters are grouped otherwise, or a moment does not fit its parameter or is impossible.
    """
    groups = optimizer.state_dict()["param_groups"]
    require(group_members(saved.get("param_groups")) == group_members(groups), what, "other groups of parameters")
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    states = saved.get("state")
    require(isinstance(states, dict), what, "no state of the optimizer")
    return {
        number: check_moments(number, state, parameters, step=step, what=what)
        for number, state in cast(dict[Any, Any], states).items()
    }


def group_members(groups: Any) -> list[tuple[list[int], bool]] | None:
    """The numbers of the parameters of each group, and whether they decay; None for something else."""
    try:
        return [(list(group["params"]), bool(group["decays"])) for group in groups]
    except (TypeError, KeyError, IndexError, ValueError, RuntimeError):
        return None


def check_moments(number: Any, state: Any, parameters: list[Tensor], *, step: int, what: Path) -> dict[str, Tensor]:
    """The state of one parameter, in its layout; InputError where it does not fit."""
    require(type(number) is int and 0 <= number < len(parameters), what, "state of a parameter that does not exist")
    name, parameter = f"state of parameter {number}", parameters[number]
    require(isinstance(state, dict) and state.keys() == {"step", *MOMENTS}, what, f"{name} has other parts")
    shapes = {"step": torch.Size(), **dict.fromkeys(MOMENTS, parameter.shape)}
    types = {"step": torch.float32, **dict.fromkeys(MOMENTS, parameter.dtype)}
    for part, shape in shapes.items():
        check_tensor(state[part], shape=shape, dtype=types[part], what=what, name=f"{name}, {part}")
    taken = float(state["step"])
    require(0 <= taken <= step and taken.is_integer(), what, f"{name}: {taken:g} updates in {step} steps")
    require(bool((state["exp_avg_sq"] >= 0).all()), what, f"{name}: a negative mean of squares")
    # The kernel walks through weights, gradients and moments alike: in the parameter's layout, whatever was saved.
    moments = {part: torch.empty_like(parameter).copy_(state[part]) for part in MOMENTS}
    return {"step": torch.tensor(taken, dtype=torch.float32), **moments}


def check_tensor(value: Any, *, shape: torch.Size, dtype: torch.dtype, what: Path, name: str) -> None:
    """Raise InputError unless a value is a plain tensor of this shape and type, of finite numbers."""
    is_plain = type(value) is Tensor and value.layout == torch.strided and value.device.type == "cpu"
    require(is_plain, what, f"{name} is no plain tensor")
    require(
        value.shape == shape and value.dtype == dtype,
        what,
        f"{name} is {str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}, "
        f"expected {str(dtype).removeprefix('torch.')} of shape {tuple(shape)}",
    )
    require(bool(torch.isfinite(value).all()), what, f"{name} has values that are NaN or infinite")


def check_scaler(saved: dict[str, Any], scaler: torch.amp.GradScaler, *, what: Path) -> dict[str, Any]:
    """The scaler's own settings with the saved scale and its count; {} where this training does not scale.

    Raises:
        InputError: they are impossible.
    """
    own = scaler.state_dict()
    if not own:
        return {}
    require(saved.keys() == own.keys(), what, "it was trained in another precision, or the scaler has other parts")
    scale, count = saved["scale"], saved["_growth_tracker"]
    require(type(scale) in (int, float) and 0 < scale <= MAX_SCALE, what, f"the scaler's scale is {str(scale)[:40]}")
    require(type(count) is int and 0 <= count <= own["growth_interval"], what, f"the scaler counts {str(count)[:40]}")
    return {**own, "scale": scale, "_growth_tracker": count}
