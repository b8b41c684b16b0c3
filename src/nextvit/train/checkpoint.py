"""Saving a training so that it can go on as if nothing had happened: whole folders, checksummed, renamed into place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nextvit.card import ModelCard
from nextvit.durable import check_checksums, durable_folder, write_checksums
from nextvit.errors import InputError
from nextvit.models.weights import read_safetensors, save_model
from nextvit.runs import WEIGHTS, checkpoint_folder
from nextvit.train.ema import Ema

STATE, EMA_WEIGHTS = "state.pt", "ema.safetensors"


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 0
    """Epochs that are done."""
    step: int = 0
    """Steps that are done."""
    best: tuple[float, float] | None = None
    """Main score and negative loss of the best epoch; the loss decides between equal scores."""
    unreadable: tuple[str, ...] = ()
    """Messages of training images that could not be read so far."""


def save_last(
    run: Path, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, progress: Progress, card: ModelCard
) -> None:
    """Replace the checkpoint "last" with the whole state of a training."""
    with durable_folder(run / "checkpoints" / "last") as folder:
        save_model(folder / WEIGHTS, model, card)
        save_model(folder / EMA_WEIGHTS, ema.model, card)
        state: dict[str, Any] = {
            "optimizer": optimizer.state_dict(),
            "progress": vars(progress),
            "ema_updates": ema.updates,
            "rng_cpu": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all(),
        }
        try:
            torch.save(state, folder / STATE)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(str(error).partition("\n")[0]) from None
        write_checksums(folder)


def save_best(run: Path, model: nn.Module, card: ModelCard) -> None:
    """Replace the checkpoint "best", weights alone."""
    with durable_folder(run / "checkpoints" / "best") as folder:
        save_model(folder / WEIGHTS, model, card)
        write_checksums(folder)


def resume(run: Path, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, card: ModelCard) -> Progress:
    """Fill everything from the checkpoint "last" and say where it stands.

    Raises:
        InputError: a part of it is missing or damaged, by name, or it is of other classes, input or architecture.
    """
    folder = checkpoint_folder(run, "last")
    if not folder.is_dir():
        return Progress()  # killed before the first checkpoint: start again
    check_checksums(folder)
    state_dict, saved = read_safetensors(folder / WEIGHTS)
    for name in ("classes", "input", "variant", "architecture"):
        if saved is None or getattr(saved, name) != getattr(card, name):
            raise InputError(f"{run}: cannot be resumed with other {name}; start a new run with --weights {run}")
    try:
        model.load_state_dict(state_dict)
        ema.model.load_state_dict(read_safetensors(folder / EMA_WEIGHTS)[0])
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        ema.updates = state["ema_updates"]
        torch.set_rng_state(state["rng_cpu"])
        if len(state["rng_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["rng_cuda"])
        progress = Progress(**state["progress"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: does not fit this recipe ({str(error).partition(chr(10))[0]})") from None
    return progress
