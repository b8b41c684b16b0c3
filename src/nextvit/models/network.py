"""From a card to its network, and from a network to its deployment form."""

import torch
from torch import nn

from nextvit.bundle.card import ModelCard
from nextvit.models.classification import Classifier, classifier_for
from nextvit.models.deployed import Deployed, DeployedDetector, DeployedSegmenter
from nextvit.models.detection import MaskRCNN, detector_for
from nextvit.models.segmentation import Segmenter, segmenter_for

Network = Classifier | MaskRCNN | Segmenter
"""What can be trained and exported: a backbone with a task's head."""


def network_for(card: ModelCard) -> Network:
    """A fresh network of the architecture, head and classes that a card states."""
    match card.task:
        case "detection":
            return detector_for(card)
        case "segmentation":
            return segmenter_for(card)
        case _:
            return classifier_for(card)


def deployed_form(model: Network, card: ModelCard, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """What is exported: from the card's inputs to its outputs; see `nextvit.models.deployed`."""
    if isinstance(model, MaskRCNN):
        assert dtype == torch.float32, "a detector's file is one of fp32"
        return DeployedDetector(model, card.input)
    if isinstance(model, Segmenter):
        return DeployedSegmenter(model, card.input, scores=card.scores, dtype=dtype)
    return Deployed(model, card.input, dtype=dtype)
