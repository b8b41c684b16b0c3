"""Where model, data, loss and metric meet."""

from importlib import import_module

from nextvit.bundle.card import ModelCard, TaskName
from nextvit.data.reading import Dataset, objects_as_masks
from nextvit.errors import InputError
from nextvit.tasks.task import UNSMOOTHED, Loss, Task

TASKS: dict[TaskName, tuple[str, str]] = {
    # task: (module, class)
    "classification": ("nextvit.tasks.classification", "ClassificationTask"),
    "multilabel": ("nextvit.tasks.multilabel", "MultiLabelTask"),
    "detection": ("nextvit.tasks.detection", "DetectionTask"),
    "segmentation": ("nextvit.tasks.segmentation", "SegmentationTask"),
}


def task_for(dataset: Dataset, card: ModelCard, *, loss: Loss = UNSMOOTHED) -> Task:
    """The task that a model and its dataset share, and for training what is minimised.

    A segmentation model takes annotated objects as the masks that it may have learnt from.

    Raises:
        InputError: they are of different tasks or classes.
    """
    if card.task == "segmentation" and dataset.task == "detection":
        dataset = objects_as_masks(dataset)
    if card.task != dataset.task:
        raise InputError(f"the model was trained for {card.task}, the dataset {dataset.root} is one for {dataset.task}")
    module, name = TASKS[card.task]
    return getattr(import_module(module), name)(dataset, card, loss=loss)
