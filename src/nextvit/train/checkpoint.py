"""Save and resume a training without any difference: whole folders, with checksums, renamed into place.

No random state is saved, because every step seeds its own generators (`nextvit.train.step`).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.files.durable import check_checksums, durable_folder, write_checksums
from nextvit.files.run_folder import WEIGHTS
from nextvit.models.weights import read_safetensors, save_model
from nextvit.train.optim import set_hyperparameters
from nextvit.train.recipe import Optim
from nextvit.train.state import Progress, Training

STATE, EMA_WEIGHTS = "state.pt", "ema.safetensors"
LAST, PREVIOUS, BEST = "last", "previous", "best"


def save_last(run: Path, training: Training) -> None:
    """Save the whole state of a training as the checkpoint "last"; the one before it stays as "previous"."""
    folder = run / "checkpoints"
    with durable_folder(folder / LAST, keep=folder / PREVIOUS) as temporary:
        save_model(temporary / WEIGHTS, training.model, training.card)
        save_model(temporary / EMA_WEIGHTS, training.ema.model, training.card)
        state: dict[str, Any] = {
            "optimizer": training.optimizer.state_dict(),
            "scaler": training.scaler.state_dict(),
            "progress": vars(training.progress),
            "ema_updates": training.ema.updates,
        }
        try:
            torch.save(state, temporary / STATE)
        except RuntimeError as error:  # torch's error for a full disk
            raise OSError(str(error).partition("\n")[0]) from None
        write_checksums(temporary)


def save_best(run: Path, model: nn.Module, card: ModelCard) -> None:
    """Replace the checkpoint "best", which contains weights alone."""
    with durable_folder(run / "checkpoints" / BEST) as folder:
        save_model(folder / WEIGHTS, model, card)
        write_checksums(folder)


def find_checkpoint(run: Path, *, warn: Callable[[str], None]) -> Path | None:
    """The checkpoint to go on from: "last", or the one before it if that is damaged; None if there is none yet.

    Raises:
        InputError: there are checkpoints, and all are damaged.
    """
    damage: list[str] = []
    for folder in (run / "checkpoints" / LAST, run / "checkpoints" / PREVIOUS):
        if not folder.is_dir():
            continue
        try:
            check_checksums(folder)
        except InputError as error:
            damage.append(str(error))
            continue
        for message in damage:
            warn(f"{message}; going on from the checkpoint before it")
        return folder
    if damage:
        raise InputError(f"no checkpoint is left to resume from: {'; '.join(damage)}")
    return None


def resume(folder: Path, training: Training, settings: Optim) -> None:
    """Load a checkpoint into a training; the optimizer goes on with the given settings.

    Raises:
        InputError: the checkpoint has other classes, input, architecture or batches, or other settings that change the
            optimizer's groups.
    """
    state_dict, saved = read_safetensors(folder / WEIGHTS)
    card, run, planned = training.card, folder.parent.parent, replace(training.progress)
    for name in ("task", "classes", "facts", "input", "variant", "architecture", "head"):
        if saved is None or getattr(saved, name) != getattr(card, name):
            raise InputError(f"{run}: cannot be resumed with other {name}; start a new run with --weights {run}")
    try:
        training.model.load_state_dict(state_dict)
        training.ema.model.load_state_dict(read_safetensors(folder / EMA_WEIGHTS)[0])
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        scales = [group["lr_scale"] for group in training.optimizer.param_groups]
        training.optimizer.load_state_dict(state["optimizer"])
        for group, scale in zip(training.optimizer.param_groups, scales, strict=True):
            group["lr_scale"] = scale
        set_hyperparameters(training.optimizer, settings)  # loading has set those of the interrupted run
        training.scaler.load_state_dict(state["scaler"])
        training.ema.updates = state["ema_updates"]
        vars(training.progress).update(vars(Progress(**state["progress"])))
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: does not fit this recipe ({str(error).partition(chr(10))[0]})") from None
    for what in ("epoch", "pass"):
        had, now = (getattr(each, f"steps_per_{what}") for each in (training.progress, planned))
        if had != now:
            raise InputError(
                f"{run}: had {had} steps in {'an' if what == 'epoch' else 'a'} {what}, now there would be {now}; "
                "resume with the same images, data.batch_size and schedule.epoch_steps"
            )
