"""The training objective of distillation: the teacher's probabilities for the views that the student sees."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from nextvit.bundle.card import ModelCard
from nextvit.models.deployed import normalise
from nextvit.tasks.settings import DistillationSettings
from nextvit.tasks.teacher import Teacher, wait_for
from nextvit.views.labelled_source import LabelTargets
from nextvit.views.mix import mix_batch
from nextvit.views.resized_views import resize_views


@dataclass(frozen=True)
class TaughtTargets(LabelTargets):
    """The teacher's probabilities, and the height and width of the student's views."""

    size: tuple[int, int]


class Distil:
    """The Kullback-Leibler divergence of the student's probabilities from the teacher's."""

    def __init__(self, card: ModelCard, settings: DistillationSettings, teacher: Teacher) -> None:
        self.card, self.settings, self.teacher = card, settings, teacher

    def mix(self, pixels: Tensor, targets: LabelTargets, rng: np.random.Generator) -> tuple[Tensor, TaughtTargets]:
        """Mix the pixels, and draw the size of the student's views; the teacher will say what mixed images show."""
        pixels, rows = mix_batch(pixels, targets.rows, self.settings.mix, rng)
        size = self.card.input.image_size
        if sides := self.settings.distill.sizes:
            side = int(rng.choice(sides))
            size = (side, side)
        return pixels, TaughtTargets(rows, targets.labelled, size)

    def add_teacher_targets(self, pixels: Tensor, targets: TaughtTargets) -> TaughtTargets:
        logits = self.teacher.logits(pixels)
        wait_for(logits.device)
        probabilities = torch.softmax(logits / self.settings.distill.temperature, dim=1)
        return TaughtTargets(probabilities, targets.labelled, targets.size)

    def losses(self, model: nn.Module, pixels: Tensor, targets: TaughtTargets) -> dict[str, Tensor]:
        """The mean divergence, times the square of the temperature, which keeps the size of the gradient (Hinton et
        al., arXiv:1503.02531)."""
        temperature = self.settings.distill.temperature
        logits = model(normalise(resize_views(pixels, targets.size), self.card.input)).float()
        divergence = kl_div(torch.log_softmax(logits / temperature, dim=1), targets.rows, reduction="batchmean")
        return {"kl_divergence": temperature**2 * divergence}
