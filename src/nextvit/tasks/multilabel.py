"""Multi-label classification: any number of classes for each image."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DEFAULT_THRESHOLD, Facts, MultiLabelFacts
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.reading import has_several_labels, read_labelled
from nextvit.data.samples import Samples
from nextvit.tasks.classification import LabelTask, check_distillation, require_off
from nextvit.tasks.multilabel_evaluation import MultiLabelEvaluator
from nextvit.tasks.settings import LabelSettings
from nextvit.tasks.task import Evaluator, Objective

if TYPE_CHECKING:
    import torch

    from nextvit.views.labelled_source import LabelledSource


class MultiLabelTask(LabelTask):
    """Any number of classes for each image."""

    name = model_task = "multilabel"
    class_score = "average precision"
    needs = "it takes a CSV file with the columns path,labels, or shards of one"

    def recognises(self, root: Path) -> bool:
        return has_several_labels(root)

    def read(self, root: Path, wanted: Sequence[str]) -> tuple[Dataset, list[Finding]]:
        findings: list[Finding] = []
        return read_labelled(root, findings, wanted, task=self.name, one_label=False), findings

    def facts(self, dataset: Dataset) -> Facts:
        return MultiLabelFacts(thresholds=(DEFAULT_THRESHOLD,) * len(dataset.classes))

    def resolve(self, settings: LabelSettings, dataset: Dataset, *, image_size: int) -> LabelSettings:
        data = settings.data
        require_off(data.balance, dataset)
        check_distillation(settings)
        return replace(
            settings, data=replace(data, balance="off", resize="crop" if data.resize == "auto" else data.resize)
        )

    def training_source(
        self, samples: Samples, dataset: Dataset, card: ModelCard, settings: LabelSettings
    ) -> "LabelledSource":
        """Augmented views. Smoothing moves each target towards one half: present and absent are two outcomes."""
        return self.labelled_source(samples, dataset, card, settings, spread_over=2)

    def objective(
        self, dataset: Dataset, card: ModelCard, settings: LabelSettings, device: "torch.device"
    ) -> Objective:
        from nextvit.tasks.label_objective import BinaryCrossEntropy

        return BinaryCrossEntropy(card, settings, device)

    def evaluator(self, dataset: Dataset, card: ModelCard) -> Evaluator:
        return MultiLabelEvaluator(dataset, card)
