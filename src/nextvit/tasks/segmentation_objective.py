"""The training objective of a segmentation model: losses of pixels and of regions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.models.deployed import normalise
from nextvit.models.segmentation import SegmentationTargets, standardise_images
from nextvit.models.segmentation_losses import LossSettings, class_weights
from nextvit.tasks.settings import SegmentationSettings
from nextvit.views.masked_source import MaskTargets


class SegmentationObjective:
    """Losses of pixels and of regions; images with masks are not mixed, and have no teacher.

    Args:
        pixels_C: number of training pixels of each class; needed where the loss is balanced.
    """

    def __init__(
        self, card: ModelCard, settings: SegmentationSettings, pixels_C: NDArray[np.integer[Any]] | None
    ) -> None:
        loss = settings.loss
        self.card = card
        self.settings = LossSettings(
            cross_entropy=loss.cross_entropy,
            dice=loss.dice,
            tversky=loss.tversky,
            missed=loss.missed,
            auxiliary=loss.auxiliary,
            mean_over=loss.mean_over,
        )
        self.class_weights = None if pixels_C is None else class_weights(pixels_C, loss.balance)

    def mix(self, pixels: Tensor, targets: MaskTargets, rng: np.random.Generator) -> tuple[Tensor, MaskTargets]:
        return pixels, targets

    def add_teacher_targets(self, pixels: Tensor, targets: MaskTargets) -> MaskTargets:
        return targets

    def losses(self, model: nn.Module, pixels: Tensor, targets: MaskTargets) -> dict[str, Tensor]:
        inputs = normalise(pixels, self.card.input)
        if self.card.head.get("standardise"):
            inputs = standardise_images(inputs)
        weights = None if self.class_weights is None else self.class_weights.to(pixels.device)
        return model(inputs, SegmentationTargets(targets.classes_NHW, self.settings, weights))
