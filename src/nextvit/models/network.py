"""The common type of all networks that can be trained and exported: a backbone with the head of a task."""

from torch import nn

from nextvit.models.backbone import NextViT


class Network(nn.Module):
    """A module whose `backbone` is a Next-ViT; its inputs and outputs depend on the task."""

    backbone: NextViT
