"""Save and resume a training without any difference: whole folders, with checksums, renamed into place.

No random state is saved, because every step seeds its own generators (`nextvit.train.step`).
"""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.files.durable import check_checksums, durable_folder, write_checksums
from nextvit.files.run_folder import WEIGHTS
from nextvit.models.weights import check_state_dict, read_safetensors, save_model
from nextvit.train.optim import set_hyperparameters
from nextvit.train.recipe import Optim
from nextvit.train.saved_state import restore_state, save_state
from nextvit.train.state import Training

STATE, EMA_WEIGHTS = "state.pt", "ema.safetensors"
LAST, PREVIOUS, BEST = "last", "previous", "best"


def save_last(run: Path, training: Training) -> None:
    """Save the whole state of a training as the checkpoint "last"; the one before it stays as "previous"."""
    folder = run / "checkpoints"
    with durable_folder(folder / LAST, keep=folder / PREVIOUS) as temporary:
        save_model(temporary / WEIGHTS, training.model, training.card)
        save_model(temporary / EMA_WEIGHTS, training.ema.model, training.card)
        save_state(temporary / STATE, training)
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
            check_checksums(folder, parts=(WEIGHTS, EMA_WEIGHTS, STATE))
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
        InputError: the checkpoint is damaged, or has other classes, input, architecture or batches, or other settings
            that change the optimizer's groups.
    """
    state_dict, saved = read_safetensors(folder / WEIGHTS)
    card, run = training.card, folder.parent.parent
    for name in ("task", "classes", "facts", "input", "variant", "architecture", "head"):
        if saved is None or getattr(saved, name) != getattr(card, name):
            raise InputError(f"{run}: cannot be resumed with other {name}; start a new run with --weights {run}")
    averaged, _ = read_safetensors(folder / EMA_WEIGHTS)
    check_state_dict(state_dict, training.model, what=folder / WEIGHTS)
    check_state_dict(averaged, training.ema.model, what=folder / EMA_WEIGHTS)
    restore_state(folder / STATE, training)
    training.model.load_state_dict(state_dict)
    training.ema.model.load_state_dict(averaged)
    set_hyperparameters(training.optimizer, settings)
