"""Recipes: functions that return a `Recipe`. The docstring is the command, the cost and the expected score."""

from collections.abc import Callable

from nextvit.errors import InputError, did_you_mean
from nextvit.recipes.finetune import finetune
from nextvit.recipes.imagenet import imagenet, imagenet_384, imagenet_published
from nextvit.recipes.smoke import smoke
from nextvit.train.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "finetune": finetune,
    "smoke": smoke,
    "imagenet": imagenet,
    "imagenet_published": imagenet_published,
    "imagenet_384": imagenet_384,
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name."""
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}; {did_you_mean(name, RECIPES)}")
    return RECIPES[name]()
