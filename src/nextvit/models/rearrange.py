"""The fused classifier rearranged: fewer operations and memory passes, and to the last rounding the same outputs.

Two facts are used. What is linear can be exchanged: a 1x1 convolution gives the same before and after an average, and two
of them in a row are one. So where a block's result is only averaged, by the next stage's entrance or by the head, its last
layer computes the average alone; that is 5 % of nextvit_small's multiplications. And softmax is blind to what all keys
share: the keys need no bias.

The maps between the stages are no longer those of the published network. Where they are outputs, as in detection and
segmentation, only `nextvit.models.fuse` is for it.
"""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from nextvit.models.backbone import EMHSA, NCB, NTB, PatchEmbed, Stage
from nextvit.models.classification import Classifier


def rearrange(fused: Classifier) -> Classifier:
    """Return a copy of a fused classifier that computes the same logits with less."""
    model = copy.deepcopy(fused)
    blocks = [block for stage in model.backbone.stages for block in blocks_of(stage)]
    for block in blocks:
        if isinstance(block, NTB):
            assert isinstance(block.e_mhsa, EMHSA)
            block.e_mhsa = MapAttention(block.e_mhsa)
    for block, after in pairwise(blocks):
        average_early(block, after.patch_embed)
        merge_projections(block, after.patch_embed)
    blocks[-1].shortcut = GlobalAverage()
    blocks[-1].mlp.act = nn.Sequential(blocks[-1].mlp.act, GlobalAverage())
    return model.requires_grad_(False)


def blocks_of(stage: nn.Module) -> list[NCB | NTB]:
    assert isinstance(stage, Stage)
    return [block for block in stage.blocks if isinstance(block, NCB | NTB)]


def average_early(block: NCB | NTB, entrance: PatchEmbed) -> None:
    """Move the pooling of the next block's entrance before the last layer of this one."""
    if isinstance(entrance.pool, nn.Identity):
        return
    block.shortcut = entrance.pool
    block.mlp.act = nn.Sequential(block.mlp.act, entrance.pool)
    entrance.pool = nn.Identity()


def merge_projections(block: NCB | NTB, entrance: PatchEmbed) -> None:
    """Give this block the width of the next one, if that is less: its last layer and the entrance become one."""
    last, conv = block.mlp.fc2, entrance.conv
    if not isinstance(conv, nn.Conv2d) or conv.out_channels >= conv.in_channels:
        return
    assert last.bias is not None
    merged = nn.Conv2d(last.in_channels, conv.out_channels, 1).to(last.weight)
    matrix = conv.weight.double().flatten(1)
    merged.weight.data = (matrix @ last.weight.double().flatten(1))[:, :, None, None].to(last.weight)
    merged.bias = nn.Parameter((matrix @ last.bias.double()).to(last.weight))
    block.shortcut = nn.Sequential(block.shortcut, conv)
    block.mlp.fc2, entrance.conv = merged, nn.Identity()


class GlobalAverage(nn.Module):
    """(N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.mean(dim=(2, 3), keepdim=True)


class MapAttention(nn.Module):
    """Fused E-MHSA on the map: (N, C, H, W) -> (N, C, H, W).

    Queries and the projection are 1x1 convolutions like the layers around them, so the map keeps the runtime's own layout
    up to the products. The scale is part of the queries. Keys have no bias: it would add the same to all scores of a
    query, which softmax takes away. The bias of the values passes through the average that attention is, into the
    projection.
    """

    def __init__(self, attention: EMHSA) -> None:
        super().__init__()
        self.head_dim, self.pool = attention.head_dim, attention.pool
        scale = attention.head_dim**-0.5
        self.q = convolution(attention.q, scale=scale)
        self.k = without_bias(attention.k)
        self.v = without_bias(attention.v)
        self.proj = convolution(attention.proj)
        shift = attention.proj.weight.double() @ attention.v.bias.double() + attention.proj.bias.double()
        self.proj.bias = nn.Parameter(shift.to(attention.proj.bias))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        pooled_NTC = self.pool(x_NCHW.flatten(2)).transpose(1, 2)
        queries = self.split_heads(self.q(x_NCHW).permute(0, 2, 3, 1).flatten(1, 2)).transpose(1, 2)
        keys = self.split_heads(self.k(pooled_NTC)).permute(0, 2, 3, 1)
        values = self.split_heads(self.v(pooled_NTC)).transpose(1, 2)
        mixed_NTC = (torch.softmax(queries @ keys, dim=-1) @ values).transpose(1, 2).flatten(2)
        return self.proj(mixed_NTC.unflatten(1, x_NCHW.shape[2:]).permute(0, 3, 1, 2))

    def split_heads(self, x_NTC: Tensor) -> Tensor:
        """(N, T, C) -> (N, T, heads, head_dim)."""
        return x_NTC.unflatten(2, (-1, self.head_dim))


def convolution(linear: nn.Linear, *, scale: float = 1.0) -> nn.Conv2d:
    """The 1x1 convolution equal to `scale` times a linear layer on channels."""
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1).to(linear.weight)
    conv.weight.data = (linear.weight.double() * scale)[:, :, None, None].to(linear.weight)
    conv.bias = nn.Parameter((linear.bias.double() * scale).to(linear.bias))
    return conv


def without_bias(linear: nn.Linear) -> nn.Linear:
    bare = nn.Linear(linear.in_features, linear.out_features, bias=False).to(linear.weight)
    bare.weight.data = linear.weight.data
    return bare
