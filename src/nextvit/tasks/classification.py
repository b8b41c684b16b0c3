"""Image classification: one class for each image."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import Facts, NoFacts
from nextvit.check.check import Checked, Watch, check_labelled, unwatched
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.image_files import list_images
from nextvit.data.reading import read_labelled
from nextvit.data.samples import Samples
from nextvit.errors import InputError, suggest_path
from nextvit.tasks.classification_evaluation import ClassificationEvaluator
from nextvit.tasks.classifier import ClassifierTask
from nextvit.tasks.settings import LabelSettings, require
from nextvit.tasks.task import Evaluation, Evaluator, Objective
from nextvit.views.flips import exchanged_by_flips

if TYPE_CHECKING:
    import torch

    from nextvit.models.network import Network
    from nextvit.views.labelled_source import LabelledSource, Rows

IMBALANCE_RATIO = 10
"""Ratio of the largest to the smallest class from which "auto" balances, and `nextvit check` warns."""


class LabelTask(ClassifierTask):
    """Common base of classification and multi-label classification: images with labels, and perhaps a teacher."""

    settings = LabelSettings
    recipe = "finetune"
    needs_labels = True

    def check(self, dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
        return check_labelled(dataset, watch=watch)

    def describe_data(self, dataset: Dataset, settings: LabelSettings) -> str:
        return ", drawn with balanced classes" if settings.data.balance == "on" else ""

    def training_samples(self, dataset: Dataset, settings: LabelSettings) -> tuple[Dataset, Samples]:
        labelled = dataset.split("train")
        if settings.distill.unlabelled == "none":
            return dataset, labelled
        folder = Path(settings.distill.unlabelled)
        further = list_images(folder) if folder.is_dir() else []
        if not further:
            raise InputError(f"distill.unlabelled {folder}: no folder with images{suggest_path(folder)}")
        return dataset, labelled.concat(Samples.pack((path, ()) for path in further))

    def sampling_weights(self, dataset: Dataset, settings: LabelSettings) -> NDArray[np.float64] | None:
        if settings.data.balance != "on":
            return None
        return balancing_weights(dataset.split("train").labels(), len(dataset.classes))

    def labelled_source(
        self, samples: Samples, dataset: Dataset, card: ModelCard, settings: LabelSettings, *, spread_over: int
    ) -> "LabelledSource":
        """Augmented views with smoothed targets.

        Args:
            spread_over: number of outcomes over which the smoothing spreads its mass.
        """
        from nextvit.views.label_view import build_view
        from nextvit.views.labelled_source import LabelledSource

        return LabelledSource(
            samples,
            build_view(settings.augment, image_size=card.input.image_size),
            len(card.classes),
            partial(smooth_labels, smoothing=settings.loss.label_smoothing, outcomes=spread_over),
            num_labelled=len(dataset.split("train")),
            exchanged=exchanged_by_flips(settings.augment, card.classes),
        )

    def write_evidence(self, run: Path, model: "Network", card: ModelCard, evaluation: Evaluation) -> None:
        """Write nothing: a set of labels has no single heatmap."""

    def report_sections(self, details: dict[str, Any]) -> list[Any]:
        from nextvit.report import classification_sections as sections
        from nextvit.report.label_table import label_section

        return [
            sections.confused_pairs(details),
            sections.confusion(details),
            sections.class_table(details),
            label_section(details),
            sections.calibration(details),
        ]


class ClassificationTask(LabelTask):
    """One class for each image."""

    name = model_task = "classification"
    class_score = "accuracy"
    needs = "it takes train/<class>/*.jpg, a CSV file or shards"

    def recognises(self, root: Path) -> bool:
        return True

    def read(self, root: Path, wanted: Sequence[str]) -> tuple[Dataset, list[Finding]]:
        findings: list[Finding] = []
        return read_labelled(root, findings, wanted, task=self.name, one_label=True), findings

    def facts(self, dataset: Dataset) -> Facts:
        return NoFacts()

    def resolve(self, settings: LabelSettings, dataset: Dataset, *, image_size: int) -> LabelSettings:
        check_distillation(settings)
        counts = dataset.split("train").counts(len(dataset.classes))
        data = settings.data
        if data.balance == "auto":
            data = replace(data, balance="on" if counts.max() >= IMBALANCE_RATIO * max(1, counts.min()) else "off")
        return replace(settings, data=replace(data, resize="crop" if data.resize == "auto" else data.resize))

    def training_source(
        self, samples: Samples, dataset: Dataset, card: ModelCard, settings: LabelSettings
    ) -> "LabelledSource":
        return self.labelled_source(samples, dataset, card, settings, spread_over=len(card.classes))

    def objective(
        self, dataset: Dataset, card: ModelCard, settings: LabelSettings, device: "torch.device"
    ) -> Objective:
        from nextvit.tasks.label_objective import CrossEntropy

        return CrossEntropy(card, settings, device)

    def evaluator(self, dataset: Dataset, card: ModelCard) -> Evaluator:
        return ClassificationEvaluator(dataset, card)

    def write_evidence(self, run: Path, model: "Network", card: ModelCard, evaluation: Evaluation) -> None:
        from nextvit.models.classification import Classifier
        from nextvit.tasks.heatmaps import write_heatmaps

        assert isinstance(model, Classifier)
        write_heatmaps(run, model, card, evaluation)


def smooth_labels(rows: "Rows", *, smoothing: float, outcomes: int) -> "Rows":
    """Label smoothing (Szegedy et al., arXiv:1512.00567): a part of the mass of rows of 0 and 1 is spread over
    `outcomes` outcomes."""
    return (1 - smoothing) * rows + np.float32(smoothing / outcomes)


def balancing_weights(labels: NDArray[np.int32], num_classes: int) -> NDArray[np.float64]:
    """Sampling weights (N,) with which classes are drawn in proportion to the square root of their size.

    This is halfway between the original frequencies and equal ones, with which the model would memorise small classes
    (Mahajan et al., arXiv:1805.00932, section 2.2).

    Args:
        labels: (N,), the class of each sample.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return (1 / np.sqrt(np.maximum(1, counts)))[labels]


def check_distillation(settings: LabelSettings) -> None:
    """Raise InputError where there are unlabelled images but no teacher."""
    require(
        settings.distill.unlabelled == "none" or settings.distill.teacher != "none",
        "distill.unlabelled needs a teacher to label it; pass --teacher",
    )


def require_off(balance: str, dataset: Dataset) -> None:
    """Raise InputError where classes are to be balanced, but images have several."""
    if balance == "on":
        raise InputError(
            f"data.balance needs one class for each image; those of {dataset.root} have several, set it to off"
        )
