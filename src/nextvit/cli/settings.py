"""Where a recipe's fields get their values: flags, then --config FILE.yaml, then the recipe or the run to resume."""

from pathlib import Path

from nextvit.errors import InputError
from nextvit.files.run_folder import RECIPE, is_run, read_recipe
from nextvit.train.recipe import Recipe
from nextvit.train.recipe_sections import Sections, from_sections, merge_sections, read_sections, to_sections

DATASET = "dataset"


def build_recipe(task: str, flags: Sections, *, name: str | None, config: Path | None, resumed: Path | None) -> Recipe:
    """The recipe that a command line asks for.

    Args:
        task: of the dataset.
        flags: the fields that were given as flags.
        name: of the recipe to start from; None: the task's own.
        config: a YAML file with sections and fields.
        resumed: the run to go on with, whose recipe stands in for that of `name`.

    Raises:
        InputError: no such recipe or file, or a field that the task does not have, by name.
    """
    if resumed is not None and is_run(resumed):
        base = file_sections(task, resumed / RECIPE)
        from_sections(task, base, source=str(resumed / RECIPE))
    else:
        base = to_sections(named_recipe(task, name))
    configured = file_sections(task, config) if config else {}
    # Each source by itself, so that a message says where a value is from.
    for source, sections in (("--config " + str(config), configured), ("the command line", flags)):
        from_sections(task, sections, source=source)
    merged: Sections = {}
    for sections in (base, configured, flags):
        merged = merge_sections(merged, other_length(sections), sections)
    return from_sections(task, merged, source="the recipe")


def other_length(sections: Sections) -> Sections:
    """What the minutes or epochs of some sections undo in those before them."""
    schedule = sections.get("schedule", {})
    if schedule.get("minutes"):
        return {"schedule": {"epochs": "auto", "patience": 0}}  # the user wants this time, not less
    return {"schedule": {"minutes": 0.0}} if "epochs" in schedule else {}


def named_recipe(task: str, name: str | None) -> Recipe:
    """The recipe of that name, or the task's own; InputError where it is one of another task."""
    from nextvit.recipes import get_recipe
    from nextvit.tasks.task import TASKS, get_task

    wanted = get_task(task)
    recipe = get_recipe(name or wanted.recipe)
    if not isinstance(recipe.task, wanted.settings):
        others = [each for each in map(get_task, TASKS) if isinstance(recipe.task, each.settings)]
        adapted = "".join(f", or pass --task {each.name}" for each in others if task in each.adapts)
        raise InputError(
            f"the recipe {name} is for {' and '.join(each.name for each in others)}, and the dataset for {task}; "
            f"take {wanted.recipe}{adapted}"
        )
    return recipe


def task_of_recipe(name: str | None) -> str | None:
    """The task of a recipe for images without labels, which no layout of a dataset can say; None for other recipes."""
    from nextvit.recipes import get_recipe
    from nextvit.tasks.task import TASKS, get_task

    settings = type(get_recipe(name).task) if name else None
    tasks = [task for task in map(get_task, TASKS) if not task.needs_labels]
    return next((task.name for task in tasks if task.settings is settings), None)


def file_sections(task: str, path: Path) -> Sections:
    """The sections of a recipe file; where a run's dataset lay is not one of them."""
    values = read_recipe(path)
    of_run = DATASET in values
    return read_sections(task, {name: each for name, each in values.items() if name != DATASET}, of_run=of_run)


def dataset_of(run: Path) -> Path:
    """Where the dataset of a run lies, as its recipe.yaml says; InputError where that is not known or no longer so."""
    if not is_run(run):
        raise InputError(f"{run}: knows no dataset; pass real images with --data")
    path = read_recipe(run / RECIPE).get(DATASET)
    if not isinstance(path, str):
        raise InputError(f"{run / RECIPE}: does not say where its dataset is; pass real images with --data")
    if not Path(path).exists():
        raise InputError(f"{run}: its dataset is no longer at {path}; pass real images with --data")
    return Path(path)
