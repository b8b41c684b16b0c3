"""Image classifier: backbone, batch norm, global average pooling, linear layer."""

import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.files.records import from_plain
from nextvit.models.backbone import NextViT, init_weights
from nextvit.models.config import NextViTConfig
from nextvit.models.network import Network


class Classifier(Network):
    """Normalised images (N, in_chans, H, W) -> logits (N, num_classes)."""

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


def build_classifier(card: ModelCard) -> Classifier:
    """A new classifier with the architecture and classes of a model card; its weights are random."""
    config = from_plain(NextViTConfig, card.architecture, what=card.variant)
    return Classifier(config, num_classes=len(card.classes))
