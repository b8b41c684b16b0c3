"""The type of what can be trained and exported: a backbone with a task's head."""

from torch import nn

from nextvit.models.backbone import NextViT


class Network(nn.Module):
    """A module whose `backbone` is a Next-ViT; what it takes and gives is its task's affair."""

    backbone: NextViT
