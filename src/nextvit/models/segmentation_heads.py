"""Decode heads, from four feature maps to logits of each class at each position.

Semantic FPN (Kirillov et al., arXiv:1901.02446), UperNet (Xiao et al., arXiv:1807.10221), and the FCN head that is the
auxiliary head in training. Names and meaning of every weight are those of MMSegmentation. All upsampling is bilinear
with align_corners=False.

Read in order: ConvNormReLU, FPNHead, UPerHead, FCNHead.
Letters: N images, C channels or classes, H W height and width, S side of a pooled map, L length of an axis.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvNormReLU(nn.Module):
    """Convolution that keeps the size, batch norm, ReLU: (N, in, H, W) -> (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return nn.functional.relu(self.bn(self.conv(x_NCHW)))


class FPNHead(nn.Module):
    """Four maps (N, in_channels, H / 2^s, W / 2^s), s from 0 to 3 -> logits (N, C, H, W).

    Each map is upsampled to the resolution of the first, by factors of 2 with a convolution before each, and added.
    """

    def __init__(self, in_channels: int, *, width: int, dropout: float, num_classes: int) -> None:
        super().__init__()
        self.scale_heads = nn.ModuleList(build_upsampling(in_channels, width, count=level) for level in range(4))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = build_class_layer(width, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        upsampled = [head(each_NCHW) for head, each_NCHW in zip(self.scale_heads, maps, strict=True)]
        sum_NCHW = upsampled[0]
        for each_NCHW in upsampled[1:]:
            # If an image side is not a multiple of 32, factors of 2 give a larger side than that of the finest map.
            sum_NCHW = sum_NCHW + resize_bilinear(each_NCHW, sum_NCHW.shape[2:])
        return self.conv_seg(self.dropout(sum_NCHW))


class UPerHead(nn.Module):
    """Four maps (N, in_widths[s], H / 2^s, W / 2^s) -> logits (N, C, H, W).

    Pyramid pooling on the coarsest map, then a feature pyramid down to the finest one.
    """

    def __init__(
        self,
        in_widths: Sequence[int],
        *,
        width: int,
        pool_sides: Sequence[int],
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        *finer, last = in_widths
        self.psp_modules = nn.ModuleList(
            nn.Sequential(AdaptiveAveragePool(side), ConvNormReLU(last, width, kernel_size=1)) for side in pool_sides
        )
        self.bottleneck = ConvNormReLU(last + len(pool_sides) * width, width, kernel_size=3)
        self.lateral_convs = nn.ModuleList(ConvNormReLU(channels, width, kernel_size=1) for channels in finer)
        self.fpn_convs = nn.ModuleList(ConvNormReLU(width, width, kernel_size=3) for _ in finer)
        self.fpn_bottleneck = ConvNormReLU(len(in_widths) * width, width, kernel_size=3)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = build_class_layer(width, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        laterals = [conv(each_NCHW) for conv, each_NCHW in zip(self.lateral_convs, maps[:-1], strict=True)]
        laterals.append(self.pool_pyramid(maps[-1]))
        for level in range(len(laterals) - 1, 0, -1):
            finer_NCHW = laterals[level - 1]
            laterals[level - 1] = finer_NCHW + resize_bilinear(laterals[level], finer_NCHW.shape[2:])
        finest, *others = [conv(each_NCHW) for conv, each_NCHW in zip(self.fpn_convs, laterals[:-1], strict=True)]
        coarser = [resize_bilinear(each_NCHW, finest.shape[2:]) for each_NCHW in (*others, laterals[-1])]
        return self.conv_seg(self.dropout(self.fpn_bottleneck(torch.cat([finest, *coarser], dim=1))))

    def pool_pyramid(self, x_NCHW: Tensor) -> Tensor:
        """Pyramid Pooling Module (Zhao et al., arXiv:1612.01105): (N, in, H, W) -> (N, width, H, W)."""
        pooled = [resize_bilinear(pool(x_NCHW), x_NCHW.shape[2:]) for pool in self.psp_modules]
        return self.bottleneck(torch.cat([x_NCHW, *pooled], dim=1))


class FCNHead(nn.Module):
    """One map (N, in, H, W) -> logits (N, C, H, W): the auxiliary head, which supervises a middle stage in training."""

    def __init__(self, in_channels: int, *, width: int, dropout: float, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvNormReLU(in_channels, width, kernel_size=3))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = build_class_layer(width, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.conv_seg(self.dropout(self.convs(x_NCHW)))


class AdaptiveAveragePool(nn.Module):
    """The same as `nn.AdaptiveAvgPool2d(side)`, in a form that can be exported: (N, C, H, W) -> (N, C, side, side).

    It multiplies with matrices, because exported files support adaptive pooling only for a fixed image size. The mean
    over the whole map (side 1) needs no matrix, and as a product it could not be captured for every size.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if self.side == 1:
            return x_NCHW.mean(dim=(2, 3), keepdim=True)
        return self.pool_last_axis(self.pool_last_axis(x_NCHW).transpose(2, 3)).transpose(2, 3)

    def pool_last_axis(self, x_NCHL: Tensor) -> Tensor:
        """(N, C, H, L) -> (N, C, H, side)."""
        length, outputs_S = x_NCHL.shape[3], torch.arange(self.side, device=x_NCHL.device)
        starts_S = outputs_S * length // self.side
        ends_S = ((outputs_S + 1) * length + self.side - 1) // self.side
        positions_L1 = torch.arange(length, device=x_NCHL.device)[:, None]
        # Not "&", which coremltools does not support.
        inside_LS = torch.logical_and(positions_L1 >= starts_S, positions_L1 < ends_S)
        # Sum first, then divide: 0 and 1 are exact in any precision, reciprocals of lengths are not.
        return x_NCHL @ inside_LS.to(x_NCHL.dtype) / (ends_S - starts_S).to(x_NCHL.dtype)


def build_upsampling(in_channels: int, width: int, *, count: int) -> nn.Sequential:
    """`count` times a convolution and upsampling by 2; with `count` 0 a single convolution."""
    if count == 0:
        return nn.Sequential(ConvNormReLU(in_channels, width, kernel_size=3))
    layers: list[nn.Module] = []
    for index in range(count):
        layers.append(ConvNormReLU(in_channels if index == 0 else width, width, kernel_size=3))
        layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)


def build_class_layer(width: int, num_classes: int) -> nn.Conv2d:
    """The last layer of a head, a 1x1 convolution from features to logits."""
    layer = nn.Conv2d(width, num_classes, 1)
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def resize_bilinear(x_NCHW: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation to a height and width."""
    return nn.functional.interpolate(x_NCHW, size=size, mode="bilinear", align_corners=False)  # pyright: ignore
