"""Find the largest batch that fits into memory, by taking steps on random images."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from nextvit.bundle.card import ModelCard
from nextvit.data.dataset import Dataset
from nextvit.errors import InputError
from nextvit.models.network import Network
from nextvit.tasks.task import Objective, get_task
from nextvit.train.device import autocast, pick_precision, ran_out_of_memory
from nextvit.train.distributed import World
from nextvit.train.optim import freeze, train_mode
from nextvit.train.recipe import Recipe
from nextvit.train.state import Training

LARGEST, FEWEST_STEPS = 1024, 8
LEFT_FREE = 0.25
"""Fraction of the memory that a batch must leave free: for the data, for a teacher, for other programs."""
PROCESS = Path("/proc/self")


def find_batch_size(
    dataset: Dataset, card: ModelCard, model: Network, recipe: Recipe, device: torch.device, world: World
) -> int:
    """The largest batch that fits, over all processes and parts, with at least 8 steps in an epoch."""
    parts = world.size * recipe.optim.accumulate
    most = max(2, min(LARGEST, len(dataset.split("train")) // FEWEST_STEPS) // parts)
    objective = get_task(dataset.task).objective(dataset, card, recipe.task, device)
    fits = largest_that_fits(make_trial(objective, card, model, recipe, device), most=most)
    return min(world.gather(fits)) * parts


def memory_advice(training: Training, recipe: Recipe) -> str:
    """What to do after a step ran out of memory."""
    world, device = training.world, training.device
    part = recipe.batch_size // (world.size * recipe.optim.accumulate)
    # The norms of the averaged model do not communicate with other processes.
    attempt = make_trial(training.objective, training.card, training.ema.model, recipe, device)
    fits = largest_that_fits(attempt, most=max(2, part // 2))
    return (
        f"out of memory on {device} with {part} images in a step at {recipe.data.image_size} px; {fits} fit: "
        f"use --optim.accumulate {-(-recipe.batch_size // (world.size * fits))} for the same training in smaller "
        f"parts, or --batch-size {fits * world.size * recipe.optim.accumulate}"
    )


def largest_that_fits(attempt: Callable[[int], None], *, most: int) -> int:
    """The largest of 2, 4, 8, ... up to `most` for which `attempt` does not run out of memory.

    Raises:
        InputError: not even 2 fit.
    """
    fits, size = 0, 2
    while size <= most:
        try:
            attempt(size)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
            break
        fits, size = size, 2 * size
    if not fits:
        raise InputError("out of memory with two images at once; use a smaller --model or --image-size")
    return fits


def make_trial(
    objective: Objective, card: ModelCard, model: nn.Module, recipe: Recipe, device: torch.device
) -> Callable[[int], None]:
    """A function that takes one step on a copy of the model with a number of random images; it raises an out-of-memory
    error where less than `LEFT_FREE` of the memory is left."""
    precision = pick_precision(recipe, device)

    def attempt(images: int) -> None:
        reset_peak_memory(device)
        own = copy.deepcopy(model).requires_grad_(True)
        assert isinstance(own, Network)
        own.backbone.set_activation_checkpointing(enabled=recipe.model.activation_checkpointing)
        train_mode(own, freeze(own, recipe.model.frozen_stages, norms=recipe.model.frozen_norms))
        optimizer = torch.optim.AdamW([each for each in own.parameters() if each.requires_grad], fused=True)
        task = get_task(card.task)
        pixels, targets = task.random_batch(card, recipe.task, images=images, device=device)
        with autocast(device, precision):
            loss = torch.stack(list(objective.losses(own, pixels, targets).values())).sum()
        loss.backward()
        optimizer.step()
        if memory_left(device) < LEFT_FREE:
            raise torch.OutOfMemoryError("too little memory is left")

    return attempt


def reset_peak_memory(device: torch.device) -> None:
    """Restart the measurement of peak memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif PROCESS.is_dir():
        (PROCESS / "clear_refs").write_text("5", encoding="utf-8")  # see proc(5)


def memory_left(device: torch.device) -> float:
    """Fraction of the memory that was free at this process's peak."""
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        return 1 - torch.cuda.max_memory_reserved(device) / total
    if not PROCESS.is_dir():
        raise InputError("the free memory is not known on this system; pass a number with --batch-size")
    machine, own = read_kib(Path("/proc/meminfo")), read_kib(PROCESS / "status")
    return (machine["MemAvailable"] + own["VmRSS"] - own["VmHWM"]) / machine["MemTotal"]


def read_kib(path: Path) -> dict[str, int]:
    """Read the lines "name: number kB" of a file of /proc."""
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[2:] == ["kB"]}
