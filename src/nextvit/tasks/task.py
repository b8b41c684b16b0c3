"""What a task is: where model, data, losses and metrics meet. `nextvit.predictions` has its half without torch.

The objects of the table are stateless; what a dataset and a card are needed for is made by `objective` (training) and
`evaluator` (scores).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import Facts
from nextvit.bundle.manifest import Arrays, Predict
from nextvit.check.check import Checked, Watch, unwatched
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.samples import Sample, Samples
from nextvit.errors import InputError, did_you_mean
from nextvit.predictions.kind import Scorable
from nextvit.tasks.settings import TaskSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nextvit.models.network import Network
    from nextvit.views.training_batches import BatchTargets, TrainingSource

TASKS: dict[str, str] = {
    # task: module:class
    "classification": "nextvit.tasks.classification:ClassificationTask",
    "multilabel": "nextvit.tasks.multilabel:MultiLabelTask",
    "detection": "nextvit.tasks.detection:DetectionTask",
    "segmentation": "nextvit.tasks.segmentation:SegmentationTask",
}
"""Rows further down are asked first whether a dataset is theirs."""


def get_task(name: str) -> "Task":
    """The task of that name; InputError where there is none."""
    if name not in TASKS:
        raise InputError(f"unknown task {name!r}; {did_you_mean(name, TASKS)}")
    module, kind = TASKS[name].split(":")
    return getattr(import_module(module), kind)()


class Task(Protocol):
    """One row of the table."""

    name: str
    settings: type[TaskSettings]
    """The sections of a recipe that are the task's own."""
    recipe: str
    """The name of the recipe that a dataset gets unless another is asked for."""
    class_score: str
    """What the score of a class is called."""
    images_seen: int
    """With "auto" for the number of epochs, about so many images are seen in a training."""
    has_comparable_layers: bool
    """Whether the layers of its network can be compared one by one (`nextvit.backends.layers`)."""
    is_fp32_only: bool
    """Whether PyTorch computes its deployment form in fp32 alone."""
    times_backbone_separately: bool
    """Whether a benchmark measures its backbone apart, because the time of the rest depends on what is on the
    images."""
    needs: str
    """What a dataset must have, for messages."""

    # Data

    def recognises(self, root: Path) -> bool:
        """Whether the layout of a dataset is this task's, at a glance."""
        ...

    def read(self, root: Path) -> tuple[Dataset, list[Finding]]:
        """What can be read of a dataset of this task, and what is wrong with it. InputError where it is no dataset."""
        ...

    adapts: tuple[str, ...]
    """Tasks whose datasets may be read as this one's."""

    def adapt(self, dataset: Dataset) -> Dataset | None:
        """A dataset of another task as one of this; None where it has not what that takes. InputError says what is
        missing."""
        ...

    def check(self, dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
        """Read every file of a dataset once, and say what is wrong with it."""
        ...

    # Model

    def facts(self, dataset: Dataset) -> Facts:
        """The task's facts for the card of a model that is to be trained."""
        ...

    def head(self, variant: str, settings: Any, dataset: Dataset) -> dict[str, Any]:
        """The fields of the heads' configuration; empty where there are none."""
        ...

    def build(self, card: ModelCard) -> "Network":
        """A fresh network of a card's architecture."""
        ...

    def deploy(self, model: "Network", card: ModelCard, *, dtype: "torch.dtype") -> "nn.Module":
        """A copy in deployment form: from the card's inputs to the outputs of its kind."""
        ...

    def training_inputs(self, card: ModelCard) -> "tuple[Tensor, ...]":
        """What the network takes in training for one image of the largest size; on torch's current device."""
        ...

    def reference_outputs(self, model: "Network", card: ModelCard, inputs: Arrays) -> Arrays:
        """What PyTorch puts out for the graph's inputs by the path of training: unfused, normalisation outside."""
        ...

    # Training

    def resolve(self, settings: Any, dataset: Dataset, *, image_size: int) -> Any:
        """The settings with every "auto" decided by the dataset.

        Raises:
            InputError: they ask for what the dataset has not.
        """
        ...

    def describe_data(self, dataset: Dataset, settings: Any) -> str:
        """What there is to learn from beside images, for people: nothing, or ", ..."."""
        ...

    def training_samples(self, dataset: Dataset, settings: Any) -> tuple[Dataset, Samples]:
        """The dataset to learn from, and what is drawn in training: its split train, and perhaps images without labels.

        Raises:
            InputError: there is no such folder of images.
        """
        ...

    def sampling_weights(self, dataset: Dataset, settings: Any) -> NDArray[np.float64] | None:
        """Weights (N,) in proportion to which images of the split train are drawn; None: each once in a pass."""
        ...

    def training_source(self, samples: Samples, dataset: Dataset, card: ModelCard, settings: Any) -> "TrainingSource":
        """Augmented views of samples, with their targets."""
        ...

    def objective(self, dataset: Dataset, card: ModelCard, settings: Any, device: "torch.device") -> "Objective":
        """What is minimised. InputError where there is no such teacher."""
        ...

    def random_batch(
        self, card: ModelCard, settings: Any, *, images: int, device: "torch.device"
    ) -> "tuple[Tensor, BatchTargets]":
        """Random pixels (images, 3, H, W), float, and targets, as large as a batch can be: to find out what memory
        holds."""
        ...

    # Scores

    def evaluator(self, dataset: Dataset, card: ModelCard) -> "Evaluator":
        """What scores predictions on a dataset. InputError where the dataset does not fit the model."""
        ...

    def evaluation_card(self, card: ModelCard) -> ModelCard:
        """The card of the model with all outputs that its evaluation can use."""
        ...

    def write_evidence(self, run: Path, model: "Network", card: ModelCard, evaluation: "Evaluation") -> None:
        """Leave in the run what explains single predictions, where the task can."""
        ...

    def report_sections(self, details: dict[str, Any]) -> list[Any]:
        """The sections (`nextvit.report.page.Markup`) of a page on an evaluation, from its details."""
        ...


class Objective(Protocol):
    """What a training minimises; targets are those of the task's own training source."""

    def mix(self, pixels: "Tensor", targets: Any, rng: np.random.Generator) -> "tuple[Tensor, Any]":
        """A batch after what is done to it as a whole, on its device: pixels (N, 3, H, W), float, 0..255."""
        ...

    def add_teacher_targets(self, pixels: "Tensor", targets: Any) -> Any:
        """The targets after a teacher, if there is one, has predicted the mixed images."""
        ...

    def losses(self, model: "nn.Module", pixels: "Tensor", targets: Any) -> "dict[str, Tensor]":
        """Named losses, means over the batch; their sum is minimised."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores on a split, with what they are made of. Values that end in `_score` are better when higher."""

    scores: dict[str, float]
    main_score: str
    """The one of `scores` by which the best checkpoint is chosen."""
    interval_95: tuple[float, float]
    """The 95 % confidence interval of the main score, given the number of images."""
    images: int
    details: dict[str, Any] = field(default_factory=dict)
    """Plain JSON values for reports: confusion matrix, scores of each class, the worst mistakes."""
    unreadable: list[str] = field(default_factory=list)
    """Messages of images that could not be read, and so were not scored."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which part of an evaluation this process takes, and how the parts come together."""

    index: int = 0
    count: int = 1
    gather: Callable[[Any], list[Any]] = lambda value: [value]
    """The values of all processes, in order, given to each of them."""


WHOLE = Shard()


class Evaluator(Protocol):
    """Scores predictions on one dataset, for the model of one card."""

    card: ModelCard
    further_scores: tuple[str, ...]
    """Scores besides the main one that an export may not cost more than it may cost that."""

    def evaluate(self, predict: Predict, *, split: str = "val", shard: Shard = WHOLE) -> Evaluation:
        """Predict a split and score it, the same for a checkpoint and for every exported file; each of several
        processes predicts its shard."""
        ...

    def score(self, samples: Sequence[Sample], scorable: Scorable, unreadable: Sequence[str] = ()) -> Evaluation:
        """The second half: scores of what was predicted for these samples."""
        ...

    def resampled_scores(
        self, samples: Sequence[Sample], scorable: Scorable, counts_NR: NDArray[np.int32]
    ) -> NDArray[np.floating[Any]]:
        """The main score of resamples (R,) in which sample n counts `counts_NR[n, r]` times; NaN where there is
        none."""
        ...


def make_evaluator(dataset: Dataset, card: ModelCard) -> Evaluator:
    """The evaluator of a model on a dataset of its task, or of one that can be read as such.

    Raises:
        InputError: they are of different tasks or classes.
    """
    task = get_task(card.task)
    adapted = dataset if dataset.task == task.name else task.adapt(dataset)
    if adapted is None:
        raise InputError(f"the model was trained for {card.task}, the dataset {dataset.root} is one for {dataset.task}")
    return task.evaluator(adapted, card)


def check_classes(dataset: Dataset, card: ModelCard) -> None:
    """Raise InputError where the dataset has other classes than the model."""
    if card.classes != dataset.classes:
        raise InputError(
            f"the model knows {list_classes(card.classes)}, the dataset {dataset.root} has "
            f"{list_classes(dataset.classes)}"
        )


def list_classes(classes: tuple[str, ...]) -> str:
    """The number of classes and the first of them."""
    return f"{len(classes)} classes ({', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''})"
