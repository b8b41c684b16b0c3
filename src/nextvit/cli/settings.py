"""Where a recipe's fields get their values: flags, then --config FILE.yaml, then the recipe or the run to resume."""

from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from nextvit.errors import InputError
from nextvit.records import to_plain


def recipe_settings(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in what the command line left open; cyclopts checks names and types, whatever they come from."""
    if commands != ("train",):
        return
    layers: list[tuple[str, dict[str, Any]]] = []
    if config := given(arguments, "--config"):
        layers.append((config, read_yaml(Path(config))))
    out = given(arguments, "--out")
    resumed = Path(out or "") / "recipe.yaml"
    if given(arguments, "--resume") is not None and resumed.is_file():
        layers.append((str(resumed), read_yaml(resumed)))
    else:
        from nextvit.recipes import recipe_named

        name = given(arguments, "--recipe") or "finetune"
        layers.append((f"recipe {name}", to_plain(recipe_named(name))))
    for source, values in layers:
        Dict(values, source=source, use_commands_as_keys=False)(app, commands, arguments)


def given(arguments: ArgumentCollection, flag: str) -> str | None:
    """The value of a flag on the command line, if it is there."""
    values = [token.value or "" for argument in arguments if argument.name == flag for token in argument.tokens]
    return values[0] if values else None


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a recipe file; where a run's dataset lay is not one of them. None stands for "not set"."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected sections such as 'optim:' with fields, got {type(values).__name__}")
    values.pop("dataset", None)
    return values


def read_dataset_path(model: Path) -> Path:
    """Where the dataset of a run lies, as its recipe.yaml says."""
    import yaml

    if not (model / "recipe.yaml").is_file():
        raise InputError(f"{model}: knows no dataset; pass real images with --data")
    path = Path(yaml.safe_load((model / "recipe.yaml").read_text(encoding="utf-8"))["dataset"])
    if not path.exists():
        raise InputError(f"{model}: its dataset is no longer at {path}; pass real images with --data")
    return path
