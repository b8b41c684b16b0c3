"""Load watchers, which follow a training: TensorBoard, W&B, MLflow, or your own function. See docs/watching.md."""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nextvit.errors import InputError, did_you_mean
from nextvit.train.recipe import Recipe

if TYPE_CHECKING:
    from nextvit.train.loop import Tick, Watch

Factory = Callable[[Path, Recipe], "Watch"]
"""Makes a watcher for a run's folder and its recipe. The folder may not exist before the first tick."""


def load_watch(name: str, run: Path, recipe: Recipe) -> "Watch":
    """The watcher of a factory "module:factory"; modules are also found in the current folder.

    Raises:
        InputError: there is no such module or factory, a package that the module needs is missing, or the factory does
            not return a function.
        MissingDependency: the extra of one of our own factories is not installed.
    """
    module_name, colon, factory_name = name.partition(":")
    if not (module_name and colon and factory_name):
        raise InputError(f"a watcher is named module:factory, such as nextvit.train.tensorboard:watch; got {name!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise InputError(
                f"no module {missing!r} here or among the installed packages, for watcher {name!r}"
            ) from None
        raise InputError(f"watcher {name!r} needs the package {missing!r}, which is not installed") from None
    factory: Factory | None = getattr(module, factory_name, None)
    if not callable(factory):
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module_name]
        raise InputError(f"{module_name} has no function {factory_name!r}; {did_you_mean(factory_name, own)}")
    watch = factory(run, recipe)
    if not callable(watch):
        raise InputError(f"{name} must return a function that takes a Tick, it returned {type(watch).__name__}")
    return watch


def combine_watchers(watches: "Sequence[Watch]") -> "Watch":
    """One watcher that calls several, in order."""

    def watch(tick: "Tick") -> None:
        for each in watches:
            each(tick)

    return watch
