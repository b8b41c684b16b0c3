"""Recipes: functions that return a `Recipe`. Their docstrings state the command, the cost and the expected score."""

from collections.abc import Callable

from nextvit.errors import InputError, did_you_mean
from nextvit.recipes.ade20k import ade20k_fpn_80k, ade20k_upernet_160k
from nextvit.recipes.coco import coco_1x, coco_3x
from nextvit.recipes.distill import distill
from nextvit.recipes.finetune import finetune, finetune_detection, finetune_segmentation
from nextvit.recipes.imagenet import imagenet, imagenet_384, imagenet_published
from nextvit.recipes.smoke import smoke
from nextvit.train.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "finetune": finetune,
    "finetune_detection": finetune_detection,
    "finetune_segmentation": finetune_segmentation,
    "distill": distill,
    "smoke": smoke,
    "imagenet": imagenet,
    "imagenet_published": imagenet_published,
    "imagenet_384": imagenet_384,
    "coco_1x": coco_1x,
    "coco_3x": coco_3x,
    "ade20k_fpn_80k": ade20k_fpn_80k,
    "ade20k_upernet_160k": ade20k_upernet_160k,
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}; {did_you_mean(name, RECIPES)}")
    return RECIPES[name]()
