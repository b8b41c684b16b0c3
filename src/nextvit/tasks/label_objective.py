"""What classifiers minimise: cross-entropy against soft targets, which can be mixed and taken from a teacher."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from nextvit.bundle.card import ModelCard
from nextvit.models.deployed import normalise
from nextvit.tasks.settings import LabelSettings
from nextvit.tasks.teacher import load_teacher
from nextvit.views.labelled_source import LabelTargets
from nextvit.views.mix import mix_batch


class LabelObjective:
    """Mixing and distillation; the loss and what makes probabilities of logits are the tasks' own."""

    probabilities: Callable[[Tensor], Tensor]

    def __init__(self, card: ModelCard, settings: LabelSettings, device: torch.device) -> None:
        self.card, self.settings = card, settings
        source = settings.distill.teacher
        self.teacher = None if source == "none" else load_teacher(source, card, self.probabilities, device)

    def mix(self, pixels: Tensor, targets: LabelTargets, rng: np.random.Generator) -> tuple[Tensor, LabelTargets]:
        classes = targets.rows.shape[1]
        both = torch.cat([targets.rows, targets.labelled], dim=1)
        pixels, both = mix_batch(pixels, both, self.settings.mix, rng)
        return pixels, LabelTargets(*both.split([classes, 1], dim=1))

    def add_teacher_targets(self, pixels: Tensor, targets: LabelTargets) -> LabelTargets:
        if self.teacher is None:
            return targets
        rows = distil_targets(targets.rows, targets.labelled, self.teacher(pixels), weight=self.settings.distill.weight)
        return LabelTargets(rows, targets.labelled)


class CrossEntropy(LabelObjective):
    """Of classification."""

    probabilities = staticmethod(partial(torch.softmax, dim=1))

    def losses(self, model: nn.Module, pixels: Tensor, targets: LabelTargets) -> dict[str, Tensor]:
        logits = model(normalise(pixels, self.card.input))
        return {"cross_entropy": cross_entropy(logits.float(), targets.rows)}


class BinaryCrossEntropy(LabelObjective):
    """Of multi-label classification: the mean over images and classes, so that loss and learning rate mean the same for
    5 classes and for 500."""

    probabilities = staticmethod(torch.sigmoid)

    def losses(self, model: nn.Module, pixels: Tensor, targets: LabelTargets) -> dict[str, Tensor]:
        logits = model(normalise(pixels, self.card.input))
        return {"binary_cross_entropy": binary_cross_entropy_with_logits(logits.float(), targets.rows)}


def distil_targets(targets: Tensor, labelled: Tensor, predicted: Tensor, *, weight: float) -> Tensor:
    """Targets (N, classes) in which the teacher's probabilities (N, classes) have their weight.

    Args:
        labelled: (N, 1), which fraction of an image is labelled: what is not has the teacher's probabilities alone for
            a target. Cross-entropy is linear in its target, so this is the weighted sum of the two losses.
    """
    return (1 - weight) * targets + (1 - (1 - weight) * labelled) * predicted
