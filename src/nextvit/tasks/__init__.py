"""Where model, data, loss and metric meet."""

from importlib import import_module

from nextvit.card import ModelCard, TaskName
from nextvit.data.folder import Dataset
from nextvit.errors import InputError
from nextvit.tasks.task import Task

TASKS: dict[TaskName, tuple[str, str]] = {
    # task: (module, class)
    "classification": ("nextvit.tasks.classification", "ClassificationTask"),
    "multilabel": ("nextvit.tasks.multilabel", "MultiLabelTask"),
}


def task_for(dataset: Dataset, card: ModelCard, *, label_smoothing: float = 0.0) -> Task:
    """The task that a model and its dataset share.

    Raises:
        InputError: they are of different tasks or classes.
    """
    if card.task != dataset.task:
        raise InputError(f"the model was trained for {card.task}, the dataset {dataset.root} is one for {dataset.task}")
    module, name = TASKS[card.task]
    return getattr(import_module(module), name)(dataset, card, label_smoothing=label_smoothing)
