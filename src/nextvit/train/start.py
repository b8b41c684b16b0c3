"""A training run from its dataset and recipe to its evaluated best checkpoint."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
import yaml

from nextvit.bundle.card import ModelCard
from nextvit.data.dataset import Dataset
from nextvit.data.findings import KINDS, describe_left_out, refuse_errors
from nextvit.errors import InputError, shorten
from nextvit.files.durable import remove_leftovers, write_durably
from nextvit.files.run_folder import (
    AUGMENTED,
    ENVIRONMENT,
    EVALUATION,
    RECIPE,
    checkpoint_folder,
    find_best_weights,
    is_run,
    read_recipe,
)
from nextvit.machine.cores import usable_cores
from nextvit.machine.environment import describe_environment
from nextvit.models.create import find_weights
from nextvit.models.weights import load_weights
from nextvit.predictions.kind import output_names
from nextvit.runtime.torch_session import TorchSession
from nextvit.tasks.network import build_network, deploy_network, load_model, training_cost
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.task import Evaluation, get_task
from nextvit.train.card import build_card
from nextvit.train.checkpoint import find_checkpoint
from nextvit.train.checkpoint import resume as restore
from nextvit.train.device import pick_device, ran_out_of_memory
from nextvit.train.distributed import World, join_processes, world_from_environment
from nextvit.train.interrupt import stop_on_interrupt
from nextvit.train.loop import Say, Watch, fit
from nextvit.train.memory import find_batch_size, memory_advice
from nextvit.train.plan import describe_budget, describe_epochs, go_on, plan_time
from nextvit.train.prepare import prepare
from nextvit.train.preview import write_preview
from nextvit.train.recipe import Recipe
from nextvit.train.recipe_sections import TASK, to_sections
from nextvit.train.resolve import describe_sides, describe_start, resolve_recipe
from nextvit.train.shared_memory import check_shared_memory
from nextvit.train.state import Training
from nextvit.train.trial import measure_pace
from nextvit.views.training_batches import describe_worker_failure, shut_down

Result = TypeVar("Result")


def train(
    dataset_path: Path,
    recipe: Recipe,
    *,
    run: Path,
    task: str | None = None,
    resume: bool = False,
    watch: Watch,
    say: Say,
    started: float | None = None,
    report_seconds: float = 0.0,
    now: Callable[[], float] = time.perf_counter,
) -> Evaluation:
    """Train a model into the folder `run`, and evaluate its best checkpoint.

    Started by torchrun, all processes train together, and only the first one writes files and messages. When torchrun
    has restarted them, the run is resumed automatically.

    Args:
        task: the task to train for, where it is not the one of the dataset's layout.
        resume: go on from the checkpoint "last" of an interrupted run.
        watch: called after every step and epoch.
        say: called with each message for people.
        started: when the time of `schedule.minutes` began, by the clock `now`; None: with this call. Of a resumed run
            what was left goes on with its first step.
        report_seconds: part of that time which the caller needs after this call, for a report say.
        now: the clock, in seconds.

    Raises:
        InputError: the dataset or the recipe is wrong, the time too short, or `run` is not an empty folder.
    """
    started = now() if started is None else started
    world = world_from_environment()
    device = pick_device(recipe.compute.device, local_rank=world.local_rank)
    with join_processes(world, device):
        # With several machines, only the one where a process died counts a restart.
        resume = resume or (max(world.gather(world.restarts)) > 0 and is_run(run))
        check_run_folder(run, resume=resume)
        allowed = recipe.data.allow_errors
        dataset = read_dataset(dataset_path, task=task, allow_errors=allowed, flag="--data.allow-errors", say=say)
        return train_together(
            dataset,
            recipe,
            world,
            device,
            run=run,
            resuming=resume,
            watch=watch,
            say=say,
            started=started,
            report_seconds=report_seconds,
            now=now,
        )


def train_together(
    dataset: Dataset,
    recipe: Recipe,
    world: World,
    device: torch.device,
    *,
    run: Path,
    resuming: bool,
    watch: Watch,
    say: Say,
    started: float,
    report_seconds: float,
    now: Callable[[], float],
) -> Evaluation:
    """`train`, in one of several processes."""
    # 1. Resolve the recipe, check the data, build the network
    # torch's default follows the affinity, but not the quota of a container.
    torch.set_num_threads(recipe.compute.threads or min(torch.get_num_threads(), usable_cores()))
    asked, recipe = recipe, resolve_recipe(recipe, dataset)
    if sides := describe_sides(asked, recipe, dataset):
        say(sides)
    torch.manual_seed(recipe.compute.seed)
    dataset = get_task(dataset.task).complete(dataset, recipe.task, device)
    card = build_card(dataset, recipe)
    get_task(dataset.task).evaluator(dataset, card)  # refuses a dataset of other classes before minutes of checking
    model = build_network(card)
    if world.size == 1 and (recipe.data.allow_errors or not resuming):  # others would wait for the one that reads
        dataset = check_data(dataset, allowed=recipe.data.allow_errors, say=say)

    # 2. Load weights: the checkpoint to go on from, or those to start from
    checkpoint = find_interrupted_checkpoint(run, world, say=say) if resuming else None
    if recipe.model.weights != "none" and not checkpoint:
        path = find_weights(recipe.model.name, recipe.model.weights)
        say(str(load_weights(model, path, classes=dataset.classes)))
    model.to(device)

    # 3. Prepare
    if recipe.data.batch_size == "auto":
        size = recorded_batch_size(run) if resuming else find_batch_size(dataset, card, model, recipe, device, world)
        recipe = replace(recipe, data=replace(recipe.data, batch_size=size))
    training = prepare(dataset, card, model, recipe, device, world)
    check_shared_memory(training)
    if checkpoint:
        restore(checkpoint, training, recipe.optim)
        recipe = keep_finished_time(recipe, training, run=run, say=say)
        recipe = keep_finished_epochs(recipe, training, say=say)
    say(describe_start(recipe, dataset))
    if not checkpoint and asked.schedule.epochs == "auto":
        recipe = plan_by_trial(recipe, training, started=started, report_seconds=report_seconds, now=now, say=say)

    # 4. Write the run's files and train: everything that can be refused has been refused by now
    try:
        if world.is_first:
            write_run_files(run, recipe, training)
        with stop_on_interrupt() as stop:
            planned = with_planned_epochs(recipe, training, used=now() - started)
            train_planned = partial(fit, training, planned, run=run, watch=watch, say=say, stop=stop, now=now)
            run_in_memory(train_planned, training, recipe)
        shut_down(training.batches)
    except InputError:
        if not resuming and world.is_first:
            remove_if_without_checkpoint(run)
        raise
    return evaluate_best(training, run=run, say=say)


def plan_by_trial(
    recipe: Recipe,
    training: Training,
    *,
    started: float,
    report_seconds: float,
    now: Callable[[], float],
    say: Say,
) -> Recipe:
    """Measure the pace of this machine, and by it plan a training whose epochs are "auto".

    Returns:
        The recipe; where a time is given, with the length of its epochs, and the training with its budget.

    Raises:
        InputError: the time is too short, the memory ran out, or images cannot be read.
    """
    pace = run_in_memory(lambda: measure_pace(training, recipe, now=now), training, recipe)
    if not recipe.schedule.minutes:
        say(describe_epochs(recipe, pace, steps_per_epoch=len(training.sampler)))
        return recipe
    used = training.world.gather(now() - started)[0]
    schedule, budget = plan_time(
        recipe.schedule,
        pace,
        steps_per_pass=training.sampler.steps_per_pass,
        used=used,
        report_seconds=report_seconds,
    )
    if schedule.epoch_steps:
        training.sampler.steps = schedule.epoch_steps
        training.progress.steps_per_pass = training.sampler.steps_per_pass
    training.progress.steps_per_epoch = len(training.sampler)
    training.progress.budget = budget
    say(describe_budget(budget, steps_per_epoch=len(training.sampler)))
    return replace(recipe, schedule=schedule)


def with_planned_epochs(recipe: Recipe, training: Training, *, used: float) -> Recipe:
    """The recipe with the number of epochs over which the schedule is laid, where a time is given instead; of it, a new
    training has used as many seconds before its first step."""
    budget = training.progress.budget
    if budget is None:
        return recipe
    if training.progress.step == 0:
        budget.used = training.world.gather(used)[0]
    return replace(recipe, schedule=replace(recipe.schedule, epochs=budget.epochs))


def check_data(dataset: Dataset, *, allowed: bool, say: Say) -> Dataset:
    """Check the images and what is known of them, as `nextvit check` does.

    Args:
        dataset: to train on.
        allowed: leave out what cannot be used, instead of refusing the dataset.
        say: called with a line before, and with one on what is left out.

    Returns:
        The dataset, without the images that are left out.

    Raises:
        InputError: there are errors that are not allowed.
    """
    say(f"checking the images (as nextvit check {dataset.root} does)")
    checked = get_task(dataset.task).check(dataset)
    refuse_errors(checked.findings, dataset=dataset.root, allowed=allowed)
    unusable = [each for each in checked.findings if KINDS[each.kind].left_out]
    if not unusable:
        return dataset
    say(describe_left_out(unusable))
    remaining = dataset.leave_out({checked.survey.sample(at).path for each in unusable for at in each.positions})
    if not all(len(samples) for samples in remaining.splits.values()):
        raise InputError(f"{dataset.root}: no usable image remains in a split; see nextvit check {dataset.root}")
    return remaining


def find_interrupted_checkpoint(run: Path, world: World, *, say: Say) -> Path | None:
    """Remove leftovers of a killed process, and find the checkpoint to go on from; None if there is none yet."""
    if world.is_first:
        remove_leftovers(run)
        remove_leftovers(run / "checkpoints")
    return find_checkpoint(run, warn=say)


def keep_finished_time(recipe: Recipe, training: Training, *, run: Path, say: Say) -> Recipe:
    """Give a resumed training the time of the recipe, less what it has used. Where its schedule is at its end, say so,
    and return the recipe with the time that it had.

    Raises:
        InputError: it counted epochs, now there is a time, or the reverse; or there is too little time.
    """
    progress, schedule = training.progress, recipe.schedule
    if (progress.budget is None) != (schedule.minutes == 0):
        had, now = ("epochs", "minutes") if progress.budget is None else ("minutes", "epochs")
        raise InputError(
            f"{run}: was started with schedule.{had}, and cannot go on with schedule.{now}; resume it with --{had}, or "
            f"start a new run with --weights {run}"
        )
    if progress.budget is None:
        return recipe
    if progress.budget.is_over:
        say(
            f"the {progress.budget.seconds / 60:g} min of this run are used and its schedule is at its end, so "
            f"the best checkpoint is evaluated again; to go on, start a new run with --weights {run}"
        )
        return replace(recipe, schedule=replace(schedule, minutes=progress.budget.seconds / 60))
    go_on(progress.budget, schedule, step_in_epoch=progress.step_in_epoch, steps_per_epoch=progress.steps_per_epoch)
    return recipe


def keep_finished_epochs(recipe: Recipe, training: Training, *, say: Say) -> Recipe:
    """The recipe with at least as many epochs as a resumed training has finished, which its record must not deny; where
    none is left, say so."""
    finished = training.progress.epoch
    if training.progress.budget or finished < recipe.epochs:
        return recipe
    say(
        f"all {recipe.epochs} epochs of schedule.epochs are done ({finished} in this run), so none is left to train, "
        "and the best checkpoint is evaluated again; to go on, pass a higher --epochs"
    )
    return replace(recipe, schedule=replace(recipe.schedule, epochs=finished))


def write_run_files(run: Path, recipe: Recipe, training: Training) -> None:
    """Write the recipe, and where missing the environment and the preview, into the run."""
    run.mkdir(parents=True, exist_ok=True)
    dataset = training.dataset
    settings = {"dataset": str(dataset.root.resolve()), TASK: dataset.task, **to_sections(recipe)}
    write_durably(run / RECIPE, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    if not (run / ENVIRONMENT).is_file():
        facts = describe_run(training.card, dataset)
        write_durably(run / ENVIRONMENT, json.dumps(facts, indent=2, ensure_ascii=False))
    if not (run / AUGMENTED).is_file():
        write_preview(run, training, recipe)


def recorded_batch_size(run: Path) -> int:
    """The batch size that an interrupted run found for "auto".

    Raises:
        InputError: its recipe does not say it.
    """
    data = read_recipe(run / RECIPE).get("data")
    size = data.get("batch_size") if isinstance(data, dict) else None
    if not isinstance(size, int) or size < 1:
        raise InputError(f"{run / RECIPE}: damaged (data.batch_size is {shorten(repr(size))})")
    return size


def run_in_memory(work: Callable[[], Result], training: Training, recipe: Recipe) -> Result:
    """Run a part of the training; where it fails, end the workers.

    Raises:
        InputError: as `work`, or the memory ran out, or a process that reads images failed.
    """
    try:
        return work()
    except BaseException as error:
        shut_down(training.batches)
        if not (isinstance(error, RuntimeError) and ran_out_of_memory(error)):
            if isinstance(error, Exception) and (failure := describe_worker_failure(error)):
                raise InputError(failure) from error
            raise
    # Here the failed step's tensors are freed with its traceback.
    raise InputError(memory_advice(training, recipe))


def evaluate_best(training: Training, *, run: Path, say: Say) -> Evaluation:
    """Evaluate the best checkpoint, and write the result into the run."""
    task = get_task(training.dataset.task)
    best, _ = load_model(find_best_weights(run))
    card = task.evaluation_card(training.card)
    session = TorchSession(deploy_network(best.to(training.device), card), outputs=output_names(card))
    evaluation = training.evaluator.evaluate(session.run, split="val", shard=training.world.shard)
    if training.world.is_first:
        record = {**asdict(evaluation), "unreadable_training": list(training.progress.unreadable)}
        write_durably(run / EVALUATION, json.dumps(record, ensure_ascii=False))
        task.write_evidence(run, best, training.card, evaluation)
    unreadable = (*training.progress.unreadable, *evaluation.unreadable)
    for message in unreadable:
        say(f"could not be read: {message}")
    if unreadable:
        say(f"{len(unreadable)} images could not be read: in training others replaced them, none was scored")
    return evaluation


def check_run_folder(run: Path, *, resume: bool) -> None:
    """Raise InputError unless a new run has a new folder, and a resumed one a folder with a run."""
    if resume and not is_run(run):
        raise InputError(f"{run}: no run to resume (it has no {RECIPE}); leave out --resume to start one")
    if not resume and is_run(run):
        raise InputError(f"{run}: already holds a run; go on with --resume, or choose another --out")
    # A start that was killed may have left a temporary file.
    if not resume and run.exists() and (not run.is_dir() or any(entry.suffix != ".tmp" for entry in run.iterdir())):
        raise InputError(f"{run}: exists and is not an empty folder; choose another --out")


def remove_if_without_checkpoint(run: Path) -> None:
    """Remove the folder of a run that was refused before its first checkpoint, so that the corrected command can
    start."""
    if not checkpoint_folder(run, "last").is_dir() and not checkpoint_folder(run, "best").is_dir():
        shutil.rmtree(run, ignore_errors=True)


def describe_run(card: ModelCard, dataset: Dataset) -> dict[str, object]:
    """The environment, the dataset and the model of a run, as plain values."""
    cost = training_cost(card)
    return {
        **describe_environment(),
        "dataset": str(dataset.root),
        "task": dataset.task,
        "classes": list(dataset.classes),
        "train_images": len(dataset.split("train")),
        "val_images": len(dataset.split("val")),
        "variant": card.variant,
        "image_size": list(card.input.image_size),
        "resize": card.input.resize,
        "parameters": cost.parameters,
        "macs": cost.macs,
    }
