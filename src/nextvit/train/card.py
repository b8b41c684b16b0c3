"""The card of the model that is to be trained."""

from dataclasses import replace
from pathlib import Path

from nextvit.bundle.card import ModelCard
from nextvit.data.dataset import Dataset
from nextvit.files.records import to_plain
from nextvit.files.run_folder import find_best_weights, is_run
from nextvit.machine.environment import strip_folder
from nextvit.models.create import find_variant
from nextvit.models.published import LICENCE, TAGS
from nextvit.models.weights import read_state
from nextvit.tasks.task import get_task
from nextvit.train.recipe import Recipe


def build_card(dataset: Dataset, recipe: Recipe) -> ModelCard:
    """The card of the model to be trained.

    Args:
        recipe: resolved (`nextvit.train.resolve`).

    Raises:
        InputError: the recipe has heads for which the dataset has no targets.
    """
    task, settings = get_task(dataset.task), recipe.model
    architecture = find_variant(settings.name)
    if settings.drop_path is not None:
        architecture = replace(architecture, drop_path=settings.drop_path)
    card = ModelCard(
        task=task.model_task,
        classes=dataset.classes,
        input=recipe.preprocess(),
        variant=settings.name,
        architecture=to_plain(architecture),
        pretrained=None if settings.weights == "none" else strip_folder(settings.weights),
        head=task.head(settings.name, recipe.task, dataset),
        facts=task.facts(dataset),
    )
    licence = find_licence(settings.weights)
    return replace(card, weights_licence=licence) if licence else card


def find_licence(weights: str) -> str | None:
    """The licence of the weights that training starts from, where it is known."""
    if weights in TAGS:
        return f"started from weights under {LICENCE}"
    source = find_best_weights(Path(weights)) if is_run(Path(weights)) else Path(weights)
    card = read_state(source)[1] if weights != "none" and source.is_file() else None
    return card.weights_licence if card else None
