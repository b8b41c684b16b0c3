"""The training objective of a detector: the losses of Mask R-CNN."""

import numpy as np
import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.data.objects import Targets
from nextvit.models.deployed import normalise, zero_padding
from nextvit.models.detection import DetectionTargets
from nextvit.models.detection_losses import ImageTargets, LossSettings
from nextvit.tasks.settings import DetectionSettings
from nextvit.views.annotated_source import ObjectTargets


class DetectionObjective:
    """The losses of Mask R-CNN; images with objects are not mixed, and have no teacher."""

    def __init__(self, card: ModelCard, settings: DetectionSettings) -> None:
        loss = settings.loss
        self.card = card
        self.settings = LossSettings(proposal_samples=loss.proposal_samples, region_samples=loss.region_samples)

    def mix(self, pixels: Tensor, targets: ObjectTargets, rng: np.random.Generator) -> tuple[Tensor, ObjectTargets]:
        return pixels, targets

    def add_teacher_targets(self, pixels: Tensor, targets: ObjectTargets) -> ObjectTargets:
        return targets

    def losses(self, model: nn.Module, pixels: Tensor, targets: ObjectTargets) -> dict[str, Tensor]:
        sizes_N2 = targets.sizes_N2
        objects = [image_targets(each, pixels.device) for each in targets.objects]
        inputs = zero_padding(normalise(pixels, self.card.input), sizes_N2)
        return model(inputs, sizes_N2, DetectionTargets(objects, self.settings))


def image_targets(targets: Targets, device: torch.device) -> ImageTargets:
    """Convert the objects of a view to tensors for the losses."""
    boxes, labels, masks = (
        None if each is None else torch.from_numpy(each).to(device)
        for each in (targets.boxes, targets.labels, targets.masks)
    )
    assert boxes is not None and labels is not None
    return ImageTargets(boxes, labels, masks)
