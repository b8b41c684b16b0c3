"""Image classifier: the backbone, a batch norm, the mean over all positions, a linear layer."""

import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.files.records import from_plain
from nextvit.models.backbone import NextViT, init_weights
from nextvit.models.config import NextViTConfig


class Classifier(nn.Module):
    """(N, in_chans, H, W), normalised -> logits (N, num_classes)."""

    def __init__(self, config: NextViTConfig, *, num_classes: int) -> None:
        super().__init__()
        self.backbone = NextViT(config)
        self.norm: nn.Module = nn.BatchNorm2d(config.feature_widths[-1])
        self.head = nn.Linear(config.feature_widths[-1], num_classes)
        init_weights(self.head)

    @property
    def num_classes(self) -> int:
        return self.head.out_features

    def forward(self, image_NCHW: Tensor) -> Tensor:
        last_NCHW = self.backbone(image_NCHW)[-1]
        return self.head(torch.mean(self.norm(last_NCHW), dim=(2, 3)))


def classifier_for(card: ModelCard) -> Classifier:
    """A fresh classifier of the architecture and classes that a card states."""
    config = from_plain(NextViTConfig, card.architecture, what=card.variant)
    return Classifier(config, num_classes=len(card.classes))
