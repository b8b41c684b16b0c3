"""The interface of a task, which connects model, data, losses and metrics. `nextvit.predictions` has the half without
torch.

The objects of the table are stateless; `objective` (training) and `evaluator` (scores) create objects for one dataset
and one card.
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
from nextvit.data.class_names import normalize_class_name
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
    "distillation": "nextvit.tasks.distillation:DistillationTask",
}
"""Lower rows are tried first when the layout of a dataset is recognised."""


def get_task(name: str) -> "Task":
    """The task of that name.

    Raises:
        InputError: there is none.
    """
    if name not in TASKS:
        raise InputError(f"unknown task {name!r}; {did_you_mean(name, TASKS)}")
    module, kind = TASKS[name].split(":")
    return getattr(import_module(module), kind)()


class Task(Protocol):
    """One row of the table."""

    name: str
    settings: type[TaskSettings]
    """The task-specific sections of a recipe."""
    recipe: str
    """Name of the default recipe."""
    class_score: str
    """Name of the score of a single class, for people."""
    images_seen: int
    """About how many images a training sees when the number of epochs is "auto"."""
    has_comparable_layers: bool
    """Whether the layers of its network can be compared one by one (`nextvit.backends.layers`)."""
    is_fp32_only: bool
    """Whether its deployment form can only compute in fp32 in PyTorch."""
    times_backbone_separately: bool
    """Whether a benchmark times its backbone separately, because the time of the rest depends on the contents of the
    images."""
    needs: str
    """What a dataset of the task must have, for messages."""
    needs_labels: bool
    """Whether its datasets have labels of any kind. Those without are read as such only where it is asked for, because
    any folder of images is one."""
    model_task: str
    """The task of the models that it trains, on their cards: mostly its own name."""

    # Data

    def recognises(self, root: Path) -> bool:
        """Whether the layout of a dataset is this task's, by a quick look at its files."""
        ...

    def read(self, root: Path, wanted: Sequence[str]) -> tuple[Dataset, list[Finding]]:
        """Read a dataset of this task, and collect what is wrong with it.

        Args:
            root: its folder or file.
            wanted: the splits to read, by their usual names: one alone, to score it, or several, train among them.

        Raises:
            InputError: it is not a dataset, or has no such split.
        """
        ...

    adapts: tuple[str, ...]
    """Tasks whose datasets may be read as this one's."""

    def adapt(self, dataset: Dataset) -> Dataset | None:
        """Convert a dataset of another task to this one; None where that task's datasets cannot be converted.

        Raises:
            InputError: this dataset lacks something, such as masks.
        """
        ...

    def check(self, dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
        """Read every file of a dataset once, and report what is wrong with it."""
        ...

    # Model

    def complete(self, dataset: Dataset, settings: Any, device: "torch.device") -> Dataset:
        """The dataset with what the settings add to it, such as the classes of a teacher; called once, with resolved
        settings.

        Raises:
            InputError: there is no such teacher.
        """
        ...

    def facts(self, dataset: Dataset) -> Facts:
        """The task's facts for the card of a model to be trained on a dataset."""
        ...

    def head(self, variant: str, settings: Any, dataset: Dataset) -> dict[str, Any]:
        """The fields of the heads' configuration; empty where there are none."""
        ...

    def build(self, card: ModelCard) -> "Network":
        """A newly initialised network of a card's architecture."""
        ...

    def deploy(self, model: "Network", card: ModelCard, *, dtype: "torch.dtype") -> "nn.Module":
        """A copy in deployment form: from the card's inputs to the outputs of its kind."""
        ...

    def training_inputs(self, card: ModelCard) -> "tuple[Tensor, ...]":
        """Empty inputs of the network in training for one image of the largest size; on torch's current device."""
        ...

    def reference_outputs(self, model: "Network", card: ModelCard, inputs: Arrays) -> Arrays:
        """PyTorch's outputs for the graph's inputs, computed as in training: unfused, with normalisation outside of the
        network."""
        ...

    # Training

    def resolve(self, settings: Any, dataset: Dataset, *, image_size: int) -> Any:
        """The settings with every "auto" resolved by the dataset.

        Raises:
            InputError: they need something that the dataset does not have.
        """
        ...

    def describe_data(self, dataset: Dataset, settings: Any) -> str:
        """What else a training uses besides images, for people: "" or ", ..."."""
        ...

    def training_samples(self, dataset: Dataset, settings: Any) -> tuple[Dataset, Samples]:
        """The dataset to train on, and the samples to draw: its split train, and perhaps images without labels.

        Raises:
            InputError: the folder of images without labels does not exist.
        """
        ...

    def sampling_weights(self, dataset: Dataset, settings: Any) -> NDArray[np.float64] | None:
        """Weights (N,) with which images of the split train are sampled; None: each once in a pass."""
        ...

    def training_source(self, samples: Samples, dataset: Dataset, card: ModelCard, settings: Any) -> "TrainingSource":
        """Augmented views of samples, with their targets."""
        ...

    def objective(self, dataset: Dataset, card: ModelCard, settings: Any, device: "torch.device") -> "Objective":
        """The training objective.

        Raises:
            InputError: there is no such teacher.
        """
        ...

    def random_batch(
        self, card: ModelCard, settings: Any, *, images: int, device: "torch.device"
    ) -> "tuple[Tensor, BatchTargets]":
        """Random pixels (images, 3, H, W), float, 0..255, and targets of the largest size, to find the largest batch
        that fits into memory."""
        ...

    # Scores

    def evaluator(self, dataset: Dataset, card: ModelCard) -> "Evaluator":
        """An evaluator of predictions on a dataset.

        Raises:
            InputError: the dataset has other classes than the model.
        """
        ...

    def evaluation_card(self, card: ModelCard) -> ModelCard:
        """The card of the model with all outputs that its evaluation can use."""
        ...

    def write_evidence(self, run: Path, model: "Network", card: ModelCard, evaluation: "Evaluation") -> None:
        """Write explanations of single predictions into the run, where the task has any."""
        ...

    def report_sections(self, details: dict[str, Any]) -> list[Any]:
        """The sections (`nextvit.report.page.Markup`) of a page on an evaluation, from its details."""
        ...


class Objective(Protocol):
    """A training objective; targets are those of the task's own training source."""

    def mix(self, pixels: "Tensor", targets: Any, rng: np.random.Generator) -> "tuple[Tensor, Any]":
        """Augmentation of a whole batch, such as mixup, on its device: pixels (N, 3, H, W), float, 0..255."""
        ...

    def add_teacher_targets(self, pixels: "Tensor", targets: Any) -> Any:
        """The targets combined with a teacher's predictions for the mixed images, where there is a teacher, which has
        then finished on its device: its time is measured."""
        ...

    def losses(self, model: "nn.Module", pixels: "Tensor", targets: Any) -> "dict[str, Tensor]":
        """Named losses, means over the batch; their sum is minimised."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores on a split, with details. Values whose names end in `_score` are better when higher."""

    scores: dict[str, float]
    main_score: str
    """The name of the score by which the best checkpoint is chosen."""
    interval_95: tuple[float, float]
    """The 95 % confidence interval of the main score, given the number of images."""
    images: int
    details: dict[str, Any] = field(default_factory=dict)
    """Plain JSON values for reports: confusion matrix, scores of each class, the worst mistakes."""
    unreadable: list[str] = field(default_factory=list)
    """Messages about images that could not be read, and were not scored."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The part of an evaluation that this process computes, and how the parts are gathered."""

    index: int = 0
    count: int = 1
    gather: Callable[[Any], list[Any]] = lambda value: [value]
    """All-gather: every process gets the values of all processes, in order."""


WHOLE = Shard()


class Evaluator(Protocol):
    """Scores predictions on one dataset, for the model of one card."""

    card: ModelCard
    further_scores: tuple[str, ...]
    """Scores besides the main one whose drop by an export has the same bound."""

    def evaluate(self, predict: Predict, *, split: str = "val", shard: Shard = WHOLE) -> Evaluation:
        """Predict a split and score it, in the same way for a checkpoint and for every exported file.

        Args:
            predict: from the graph's inputs to its outputs.
            shard: this process's part, where several evaluate together.
        """
        ...

    def score(self, samples: Sequence[Sample], scorable: Scorable, unreadable: Sequence[str] = ()) -> Evaluation:
        """Score the reduced outputs (`PredictionKind.reduce`) of these samples."""
        ...

    def resampled_scores(
        self, samples: Sequence[Sample], scorable: Scorable, counts_NR: NDArray[np.int32]
    ) -> NDArray[np.floating[Any]]:
        """The main score of R bootstrap resamples (R,), in which sample n counts `counts_NR[n, r]` times; NaN where it
        is undefined."""
        ...


def make_evaluator(dataset: Dataset, card: ModelCard) -> Evaluator:
    """An evaluator for a model, on a dataset of its task or one that can be converted to it.

    Raises:
        InputError: model and dataset have different tasks, or the dataset has classes that the model does not have.
    """
    return get_task(card.task).evaluator(match_model(dataset, card), card)


def match_model(dataset: Dataset, card: ModelCard) -> Dataset:
    """The dataset as one of a model's task, with the model's classes; some may be without an image.

    Raises:
        InputError: they have different tasks, or the dataset has classes that the model does not have.
    """
    task = get_task(card.task)
    adapted = dataset if dataset.task == task.name else task.adapt(dataset)
    if adapted is None:
        raise InputError(f"the model was trained for {card.task}, the dataset {dataset.root} is one for {dataset.task}")
    if adapted.classes == card.classes:
        return adapted
    position = {normalize_class_name(name): label for label, name in enumerate(card.classes)}
    unknown = [name for name in adapted.classes if name not in position]
    if unknown:
        raise InputError(
            f"the model has {list_classes(card.classes)}, the dataset {dataset.root} has "
            f"{list_classes(adapted.classes)}; the model does not know {unknown[0]!r}"
        )
    category_ids = getattr(card.facts, "category_ids", ())
    return adapted.with_classes(card.classes, [position[name] for name in adapted.classes], category_ids)


def check_classes(dataset: Dataset, card: ModelCard) -> None:
    """Raise InputError where the dataset has other classes than the model."""
    if card.classes != dataset.classes:
        raise InputError(
            f"the model has {list_classes(card.classes)}, the dataset {dataset.root} has "
            f"{list_classes(dataset.classes)}"
        )


def list_classes(classes: tuple[str, ...]) -> str:
    """The number of classes and the first of them."""
    return f"{len(classes)} classes ({', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''})"
