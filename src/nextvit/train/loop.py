"""The training loop: read it from top to bottom to know what happens, and in which order."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from nextvit.data.folder import Dataset
from nextvit.data.loader import Batch, EpochSampler, TrainingSet, training_batches
from nextvit.errors import InputError
from nextvit.models.deployed import Deployed
from nextvit.runs import METRICS, append_json_line
from nextvit.runtime.torch_session import TorchSession
from nextvit.tasks.task import Evaluation, Task
from nextvit.train.checkpoint import Progress, resume, save_best, save_last
from nextvit.train.ema import Ema
from nextvit.train.interrupt import Stop
from nextvit.train.optim import build_optimizer, set_hyperparameters, set_lr
from nextvit.train.recipe import Recipe
from nextvit.train.schedule import lr_at


@dataclass(frozen=True, kw_only=True)
class Tick:
    """What a watcher is told after every step, and with an evaluation after every epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    lr: float
    loss: float
    images_per_second: float
    waiting_share: float
    """Share of the epoch's time so far that was spent waiting for data."""
    seconds_left: float
    evaluation: Evaluation | None = None


Watch = Callable[[Tick], None]


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything that a training works with, ready for its next step."""

    task: Task
    dataset: Dataset
    model: nn.Module
    ema: Ema
    optimizer: torch.optim.Optimizer
    batches: DataLoader[Batch]
    sampler: EpochSampler
    device: torch.device
    progress: Progress


def prepare(task: Task, dataset: Dataset, model: nn.Module, recipe: Recipe, *, run: Path, resuming: bool) -> Training:
    """Put everything on the device, and for a resumed run fill it from the checkpoint "last". Writes nothing.

    Raises:
        InputError: no such device, too few images, a checkpoint that is damaged or of other classes or batches.
    """
    device = pick_device(recipe.compute.device)
    if len(dataset.split("train")) < 2:
        raise InputError(f"{dataset.root}: one training image is too few")
    model.to(device)
    ema = Ema(model, decay=recipe.ema.decay)
    optimizer = build_optimizer(model, recipe.optim)
    batches, sampler = build_batches(dataset, recipe, device)
    progress = resume(run, model, ema, optimizer, task.card) if resuming else Progress()
    set_hyperparameters(optimizer, recipe.optim)  # the checkpoint brought those of the interrupted run
    if progress.step != progress.epoch * len(sampler):
        raise InputError(
            f"{run}: was interrupted after {progress.step} steps in {progress.epoch} epochs, but an epoch now has "
            f"{len(sampler)}; resume with the same images and data.batch_size"
        )
    return Training(
        task=task,
        dataset=dataset,
        model=model,
        ema=ema,
        optimizer=optimizer,
        batches=batches,
        sampler=sampler,
        device=device,
        progress=progress,
    )


def fit(training: Training, recipe: Recipe, *, run: Path, watch: Watch, stop: Stop) -> Progress:
    """Train to the recipe's last epoch, keeping the checkpoints "last" and "best" in `run`.

    Returns:
        Where it ended.

    Raises:
        KeyboardInterrupt: `stop` was requested; every finished epoch is kept.
        InputError: too many unreadable images, a loss that is no number, a full disk.
    """
    task, model, ema, progress = training.task, training.model, training.ema, training.progress
    steps = len(training.sampler) * recipe.schedule.epochs
    started, first_step = time.perf_counter(), progress.step

    for epoch in range(progress.epoch, recipe.schedule.epochs):
        training.sampler.epoch = epoch
        model.train()
        tick: Tick | None = None
        epoch_started, waited, seen, loss_sum = time.perf_counter(), 0.0, 0, torch.zeros((), device=training.device)
        asked = time.perf_counter()
        for batch in training.batches:
            waited += time.perf_counter() - asked
            progress.unreadable = checked_unreadable(progress.unreadable, batch, training.dataset, recipe)

            # One step. A batch of which too little could be read still counts, so that the schedule holds.
            lr = lr_for(progress.step, steps, len(training.sampler), recipe)
            set_lr(training.optimizer, lr)
            if len(batch.images) >= 2:
                loss = update(training, batch, recipe)
                ema.update(model)
                loss_sum += loss * len(batch.images)
                seen += len(batch.images)
            progress.step += 1

            # Tell the watcher.
            now = time.perf_counter()
            rate = (now - started) / (progress.step - first_step)
            tick = Tick(
                epoch=epoch,
                epochs=recipe.schedule.epochs,
                step=progress.step,
                steps=steps,
                lr=lr,
                loss=float(loss_sum) / max(1, seen),
                images_per_second=seen / (now - epoch_started),
                waiting_share=waited / (now - epoch_started),
                seconds_left=rate * (steps - progress.step),
            )
            if not torch.isfinite(loss_sum):
                raise InputError(
                    f"the loss became {tick.loss} in epoch {epoch + 1}; lower --optim.lr, or check the data; "
                    "what earlier epochs left is intact"
                )
            watch(tick)
            if stop.requested:
                raise KeyboardInterrupt
            asked = time.perf_counter()

        assert tick, "an epoch has at least one batch"

        # Once an epoch: evaluate the averaged weights in deployment form, note the result, save.
        evaluation = task.evaluate(TorchSession(Deployed(ema.model, task.card.input)).run, split="val")
        progress.epoch = epoch + 1
        standing = (evaluation.scores[evaluation.main_score], -evaluation.scores["loss"])
        is_best = progress.best is None or standing > progress.best
        if is_best:
            progress.best = standing
            save_best(run, ema.model, task.card)
        append_json_line(run / METRICS, epoch_record(tick, evaluation, is_best))
        save_last(run, model, ema, training.optimizer, progress, task.card)
        watch(Tick(**{**vars(tick), "evaluation": evaluation}))
    return progress


def update(training: Training, batch: Batch, recipe: Recipe) -> torch.Tensor:
    """One step of the optimizer on one batch, in `accumulate` parts; returns the mean loss of its images."""
    model, optimizer, device = training.model, training.optimizer, training.device
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=device)
    parts = min(recipe.optim.accumulate, len(batch.images) // 2)  # batch norms need two images
    for images, labels in zip(batch.images.tensor_split(parts), batch.labels.tensor_split(parts), strict=True):
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with autocast(device, recipe):
            losses = training.task.losses(model, images, labels)
        loss = torch.stack(list(losses.values())).sum() * (len(images) / len(batch.images))
        loss.backward()
        total += loss.detach()
    if recipe.optim.clip_norm:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.optim.clip_norm)
    optimizer.step()
    return total


def build_batches(dataset: Dataset, recipe: Recipe, device: torch.device) -> tuple[DataLoader[Batch], EpochSampler]:
    """The training batches and the sampler that is told the epoch."""
    preprocess, seed = recipe.data.preprocess(), recipe.compute.seed
    samples = dataset.split("train")
    training_set = TrainingSet(samples, recipe.augment, image_size=preprocess.image_size, seed=seed)
    sampler = EpochSampler(len(samples), batch_size=recipe.data.batch_size, seed=seed)
    pin = device.type == "cuda"
    return training_batches(training_set, sampler, workers=recipe.data.workers, pin_memory=pin), sampler


def lr_for(step: int, steps: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """The schedule's learning rate at a step."""
    warmup_steps = min(steps - 1, round(recipe.schedule.warmup_epochs * steps_per_epoch))
    peak = recipe.optim.lr
    return lr_at(step, steps=steps, warmup_steps=warmup_steps, peak=peak, final=peak * recipe.schedule.final_lr_ratio)


def checked_unreadable(known: tuple[str, ...], batch: Batch, dataset: Dataset, recipe: Recipe) -> tuple[str, ...]:
    """All unreadable images so far; InputError when they are more than the recipe bears."""
    found = tuple(dict.fromkeys((*known, *batch.unreadable)))
    count = len(dataset.split("train"))
    if len(found) > recipe.data.max_unreadable * count:
        raise InputError(
            f"{len(found)} of {count} training images cannot be read, more than data.max_unreadable "
            f"{recipe.data.max_unreadable:g} allows; first: {found[0]}; list them all with: nextvit check {dataset.root}"
        )
    return found


def pick_device(name: str) -> torch.device:
    """The device that a recipe asks for."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available here ({str(error).partition(chr(10))[0]})") from None
    return device


def autocast(device: torch.device, recipe: Recipe) -> AbstractContextManager[Any]:
    """bf16 where the recipe or the device wants it."""
    precision = recipe.compute.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def epoch_record(tick: Tick, evaluation: Evaluation, is_best: bool) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "epoch": tick.epoch + 1,
        "step": tick.step,
        "lr": tick.lr,
        "train_loss": round(tick.loss, 6),
        **{f"val_{name}": round(value, 6) for name, value in evaluation.scores.items()},
        "images_per_second": round(tick.images_per_second, 1),
        "waiting_share": round(tick.waiting_share, 4),
        "is_best": is_best,
    }
