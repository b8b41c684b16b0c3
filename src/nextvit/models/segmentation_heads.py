"""From a backbone's four maps to a score of each class at each place: the heads of Semantic FPN (Kirillov et al.,
arXiv:1901.02446) and of UperNet (Xiao et al., arXiv:1807.10221), and a third one that only training uses.

Names and meaning of every weight are MMSegmentation's. All upsampling is bilinear with align_corners=False.
Read in order: ConvNormReLU, FPNHead, UPerHead, FCNHead. C classes, S parts of a pooled side.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvNormReLU(nn.Module):
    """A convolution that keeps the size, batch norm, ReLU: (N, in, H, W) -> (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return nn.functional.relu(self.bn(self.conv(x_NCHW)))


class FPNHead(nn.Module):
    """Four maps (N, in_channels, H / 2^s, W / 2^s), s from 0 to 3 -> logits (N, C, H, W).

    Each map is brought to the resolution of the first by doublings, a convolution before each, and they are added.
    """

    def __init__(self, in_channels: int, *, width: int, dropout: float, num_classes: int) -> None:
        super().__init__()
        self.scale_heads = nn.ModuleList(doublings(in_channels, width, count=level) for level in range(4))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = class_layer(width, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        parts = [head(each_NCHW) for head, each_NCHW in zip(self.scale_heads, maps, strict=True)]
        sum_NCHW = parts[0]
        for part_NCHW in parts[1:]:
            # Where a side is no multiple of 32, doubling makes it larger than the finest map's.
            sum_NCHW = sum_NCHW + resized(part_NCHW, sum_NCHW.shape[2:])
        return self.conv_seg(self.dropout(sum_NCHW))


class UPerHead(nn.Module):
    """Four maps (N, in_widths[s], H / 2^s, W / 2^s) -> logits (N, C, H, W).

    The coarsest map sees means over larger and larger parts of itself; then a pyramid takes it to the finer ones.
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
            nn.Sequential(MeanOfParts(side), ConvNormReLU(last, width, kernel_size=1)) for side in pool_sides
        )
        self.bottleneck = ConvNormReLU(last + len(pool_sides) * width, width, kernel_size=3)
        self.lateral_convs = nn.ModuleList(ConvNormReLU(channels, width, kernel_size=1) for channels in finer)
        self.fpn_convs = nn.ModuleList(ConvNormReLU(width, width, kernel_size=3) for _ in finer)
        self.fpn_bottleneck = ConvNormReLU(len(in_widths) * width, width, kernel_size=3)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = class_layer(width, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        laterals = [conv(each_NCHW) for conv, each_NCHW in zip(self.lateral_convs, maps[:-1], strict=True)]
        laterals.append(self.with_surroundings(maps[-1]))
        for level in range(len(laterals) - 1, 0, -1):
            finer_NCHW = laterals[level - 1]
            laterals[level - 1] = finer_NCHW + resized(laterals[level], finer_NCHW.shape[2:])
        finest, *others = [conv(each_NCHW) for conv, each_NCHW in zip(self.fpn_convs, laterals[:-1], strict=True)]
        coarser = [resized(each_NCHW, finest.shape[2:]) for each_NCHW in (*others, laterals[-1])]
        return self.conv_seg(self.dropout(self.fpn_bottleneck(torch.cat([finest, *coarser], dim=1))))

    def with_surroundings(self, x_NCHW: Tensor) -> Tensor:
        """The coarsest map with what is around each place (Pyramid Pooling Module): (N, in, H, W) -> (N, width, H, W)."""
        means = [resized(pool(x_NCHW), x_NCHW.shape[2:]) for pool in self.psp_modules]
        return self.bottleneck(torch.cat([x_NCHW, *means], dim=1))


class FCNHead(nn.Module):
    """One map (N, in, H, W) -> logits (N, C, H, W). Beside the main head it shows the backbone's middle what to learn."""

    def __init__(self, in_channels: int, *, width: int, dropout: float, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvNormReLU(in_channels, width, kernel_size=3))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = class_layer(width, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.conv_seg(self.dropout(self.convs(x_NCHW)))


class MeanOfParts(nn.Module):
    """Adaptive average pooling: (N, C, H, W) -> (N, C, side, side); parts of a side that does not divide overlap.

    It multiplies with matrices, because exported files can pool adaptively only where the size is fixed. The mean of the whole
    needs none, and as a product it could not be captured for every size.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if self.side == 1:
            return x_NCHW.mean(dim=(2, 3), keepdim=True)
        return self.over_last_axis(self.over_last_axis(x_NCHW).transpose(2, 3)).transpose(2, 3)

    def over_last_axis(self, x_NCHL: Tensor) -> Tensor:
        """(N, C, H, L) -> (N, C, H, side)."""
        length, parts_S = x_NCHL.shape[3], torch.arange(self.side, device=x_NCHL.device)
        starts_S = parts_S * length // self.side
        ends_S = ((parts_S + 1) * length + self.side - 1) // self.side
        places_L1 = torch.arange(length, device=x_NCHL.device)[:, None]
        inside_LS = torch.logical_and(
            places_L1 >= starts_S, places_L1 < ends_S
        )  # not "&", which coremltools does not know
        # The sums come first: 0 and 1 are exact in any precision, shares are not.
        return x_NCHL @ inside_LS.to(x_NCHL.dtype) / (ends_S - starts_S).to(x_NCHL.dtype)


def doublings(in_channels: int, width: int, *, count: int) -> nn.Sequential:
    """A convolution, and `count` doublings of the resolution with a convolution before each."""
    if count == 0:
        return nn.Sequential(ConvNormReLU(in_channels, width, kernel_size=3))
    layers: list[nn.Module] = []
    for step in range(count):
        layers.append(ConvNormReLU(in_channels if step == 0 else width, width, kernel_size=3))
        layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)


def class_layer(width: int, num_classes: int) -> nn.Conv2d:
    """The last layer of a head, from features to logits."""
    layer = nn.Conv2d(width, num_classes, 1)
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def resized(x_NCHW: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation to a height and width."""
    return nn.functional.interpolate(x_NCHW, size=size, mode="bilinear", align_corners=False)  # pyright: ignore
