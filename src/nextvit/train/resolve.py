"""Resolve the fields of a recipe that are "auto", by the dataset and the weights."""

from dataclasses import replace
from pathlib import Path

from nextvit.bundle.manifest import MAX_SIDE_PX
from nextvit.data.dataset import Dataset
from nextvit.errors import InputError
from nextvit.models.cost import cost
from nextvit.models.create import find_variant
from nextvit.models.published import best_tag, is_downloaded
from nextvit.tasks.settings import TaskSettings, require
from nextvit.tasks.task import get_task
from nextvit.train.recipe import Recipe
from nextvit.views.flips import describe_flips, resolve_flips
from nextvit.views.settings import Flipping

FEWEST_EPOCHS, MOST_EPOCHS = 10, 100
LR_FROM_SCRATCH, LR_FROM_WEIGHTS, LAYER_DECAY_FROM_WEIGHTS = 5e-4, 2e-4, 0.8


def resolve_recipe(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with epochs, weights, learning rates and the task's settings resolved. The batch size is resolved
    later, on the device (`nextvit.train.memory`), and what fits into `schedule.minutes` by a trial
    (`nextvit.train.plan`).

    Raises:
        InputError: the recipe is for another task, its fields contradict each other or the dataset, or its published
            weights were not downloaded yet.
    """
    task = get_task(dataset.task)
    if not isinstance(recipe.task, task.settings):
        raise InputError(
            f"this recipe is not for {task.name}, as the dataset {dataset.root} is; "
            f"take another --recipe, such as {task.recipe}"
        )
    canvas = recipe.preprocess()
    require(
        not canvas.padded or max(canvas.image_size) <= MAX_SIDE_PX,
        f"the longer side may have {MAX_SIDE_PX} px at most, as exported models take it, got {max(canvas.image_size)}; "
        "set data.longer_side or lower data.image_size",
    )
    schedule = recipe.schedule
    require(
        schedule.minutes == 0 or schedule.epochs == "auto",
        f"either the time or the epochs can be given, got schedule.minutes {schedule.minutes:g} and schedule.epochs "
        f"{schedule.epochs}; leave out one, or set epochs to auto",
    )
    has_length = schedule.epoch_steps == 0 or schedule.epochs != "auto" or schedule.minutes > 0
    require(has_length, "schedule.epoch_steps needs a number of epochs, got auto; pass one with --epochs")
    weights = resolve_weights(recipe)
    lr, layer_decay, epochs = recipe.optim.lr, recipe.optim.layer_decay, schedule.epochs
    if lr == "auto":
        lr = LR_FROM_SCRATCH if weights == "none" else LR_FROM_WEIGHTS
    if layer_decay == "auto":
        layer_decay = 1.0 if weights == "none" else LAYER_DECAY_FROM_WEIGHTS
    settings = task.resolve(recipe.task, dataset, image_size=recipe.data.image_size)
    settings = with_flips(settings, dataset.classes)
    if epochs == "auto" and not schedule.minutes:
        epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(task.images_seen / len(dataset.split("train")))))
    return replace(
        recipe,
        model=replace(recipe.model, weights=weights),
        task=settings,
        optim=replace(recipe.optim, lr=lr, layer_decay=layer_decay),
        schedule=replace(schedule, epochs=epochs),
    )


def with_flips(settings: TaskSettings, classes: tuple[str, ...]) -> TaskSettings:
    """The settings of a task with what flips do to classes with a side resolved, in the section that has flips."""
    resolved = {name: resolve_flips(section, classes) for name, section in flipping_sections(settings).items()}
    return replace(settings, **resolved) if resolved else settings  # pyright: ignore


def flipping_sections(settings: TaskSettings) -> dict[str, Flipping]:
    """The sections of a task's settings that flip views, by name."""
    return {name: section for name, section in vars(settings).items() if isinstance(section, Flipping)}


def describe_sides(asked: Recipe, resolved: Recipe, dataset: Dataset) -> str | None:
    """What flips do to classes with a side, in one line for people; None: there are no such classes."""
    after = flipping_sections(resolved.task)
    lines = (
        describe_flips(before, after[name], dataset.classes) for name, before in flipping_sections(asked.task).items()
    )
    return next((line for line in lines if line), None)


def resolve_weights(recipe: Recipe) -> str:
    """Resolve "published" to a tag. Nothing is downloaded: only a tag that is given by name is."""
    name, weights = recipe.model.name, recipe.model.weights
    require(
        weights != "given", "this recipe goes on from weights; pass a run, a file or a published tag with --weights"
    )
    if weights != "published":
        return weights
    tag = best_tag(name)
    if tag is None:
        return "none"
    if not is_downloaded(name, tag):
        raise InputError(
            f"the published weights of {name} are not on this machine yet; add --weights {tag} to download them "
            f"({4e-6 * cost(find_variant(name)).parameters:.0f} MB), or --weights none to start from scratch"
        )
    return tag


def describe_start(recipe: Recipe, dataset: Dataset) -> str:
    """The resolved recipe and the dataset in one line, for people."""
    counts = {name: len(samples) for name, samples in dataset.splits.items()}
    start = "from scratch" if recipe.model.weights == "none" else f"from {Path(recipe.model.weights).name}"
    data = get_task(dataset.task).describe_data(dataset, recipe.task)
    schedule = recipe.schedule
    steps = f" of {schedule.epoch_steps} steps" if schedule.epoch_steps else ""
    length = f"{schedule.minutes:g} min" if schedule.minutes else f"{recipe.epochs} epochs{steps}"
    return (
        f"{counts['train']} training and {counts['val']} validation images{data}, {len(dataset.classes)} classes; "
        f"{recipe.model.name} {start}, {length} in batches of {recipe.batch_size}"
    )
