"""The training objective of classifiers: cross-entropy against soft targets, with mixing and distillation."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from nextvit.bundle.card import ModelCard
from nextvit.models.deployed import normalise
from nextvit.tasks.settings import LabelSettings
from nextvit.tasks.teacher import load_teacher, wait_for
from nextvit.views.labelled_source import LabelTargets
from nextvit.views.mix import mix_batch


class LabelObjective:
    """Mixing and distillation; subclasses define the loss."""

    probabilities: Callable[[Tensor], Tensor]
    """From logits (N, classes) to probabilities."""

    def __init__(self, card: ModelCard, settings: LabelSettings, device: torch.device) -> None:
        self.card, self.settings = card, settings
        source, stated = settings.distill.teacher, settings.onnx_teacher
        self.teacher = None if source == "none" else load_teacher(source, card, self.probabilities, device, stated)

    def mix(self, pixels: Tensor, targets: LabelTargets, rng: np.random.Generator) -> tuple[Tensor, LabelTargets]:
        classes = targets.rows.shape[1]
        both = torch.cat([targets.rows, targets.labelled], dim=1)
        pixels, both = mix_batch(pixels, both, self.settings.mix, rng)
        return pixels, LabelTargets(*both.split([classes, 1], dim=1))

    def add_teacher_targets(self, pixels: Tensor, targets: LabelTargets) -> LabelTargets:
        if self.teacher is None:
            return targets
        predicted = self.teacher(pixels)
        wait_for(predicted.device)
        rows = distil_targets(targets.rows, targets.labelled, predicted, weight=self.settings.distill.weight)
        return LabelTargets(rows, targets.labelled)


class CrossEntropy(LabelObjective):
    """The objective of classification."""

    probabilities = staticmethod(partial(torch.softmax, dim=1))

    def losses(self, model: nn.Module, pixels: Tensor, targets: LabelTargets) -> dict[str, Tensor]:
        logits = model(normalise(pixels, self.card.input))
        return {"cross_entropy": cross_entropy(logits.float(), targets.rows)}


class BinaryCrossEntropy(LabelObjective):
    """The objective of multi-label classification: the mean over images and classes, so that the same learning rate
    suits 5 classes and 500."""

    probabilities = staticmethod(torch.sigmoid)

    def losses(self, model: nn.Module, pixels: Tensor, targets: LabelTargets) -> dict[str, Tensor]:
        logits = model(normalise(pixels, self.card.input))
        return {"binary_cross_entropy": binary_cross_entropy_with_logits(logits.float(), targets.rows)}


def distil_targets(targets: Tensor, labelled: Tensor, predicted: Tensor, *, weight: float) -> Tensor:
    """Weighted mean of targets (N, classes) and a teacher's probabilities. Cross-entropy is linear in its target, so
    this gives the weighted sum of the two losses.

    Args:
        labelled: (N, 1), the labelled fraction of an image; the target of the rest is the teacher's probabilities
            alone.
        predicted: (N, classes), the teacher's probabilities.
        weight: of the teacher for labelled images, 0 to 1.
    """
    return (1 - weight) * targets + (1 - (1 - weight) * labelled) * predicted
