"""Where a recipe's fields get their values: flags, then --config FILE.yaml, then the recipe or the run to resume."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.files.run_folder import RECIPE, is_run

if TYPE_CHECKING:
    from nextvit.bundle.card import TaskName

DATASET = "dataset"


def recipe_settings(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in what the command line left open; cyclopts checks names and types, whatever they come from."""
    if commands != ("train",):
        return
    layers: list[tuple[str, dict[str, Any]]] = []
    if config := given(arguments, "--config"):
        layers.append((config, sections_of(Path(config))))
    out = given(arguments, "--out")
    resumed = Path(out or "") / RECIPE
    if given(arguments, "--resume") is not None and resumed.is_file():
        layers.append((str(resumed), sections_of(resumed)))
    else:
        from nextvit.recipes import default_recipe, recipe_named

        as_masks = "segmentation" in (given(arguments, "--task"), given(arguments, "--data.task"))
        task = "segmentation" if as_masks else task_at(given(arguments, "DATASET"))
        name = given(arguments, "--recipe") or default_recipe(task)
        layers.append((f"recipe {name}", to_plain(recipe_named(name))))
    for source, values in layers:
        Dict(values, source=source, use_commands_as_keys=False)(app, commands, arguments)


def task_at(dataset: str | None) -> "TaskName":
    """Which kind of recipe a dataset calls for, by a glance: a missing or broken one is judged later."""
    from nextvit.data.coco import is_coco
    from nextvit.data.masks_folder import is_masks_folder

    if dataset and is_masks_folder(Path(dataset)):
        return "segmentation"
    return "detection" if dataset and is_coco(Path(dataset)) else "classification"


def given(arguments: ArgumentCollection, flag: str) -> str | None:
    """The value of a flag on the command line, if it is there."""
    values = [token.value or "" for argument in arguments if argument.name == flag for token in argument.tokens]
    return values[0] if values else None


def sections_of(path: Path) -> dict[str, Any]:
    """The sections of a recipe file; where a run's dataset lay is not one of them."""
    return {name: fields for name, fields in read_recipe(path).items() if name != DATASET}


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


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe file as it is: sections with fields, and in a run's own the path of its dataset."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected sections such as 'optim:' with fields, got {type(values).__name__}")
    return values
