"""Distillation: a classifier that learns from a teacher alone, on images without labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import Facts, NoFacts
from nextvit.check.check import Checked, Watch, check_unlabelled, unwatched
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.samples import Samples
from nextvit.data.shards import CONTENTS, read_contents
from nextvit.data.unlabelled import read_unlabelled
from nextvit.errors import InputError
from nextvit.tasks.classifier import ClassifierTask
from nextvit.tasks.settings import DistillationSettings, require
from nextvit.tasks.task import Evaluation, Evaluator, Objective

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nextvit.models.network import Network
    from nextvit.tasks.teacher import Teacher
    from nextvit.views.labelled_source import LabelledSource, LabelTargets, Rows


@dataclass(frozen=True, kw_only=True)
class TaughtDataset(Dataset):
    """Images without labels, with the classes of a teacher."""

    teacher: "Teacher"


class DistillationTask(ClassifierTask):
    """What a teacher predicts for images without labels. The models are classifiers with the teacher's classes."""

    name = "distillation"
    model_task = "classification"
    settings = DistillationSettings
    recipe = "distill"
    class_score = "agreement"
    needs = "it takes any folder of images, a CSV file with the column path, or shards of either"
    needs_labels = False

    def recognises(self, root: Path) -> bool:
        """Only shards say that their images have no labels."""
        return (root / CONTENTS).is_file() and read_contents(root / CONTENTS).task == self.name

    def read(self, root: Path, wanted: Sequence[str]) -> tuple[Dataset, list[Finding]]:
        findings: list[Finding] = []
        return read_unlabelled(root, findings, wanted, task=self.name), findings

    def check(self, dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
        return check_unlabelled(dataset, watch=watch)

    def resolve(self, settings: DistillationSettings, dataset: Dataset, *, image_size: int) -> DistillationSettings:
        require(
            settings.distill.teacher != "none",
            f"{dataset.root}: images without labels need a teacher; pass a run, a bundle, an ONNX file or timm:NAME "
            "with --teacher",
        )
        resize = "crop" if settings.data.resize == "auto" else settings.data.resize
        return replace(settings, data=replace(settings.data, resize=resize))

    def complete(self, dataset: Dataset, settings: DistillationSettings, device: "torch.device") -> TaughtDataset:
        """The dataset with its teacher and the teacher's classes, which are numbered where their names are not known.

        Raises:
            InputError: there is no such teacher, or it has no single class for each image.
        """
        from nextvit.tasks.teacher import open_teacher

        teacher = open_teacher(settings.distill.teacher, settings.onnx_teacher, device)
        if teacher.task not in (None, self.model_task):
            raise InputError(
                f"the teacher {teacher.source} is a model for {teacher.task}; without labels a model for "
                f"{self.model_task} teaches"
            )
        classes = teacher.classes or tuple(f"class {number}" for number in range(teacher.num_classes))
        fields = {name: value for name, value in vars(dataset).items() if name != "computed"}
        return TaughtDataset(**{**fields, "classes": classes}, teacher=teacher)

    def facts(self, dataset: Dataset) -> Facts:
        return NoFacts()

    def describe_data(self, dataset: Dataset, settings: DistillationSettings) -> str:
        return f" without labels, taught by {settings.distill.teacher}"

    def training_samples(self, dataset: Dataset, settings: DistillationSettings) -> tuple[Dataset, Samples]:
        return dataset, dataset.split("train")

    def sampling_weights(self, dataset: Dataset, settings: DistillationSettings) -> NDArray[np.float64] | None:
        return None

    def training_source(
        self, samples: Samples, dataset: Dataset, card: ModelCard, settings: DistillationSettings
    ) -> "LabelledSource":
        from nextvit.views.label_view import build_view
        from nextvit.views.labelled_source import LabelledSource

        view_of = build_view(settings.augment, image_size=card.input.image_size)
        return LabelledSource(samples, view_of, len(card.classes), unchanged, num_labelled=0)

    def objective(
        self, dataset: Dataset, card: ModelCard, settings: DistillationSettings, device: "torch.device"
    ) -> Objective:
        from nextvit.tasks.distillation_objective import Distil

        assert isinstance(dataset, TaughtDataset)
        return Distil(card, settings, dataset.teacher)

    def random_batch(
        self, card: ModelCard, settings: DistillationSettings, *, images: int, device: "torch.device"
    ) -> "tuple[Tensor, LabelTargets]":
        from nextvit.tasks.distillation_objective import TaughtTargets

        pixels, targets = super().random_batch(card, settings, images=images, device=device)
        return pixels, TaughtTargets(targets.rows, targets.labelled, card.input.image_size)

    def evaluator(self, dataset: Dataset, card: ModelCard) -> Evaluator:
        from nextvit.tasks.distillation_evaluation import DistillationEvaluator

        assert isinstance(dataset, TaughtDataset)
        return DistillationEvaluator(dataset, card, dataset.teacher)

    def write_evidence(self, run: Path, model: "Network", card: ModelCard, evaluation: Evaluation) -> None:
        """Write nothing: the page of the run shows where student and teacher differ."""

    def report_sections(self, details: dict[str, Any]) -> list[Any]:
        from nextvit.report import distillation_sections as sections

        return [sections.divergence(details), sections.differences(details)]


def unchanged(rows: "Rows") -> "Rows":
    """Rows of targets as they are: those of images without labels are 0, and there is nothing to smooth."""
    return rows
