"""Feature pyramid network (Lin et al., arXiv:1612.03144): adds the deep feature maps to the high-resolution ones."""

from collections.abc import Sequence

from torch import Tensor, nn


class PlainConv(nn.Module):
    """A convolution with bias that keeps the size; the name `conv` is that of the published checkpoints."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.conv(x_NCHW)


class FeaturePyramid(nn.Module):
    """Four maps (N, in_widths[s], H / 2^(s+2), W / 2^(s+2)) -> four maps (N, width, same height, same width).

    With `extra_level` there is a fifth map at half the resolution of the last.
    """

    def __init__(self, in_widths: Sequence[int], width: int, *, extra_level: bool) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(PlainConv(channels, width, kernel_size=1) for channels in in_widths)
        self.fpn_convs = nn.ModuleList(PlainConv(width, width, kernel_size=3) for _ in in_widths)
        self.extra_level = extra_level
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        laterals = [conv(each_NCHW) for conv, each_NCHW in zip(self.lateral_convs, maps, strict=True)]
        for level in range(len(laterals) - 1, 0, -1):
            finer_NCHW = laterals[level - 1]
            upsampled_NCHW = nn.functional.interpolate(laterals[level], size=finer_NCHW.shape[2:], mode="nearest")
            laterals[level - 1] = finer_NCHW + upsampled_NCHW
        levels = [conv(each_NCHW) for conv, each_NCHW in zip(self.fpn_convs, laterals, strict=True)]
        if self.extra_level:
            levels.append(nn.functional.max_pool2d(levels[-1], 1, stride=2))
        return levels
