"""How large a batch the memory holds: found by taking steps on made-up images."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from nextvit.errors import InputError
from nextvit.models.classification import Classifier
from nextvit.tasks.task import Task
from nextvit.train.device import autocast, pick_precision, ran_out_of_memory
from nextvit.train.recipe import Recipe

LARGEST, FEWEST_STEPS = 1024, 8
MEMORY = Path("/proc/meminfo")


def with_batch_size(task: Task, model: Classifier, recipe: Recipe, device: torch.device, *, images: int) -> Recipe:
    """The recipe with "auto" replaced by the largest power of two that fits, but at least 8 steps an epoch."""
    if recipe.data.batch_size != "auto":
        return recipe
    most = max(2, min(LARGEST, images // FEWEST_STEPS))
    size = largest_that_fits(trial(task, model, recipe, device), most=most)
    return replace(recipe, data=replace(recipe.data, batch_size=size))


def memory_advice(task: Task, model: Classifier, recipe: Recipe, device: torch.device) -> str:
    """What to do after a step ran out of memory."""
    accumulate = recipe.optim.accumulate
    part = recipe.batch_size // accumulate
    fits = largest_that_fits(trial(task, model, recipe, device), most=max(2, part // 2))
    return (
        f"out of memory on {device} with {part} images at once at {recipe.data.image_size} px; {fits} fit: "
        f"use --optim.accumulate {-(-recipe.batch_size // fits)} for the same training in smaller parts, "
        f"or --batch-size {fits}"
    )


def largest_that_fits(attempt: Callable[[int], None], *, most: int) -> int:
    """The largest of 2, 4, 8, ... up to `most` that `attempt` bears; InputError if not even 2."""
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


def trial(task: Task, model: Classifier, recipe: Recipe, device: torch.device) -> Callable[[int], None]:
    """One step on a copy of the model with as many random images as asked, which must leave a quarter of the memory."""
    size, precision = recipe.data.image_size, pick_precision(recipe, device)

    def attempt(images: int) -> None:
        own = copy.deepcopy(model).train()
        optimizer = torch.optim.AdamW(own.parameters(), fused=True)
        pixels = torch.randint(0, 256, (images, 3, size, size), device=device).float()
        targets = torch.full((images, len(task.card.classes)), 1 / len(task.card.classes), device=device)
        with autocast(device, precision):
            loss = torch.stack(list(task.losses(own, pixels, targets).values())).sum()
        loss.backward()
        optimizer.step()
        if memory_left(device) < 0.25:
            raise torch.OutOfMemoryError("less than a quarter of the memory is left")

    return attempt


def memory_left(device: torch.device) -> float:
    """Share of the memory that was still free when this process filled it most."""
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        return 1 - torch.cuda.max_memory_reserved(device) / total
    if not MEMORY.is_file():
        raise InputError("the free memory is not known on this system; pass a number with --batch-size")
    import resource

    facts = dict(line.split(":") for line in MEMORY.read_text(encoding="utf-8").splitlines())
    available, total = (int(facts[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
    own = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize() // 1024
    return (available + own - resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / total
